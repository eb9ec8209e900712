"""The page of the GPT-2 comparison: the paper's layout and labels, and results that are not whole."""

import json
import re

import pytest

from commute_verify.data import published
from commute_verify.report import Document, Figure, Paragraph, Table, to_html, to_markdown
from experiments.gpt2 import page, reanalysis, sentences, tables
from experiments.gpt2.comparison import compare, published_tables
from experiments.gpt2.comparison.__main__ import main
from experiments.gpt2.comparison.published_tables import entries, implied_factors, reanalyse
from experiments.gpt2.comparison.words import with_error
from tests.gpt2_results import study, with_excess
from tests.test_gpt2_comparison_verdicts import last_is_better, with_P


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
    positive = sum(el12 + el21 > 0 for _, el21, el12 in flat)
    assert both.positive_sums.count == positive
    sizes = sorted(abs(el12 + el21) / abs(el12 - el21) for _, el21, el12 in flat)
    middle = (sizes[7] + sizes[8]) / 2
    told = reanalysis.sentence(both)
    assert f"above zero in {positive}/16" in told.replace("\u00a0", " ")
    assert f"median of {middle:.0%}" in told


def test_the_implied_factor_is_delta_times_the_square_of_flow_time():
    first = implied_factors("table2")[0]
    assert (first.delta, first.gamma_and_dt) == (0.15, 0.15)
    assert first.nothing == pytest.approx(0.15 * (1.5e-4 * 4000) ** 2, rel=1e-12)  # roundoff
    assert first.gamma == pytest.approx(0.15 * 4000**2, rel=1e-12)  # roundoff


def test_table_4_has_all_printed_checkpoints_and_ours_with_marks_and_no_empty_cell():
    printed, measured = tables.criterion(compare(study()))
    assert [row[0] for row in printed.rows] == [str(t) for t in published()["table4"]["t"]]
    assert [row[:2] for row in measured.rows] == [
        (weights, step) for weights in ("(0.5, 0.5)", "(0.9, 0.1)") for step in ("20", "60", "120", "200")
    ]
    assert all("±" in cell for row in measured.rows for cell in row[2:])
    assert all(cell for table in (printed, measured) for row in table.rows for cell in row)


def test_both_headings_of_the_papers_P_are_explained_and_its_figures_are_the_same():
    rows, four = published()["table2"]["rows"], published()["table4"]
    at = four["t"].index(rows[0][0])
    assert rows[0][7:9] == [four["a_1"][at], four["a_2"][at]]
    comparison = compare(study())
    for table in (tables.commutation(comparison, balanced=True), tables.criterion(comparison)[0]):
        assert "heads the same figures" in table.note
        assert "$P_{2,1;i}$" in table.note
        assert "$P_{12;i}$" in table.note


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2412.3, 242.02, "+2412 ± 242"),
        (-0.002612, 0.000234, "−0.00261 ± 0.00023"),
        (0.0009, 0.0012, "+0.0009 ± 0.0012°"),
        (7.7e-5, 1.2e-4, "+0.00008 ± 0.00012°"),
        (1.5e6, 1.5e5, "+1.5e+06 ± 1.5e+05"),
        (3e-7, 2e-9, "+3.0e−07 ± 2.0e−09"),
        (0.5, 0.0, "+0.5000 ± 0"),
    ],
)
def test_a_figure_has_the_decimals_of_its_error(value, error, text):
    assert with_error(value, error).replace("\u00a0", " ") == text


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


def without_base(results):
    """As where branches were farmed out and one has not come back."""
    branches = results["runs"][0]["branches"]
    branches.remove(next(each for each in branches if each["order"] == "base"))
    return results


def test_branches_without_a_base_are_told():
    assert "are left out" not in sentences.about(compare(study()))
    assert "2 branches that lack their base" in sentences.about(compare(without_base(study())))


def test_what_a_standard_error_covers_is_told():
    for text in ("one run", "initialisation", "validation windows", "one spread"):
        assert text in sentences.about(compare(study()))
    assert "cases are not independent" in sentences.headline(compare(study()))
    assert "too narrow" in sentences.headline(compare(study()))
    assert "too narrow" in sentences.RULE
    tilt = tables.commutation(compare(study()), balanced=True).note
    assert "3 seeds, each with the standard error of its own seeds" in tilt
    assert "1 seed, without an error" in tables.commutation(compare(one_seed(study())), balanced=True).note


def test_signs_that_are_not_told_from_chance_are_called_so_with_their_number():
    text = sentences.breakdown(compare(with_excess(study(), tossed)), tail=False)
    assert "not told from chance at Δt = 2 (n = 16), 8 (n = 16) and 30 (n = 48)" in text
    assert "at no Δt" not in text
    sure = sentences.breakdown(compare(with_excess(study(), last_is_better)), tail=False)
    assert "“last wins” has signs better than chance at Δt = 2 (n = 16), 8 (n = 16) and 30 (n = 48)" in sure


def tossed(branch, name):
    """As often with the rules as against them, at every Δt."""
    return last_is_better(branch, name) * (1 if branch["step"] in (20, 120) else -1)


def test_the_length_of_the_windows_is_told_in_units_of_the_curvature():
    results = study()
    for run in results["runs"]:
        for point in run["checkpoints"]:
            point["curvature"] = {"plain": 20.0, "adam": 3000.0}
    table = tables.lengths(compare(results))
    assert [row[0] for row in table.rows] == ["1", "2", "8", "30"]
    assert table.rows[0][1:] == ("0.2", "30")
    assert table.rows[3][1:] == ("6", "900")
    text = sentences.curvature(compare(results))
    assert "a single step" in text
    assert "no Δt of the study lies in the local regime of the Adam bracket" in text
    assert "a bound" not in text
    results["runs"][0]["checkpoints"][0]["curvature_error"] = {"plain": 0.1, "adam": 30.0}
    assert "within 1%" in sentences.curvature(compare(results))


def test_a_prediction_beyond_the_loss_itself_is_called_out():
    results = study()
    for run in results["runs"]:
        for point in run["checkpoints"]:
            P = point["effects"]["adam"]["P_replicates"]
            point["effects"]["adam"]["P_replicates"] = [
                [[[1e6 * x for x in r] for r in t] for t in k] for k in P
            ]
    assert "exceeds the loss itself" in tables.commutation(compare(results), balanced=True).note
    assert "exceeds the loss itself" not in tables.commutation(compare(study()), balanced=True).note


def counts_nothing(markdown):
    """Whether no sentence counts what is not there."""
    return not any(
        text in markdown
        for text in ("0 of 0", "1 seeds", "so in – of", "t = none", "pays no gain", "resolved ones –")
    )


def test_no_sentence_counts_what_is_not_there(whole):
    assert counts_nothing(whole[0])
    assert counts_nothing(rendered({"cpu": with_P(study(), 1.0, -1.0)})[0])
    assert not counts_nothing("signs are right in 0 of 0 cases")


def test_the_help_of_the_command_reads_as_a_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert '"' not in capsys.readouterr().out


@pytest.mark.parametrize("less", [without_base, without_tails, one_seed, one_run, no_branches, half_way])
def test_results_that_lack_something_still_make_a_page(less):
    markdown, _ = rendered({"cpu": less(study())})
    assert "not testable here" in markdown
    assert "nan" not in markdown.lower().split()
    assert counts_nothing(markdown)


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
