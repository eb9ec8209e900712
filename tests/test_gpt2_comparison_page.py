"""The page of the GPT-2 comparison: the paper's layout and labels, and results that are not whole."""

import json
import re

import pytest

from commute_verify.data import published
from commute_verify.report import Document, Figure, Paragraph, Table, to_html, to_markdown
from experiments.gpt2 import page, reanalysis, tables
from experiments.gpt2.comparison import compare, published_tables
from experiments.gpt2.comparison.__main__ import main
from experiments.gpt2.comparison.published_tables import entries, implied_factors, reanalyse
from experiments.gpt2.comparison.words import with_error
from tests.gpt2_results import study, with_excess
from tests.test_gpt2_comparison_verdicts import last_is_better


def figure_in(cell):
    """The leading number of a cell."""
    return float(re.match(r"[+−\d.e]+", cell)[0].replace("−", "-"))


def ours(table):
    return [row for row in table.rows if row[0] == "here"]


def test_the_printed_rows_are_those_of_the_paper_digit_for_digit():
    for balanced, key in ((True, "table2"), (False, "table3")):
        table = tables.commutation(compare(study()), balanced)
        printed = [row for row in table.rows if row[0] == "paper"]
        assert [[float(x.replace("−", "-")) for x in row[1:10]] for row in printed] == published()[key][
            "rows"
        ]


def test_our_columns_follow_the_labels_of_the_paper_where_12_ends_better_on_language_1():
    table = tables.commutation(compare(with_excess(study(), last_is_better)), balanced=True)
    for row in ours(table):
        el12, el21 = [figure_in(x) for x in row[4:6]], [figure_in(x) for x in row[6:8]]
        assert el12[0] < 0 < el12[1]  # as every row of the paper's tables
        assert el21[1] < 0 < el21[0]


def signs_follow(comparison):
    """Whether P has the sign of EL21 in every row, and the other than EL12."""
    return all(
        figure_in(row[8 + i]) * figure_in(row[6 + i]) > 0 > figure_in(row[8 + i]) * figure_in(row[4 + i])
        for row in ours(tables.commutation(comparison, balanced=True))
        for i in (0, 1)
    )


def test_P_stands_for_EL21_as_the_paper_says():
    assert signs_follow(compare(study()))


def test_the_wrong_convention_is_caught(monkeypatch):
    monkeypatch.setitem(published_tables.PAPER_LABEL, "12", "12")
    monkeypatch.setitem(published_tables.PAPER_LABEL, "21", "21")
    table = tables.commutation(compare(with_excess(study(), last_is_better)), balanced=True)
    el12 = [figure_in(x) for x in ours(table)[0][4:6]]
    assert not el12[0] < 0 < el12[1]


def test_the_published_tables_in_our_convention_have_the_last_language_better_in_every_run():
    found = [entry for table in published_tables.TABLES for entry in entries(table)]
    assert len(found) == 16
    for entry in found:
        lower = entry.excess_12 if entry.language == 1 else entry.excess_21
        assert lower < 0


def test_the_published_signs_are_counted_as_by_hand():
    flat = [
        (row[7 + i], row[5 + i], row[3 + i])
        for key in ("table2", "table3")
        for row in published()[key]["rows"]
        for i in (0, 1)
    ]
    both = reanalyse([entry for table in published_tables.TABLES for entry in entries(table)])
    assert both.signs["12"].count == sum(p * el21 > 0 for p, el21, _ in flat) == 15
    assert both.signs["21"].count == sum(p * el12 < 0 for p, _, el12 in flat) == 15
    assert (both.last_wins.count, both.last_wins.total) == (16, 16)
    assert both.positive_sums.count == sum(el12 + el21 > 0 for _, el21, el12 in flat)


def test_the_implied_factor_is_delta_times_the_square_of_flow_time():
    first = implied_factors("table2")[0]
    assert (first.delta, first.gamma_and_dt) == (0.15, 0.15)
    assert first.nothing == pytest.approx(0.15 * (1.5e-4 * 4000) ** 2, rel=1e-12)  # roundoff
    assert first.gamma == pytest.approx(0.15 * 4000**2, rel=1e-12)  # roundoff


