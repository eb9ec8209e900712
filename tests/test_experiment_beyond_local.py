"""The experiment beyond the local regime: its predictions against exact flows, and errors it would notice."""

import json
from dataclasses import replace

import pytest

from commute_verify.errors import CommuteError
from commute_verify.report import Figure, Table
from experiments.beyond_local import Settings, page, quadratics, tables, transformer
from experiments.beyond_local import __main__ as command
from experiments.beyond_local.parts import COMMITTED, parts
from experiments.quadratic.problems import Stream, sample
from experiments.quadratic.table1 import Cell, cells
from experiments.results import load_committed
from experiments.transformer_flow.ladder import SWAP, curvature
from experiments.transformer_flow.problem import MIXTURE, trained

SMOKE = Settings.smoke()
TOY = replace(SMOKE.quadratic, dimension=6, windows=(0.1, 10.0), times=(0.3,), draws=2, chunk=2)


def frozen_errors():
    problem = sample(TOY, Stream.FRESH, range(1))
    return [
        abs(quadratics.frozen(problem, cell, 1e-13) / pair.observed[0] - 1)
        for cell, pair in cells(TOY, problem)
        if cell.order == 2
    ]


def test_frozen_curvature_is_exact_on_quadratics_at_every_length():
    assert max(frozen_errors()) <= 1e-8  # roundoff of a short window's gap


@pytest.mark.parametrize("planted", ["other curvature", "half the curvature", "swapped order"])
def test_a_planted_error_is_seen(monkeypatch, planted):
    kept, swapped = quadratics.quadratic_loss, {"12": (1, 0), "21": (0, 1)}

    def wrong(model, batch):
        A, b = batch
        return kept(model, (A.flip(0, 1) if planted == "other curvature" else A / 2, b))

    if planted == "swapped order":
        monkeypatch.setattr(quadratics, "TRAININGS", swapped)
    else:
        monkeypatch.setattr(quadratics, "quadratic_loss", wrong)
    assert max(frozen_errors()) > 0.01


def test_order_3_is_nearer_than_order_2_on_short_windows_and_farther_on_long_ones():
    found = quadratics.quadratics(replace(SMOKE, quadratic=replace(TOY, draws=20), frozen_draws=1))
    error = {(c["dt"], c["predictor"]): c["median_error"] for c in found["cells"]}
    assert error[0.1, "order 3"] < error[0.1, "order 2"] / 4
    assert error[10.0, "order 3"] > error[10.0, "order 2"] > 1
    assert Cell(0.3, 0.1, "L", "12", 2).order == 2


@pytest.fixture
def frozen_alone(monkeypatch):
    monkeypatch.setattr(
        transformer, "PREDICTORS", {"frozen-curvature": transformer.PREDICTORS["frozen-curvature"]}
    )


@pytest.fixture(scope="module")
def small():
    problem = trained(replace(SMOKE.transformer, seed=4))
    return problem, curvature(problem, MIXTURE, 4).value


@pytest.mark.usefixtures("frozen_alone")
def test_frozen_curvature_has_every_sign_of_a_gpt2_where_the_window_is_one_over_the_curvature(small):
    found = transformer.window_cells(SMOKE, small[0], 1.0, small[1])
    (row,) = transformer.rows(found, (1.0,), 0.95)
    assert row["count"] == 18
    assert row["right"] == 18
    assert row["median_error"] <= 0.1
    other = transformer.predictions(small[0], SWAP.schedule("21", 1.0 / small[1]))  # planted: the other order
    seen = next(cell for cell in found if (cell["kind"], cell["target"]) == ("swap", "L1"))
    assert seen["observed"] * other["frozen-curvature"]["L1"][0] < 0


def test_rows_count_answers_and_signs():
    def cell(observed, *predicted):
        return {
            "reach": 1.0,
            "observed": observed,
            "predicted": dict(zip(transformer.PREDICTORS, predicted, strict=True)),
        }

    yes, no, silent = (1.0, True, 3.0), (-1.0, True, 5.0), (-1.0, False, 4.0)
    rows = transformer.rows([cell(2.0, yes, no, silent, yes), cell(0.5, yes, yes, silent, no)], (1.0,), 0.95)
    counted = [(r["right"], r["answered"], r["answered_right"]) for r in rows]
    assert counted == [(2, 2, 2), (1, 2, 1), (0, 0, 0), (1, 2, 1)]
    assert [r["median_error"] for r in rows] == [0.75, 1.25, 2.25, 1.75]
    assert [r["training_steps"] for r in rows] == [3.0, 4.0, 4.0, 4.0]