def test_table_4_has_all_printed_checkpoints_and_ours_with_marks():
    table = tables.criterion(compare(study()), balanced=True)
    assert [row[0] for row in table.rows] == [str(t) for t in published()["table4"]["t"]]
    assert [row[3] for row in table.rows[:4]] == ["20", "60", "120", "200"]
    assert all("±" in cell for row in table.rows[:4] for cell in row[4:])


def test_figures_that_are_not_resolved_or_have_no_error_are_marked():
    assert with_error(1.0, 0.6).endswith("°")
    assert not with_error(1.0, 0.4).endswith("°")
    assert with_error(1.0, None).endswith("†")


def rendered(results):
    blocks = [*page.glance(results), *page.blocks(results)]
    document = Document("test", Paragraph(page.sentence(results)), tuple(blocks))
    to_html(document)
    return to_markdown(document), blocks


@pytest.fixture(scope="module")
def whole():
    return rendered({"smoke": study(), "cpu": study(seed=1)})


def test_the_page_has_every_part(whole):
    markdown, blocks = whole
    captions = " ".join(block.caption for block in blocks if isinstance(block, Table | Figure))
    for part in ("Table 2", "Table 3", "Table 4a", "Table 4b", "Figure 3", "Figure 4", "Corollary 3.2(b)"):
        assert part in captions
    for text in (
        "by chance alone in 18% of cases",
        "Where does local prediction stop working?",
        "Both languages at once",
        "own tables 2 and 3",
    ):
        assert text in markdown


def test_the_page_is_a_pure_function_of_the_results(whole):
    _, blocks = whole
    again = page.brief(compare(json.loads(json.dumps(study()))), "smoke")
    start = blocks.index(again[0])
    assert blocks[start : start + len(again)] == again


def test_the_smoke_preset_is_shown_in_brief_beside_another(whole):
    names = [block.name for block in whole[1] if isinstance(block, Figure)]
    assert [name for name in names if "smoke" in name] == ["gpt2-smoke-figure-3", "gpt2-smoke-figure-4"]
    assert "gpt2-cpu-windows" in names
    assert "preset cpu" in whole[1][0].text
    assert "preset smoke" in page.glance({"smoke": study()})[0].text


def without_tails(results):
    for run in results["runs"]:
        for branch in run["branches"]:
            branch["tail"] = {"steps": 0, "loss": None}
    return results


def one_seed(results):
    for run in results["runs"]:
        run["branches"] = [branch for branch in run["branches"] if branch["seed"] == 0]
    return results


def one_run(results):
    results["runs"] = results["runs"][:1]
    return results


def no_branches(results):
    for run in results["runs"]:
        run["branches"] = []
    return results


def half_way(results):
    for run in results["runs"]:
        run["branches"] = run["branches"][: len(run["branches"]) // 3]
        run["curve"] = []
        run["checkpoints"] = run["checkpoints"][:3]
        for point in run["checkpoints"]:
            point.pop("curvature")
    return results


@pytest.mark.parametrize("less", [without_tails, one_seed, one_run, no_branches, half_way])
def test_results_that_lack_something_still_make_a_page(less):
    markdown, _ = rendered({"cpu": less(study())})
    assert "not testable here" in markdown
    assert "nan" not in markdown.lower().split()


def test_one_seed_is_said_to_have_no_error():
    table = tables.commutation(compare(one_seed(study())), balanced=True)
    assert all(cell.endswith("†") for row in ours(table) for cell in row[4:8])


def test_the_published_tables_are_said_to_be_no_better_than_the_simplest_rule_only_if_they_are():
    both = reanalyse([entry for table in published_tables.TABLES for entry in entries(table)])
    assert "no evidence" in reanalysis.sentence(both)


def test_the_command_writes_a_page_and_refuses_what_is_no_result(tmp_path, capsys):
    source = tmp_path / "results.json"
    source.write_text(json.dumps(study()))
    assert main([str(source), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "index.html").exists()
    source.write_text("{")
    assert main([str(source), "--out", str(tmp_path / "page")]) == 2
    source.write_text("[]")
    assert main([str(source), "--out", str(tmp_path / "page")]) == 2
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "page")]) == 2
    assert capsys.readouterr().err.count("\n") == 3