def test_the_committed_ladder_says_what_the_page_counts():
    result = load_committed(COMMITTED)["result"]
    assert result["reaches"] == list(Settings.full().reaches)
    assert result["later"]["reaches"] == list(Settings.later().reaches)
    for told, settings in ((result, Settings.full()), (result["later"], Settings.later())):
        assert told["steps"] == settings.transformer.steps
        assert len(told["points"]) == len(settings.seeds)
        assert {row["count"] for row in told["rows"]} == {18 * len(told["points"])}
        assert {row["count"] for row in told["kinds"]} == {6 * len(told["points"])}
        for row in told["rows"]:  # kinds are its parts
            where = (row["reach"], row["predictor"])
            parts_of_it = [r for r in told["kinds"] if (r["reach"], r["predictor"]) == where]
            assert [r["kind"] for r in parts_of_it] == list(tables.KINDS)
            for key in ("count", "right", "answered", "answered_right"):
                assert sum(r[key] for r in parts_of_it) == row[key]
    assert "The median error of frozen curvature is at most 0.7%, up to" in tables.verdict(result)
    row = tables.find(result, 20.0, "frozen-curvature")
    worse = {
        **result,
        "rows": [r if r is not row else {**r, "right": 50, "median_error": 0.2} for r in result["rows"]],
    }
    assert "stays within 10% up to" in tables.verdict(worse)
    assert "by kind of schedule" in tables.verdict(worse)
    assert [part.name for part in parts("default")] == ["quadratics", "transformer", "full"]


def test_signs_end_for_each_kind_of_schedule_where_its_own_are_wrong():
    def cells(right):
        cases = {(kind, reach): 6 for kind in tables.KINDS for reach in (1.0, 4.0, 20.0)} | right
        return {
            "kinds": [
                {"kind": kind, "reach": reach, "predictor": "frozen-curvature", "right": n, "count": 6}
                for (kind, reach), n in cases.items()
            ]
        }

    found = cells({("tilt", 20.0): 5, ("skewed tilt", 1.0): 0})
    assert [tables.signs_until(found, kind) for kind in tables.KINDS] == [20.0, 4.0, None]
    planted = cells({("swap", 20.0): 5})  # planted: one kind taken for another
    assert tables.signs_until(planted, "swap") == 4.0


def test_the_study_keeps_both_lengths_of_training_apart(monkeypatch):
    brief = replace(SMOKE, reaches=(0.03,), transformer=replace(SMOKE.transformer, rtol=1e-3))
    both = {"seed": brief, "later-seed": replace(brief, transformer=replace(brief.transformer, steps=80))}
    monkeypatch.setattr(command, "BOTH", both)
    monkeypatch.setattr(transformer, "PREDICTORS", {"local": transformer.PREDICTORS["local"]})
    found = {part.name: part.run() for part in command.pieces()}
    assert sorted(found) == ["later-seed-4", "seed-4"]
    result = command.pooled(found)
    early, later = (transformer.together(both[kind], [found[f"{kind}-4"]]) for kind in both)
    assert result == {**early, "later": later}
    assert result["steps"] == SMOKE.transformer.steps < later["steps"] == 80
    assert result["points"][0]["losses"] > later["points"][0]["losses"]
    planted = command.pooled({"seed-4": found["later-seed-4"], "later-seed-4": found["seed-4"]})
    assert planted["points"] != early["points"]  # planted: one taken for the other


def test_the_page_is_made_of_results_alone():
    results = {name: load_committed(COMMITTED)["result"] for name in ("transformer", "full")}
    toy = quadratics.quadratics(replace(SMOKE, quadratic=TOY, frozen_draws=1))
    blocks = page.blocks({"quadratics": json.loads(json.dumps(toy)), **results})
    assert [type(b) for b in blocks].count(Figure) == 1
    assert [type(b) for b in blocks].count(Table) == 6
    assert page.sentence({"quadratics": toy, **results}).endswith("signs right.")


def test_settings_that_make_no_sense_are_refused():
    for wrong in (
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"reaches": (0.0,)},
        {"frozen_draws": 1000},
        {"level": 1.0},
    ):
        with pytest.raises(CommuteError, match=next(iter(wrong))):
            Settings(**wrong)
