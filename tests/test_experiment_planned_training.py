"""Planned training: schedules, rules and statistics by others' arithmetic, and errors it would notice."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from commute_verify import WeightSchedule
from commute_verify.criterion import Cost, OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.planning import pareto_tilt, plan_tilt
from commute_verify.report import Figure, Table
from experiments.optimizer_windows.texts import Texts
from experiments.planned_training import Settings, schedules
from experiments.planned_training.bench import Bench
from experiments.planned_training.case import of_seed
from experiments.planned_training.page import blocks, sentence
from experiments.planned_training.parts import COMMITTED
from experiments.planned_training.plans import PLANNERS, Plan, Planners
from experiments.planned_training.rules import rankings, ranks
from experiments.planned_training.statistics import cells, odd_and_even, summed_up, versus
from experiments.planned_training.tables import NBSP, ROWS, find, milli
from experiments.planned_training.training import counts
from experiments.planned_training.words import first_line, odd_beside_even
from experiments.results import load_committed
from experiments.storage import ROOT

DOMAINS = ("a", "b", "c", "d")
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])
SMALL = replace(Settings.smoke(), warm=4, goal_rows=8, held_out_rows=8)


@pytest.fixture(scope="module")
def bench():
    texts = Texts(SMALL.windows(3))
    return Bench(SMALL, 3, texts, dict(zip(DOMAINS, SMALL.weights, strict=True)))


@pytest.fixture(scope="module")
def planners(bench):
    return Planners(bench, ("mixture", "d"))


@pytest.fixture(scope="module")
def seeds():
    """The same seed twice, other random numbers having been drawn in between."""
    found = of_seed(SMALL, 3)
    torch.manual_seed(99)
    return [found, of_seed(SMALL, 3)]


# schedules


def every_schedule(steps):
    later = np.array([0.3, -1.0, 0.5, 0.1])
    yield schedules.tilt(DOMAINS, WEIGHTS, later, steps, 0.05)
    yield schedules.tilt(DOMAINS, WEIGHTS, later, steps, 0.15)
    yield schedules.blocks(DOMAINS, WEIGHTS, later, steps)
    yield schedules.together(DOMAINS, WEIGHTS, np.stack([later, -later[::-1]]), steps, 0.05).schedule
    yield schedules.best_blocks(DOMAINS, WEIGHTS, steps, lambda one: float(one.durations[0]))


def test_every_schedule_and_its_reverse_deal_equal_totals():
    for schedule in every_schedule(10):
        for one in (schedule, schedule.reversed()):
            assert np.allclose([one.totals()[name] for name in DOMAINS], 10 * WEIGHTS, rtol=0, atol=1e-12)
            dealt = counts(one, DOMAINS, 10)
            assert dealt.sum(axis=0).tolist() == [40, 30, 20, 10]
            assert dealt.sum(axis=1).tolist() == [10] * 10
            plan = np.array([one.weights[:, one.domains.index(name)] for name in DOMAINS]).T
            plan = np.repeat(plan, one.durations.astype(int), axis=0) * 10
            assert np.abs(np.cumsum(dealt - plan, axis=0)).max() < 1


def test_blocks_stand_in_the_order_of_the_scores():
    found = schedules.blocks(DOMAINS, WEIGHTS, np.array([0.3, -1.0, 0.5, 0.1]), 10)
    assert [DOMAINS[row.argmax()] for row in found.weights] == ["b", "d", "a", "c"]
    assert found.durations.tolist() == [3, 1, 4, 2]


def test_the_best_blocks_are_the_best_of_all_twenty_four():
    seen = []

    def loss(schedule):
        seen.append(schedule)
        return -float(np.flatnonzero(schedule.weights[:, 2])[0])

    found = schedules.best_blocks(DOMAINS, WEIGHTS, 10, loss)
    assert len(set(seen)) == 24
    assert DOMAINS[found.weights[-1].argmax()] == "c"


@pytest.mark.parametrize("draw", range(5))
def test_a_tilt_moves_the_scores_as_late_as_any_corner_of_the_bounds(draw):
    later = np.random.default_rng(draw).normal(size=4)
    found = schedules.tilt(DOMAINS, WEIGHTS, later, 10, 0.15)
    bound = np.minimum(0.15, WEIGHTS)
    best = max(
        float(later @ corner)
        for signs in product((-1, 0, 1), repeat=4)
        for free in range(4)
        for corner in [np.where(np.arange(4) == free, 0, signs) * bound]
        for corner in [corner - np.eye(4)[free] * corner.sum()]
        if abs(corner[free]) <= bound[free] + 1e-12
    )
    assert later @ (found.weights[1] - found.weights[0]) / 2 == pytest.approx(best, rel=1e-9)


# rules


def test_rankings_are_those_of_dot_products_by_hand():
    g = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])  # norms 5, 2, 1
    found = rankings(g, np.array([1.0, 1.0]), np.array([0.2, 0.5, 0.3]), 2, seed=1)
    # cosines: 7 / (5 √2), 2 / (2 √2), −1 / √2
    assert found["cosine"].tolist() == [2, 1, 0]
    assert found["cosine, reversed"].tolist() == [0, 1, 2]
    assert found["gradient norm"].tolist() == [2, 1, 0]
    assert found["smallest last"].tolist() == [2, 0, 1]
    assert found["largest last"].tolist() == [0, 2, 1]
    assert sorted(found["random 1"]) == sorted(found["random 2"]) == [0, 1, 2]


def test_a_cosine_that_is_a_dot_product_is_caught():
    g = np.array([[10.0, 10.0], [0.0, 1.0]])
    toward = np.array([0.0, 1.0])
    assert rankings(g, toward, np.array([0.5, 0.5]), 1, seed=0)["cosine"].tolist() == [0, 1]
    assert ranks(g @ toward).tolist() == [1, 0]


# several targets


def effect_of(later):
    """An effect with P w = later for every target, at lr 1 and the given weights."""
    P = np.zeros((len(later), 4, 4))
    apart = later - (later @ WEIGHTS)[:, None]
    for t, row in enumerate(apart):
        P[t] = np.subtract.outer(row, row)
    assert np.allclose(P @ WEIGHTS, apart)
    noise = np.triu(np.random.default_rng(0).normal(size=(4, *P.shape)), 1)
    noise = noise - noise.swapaxes(-1, -2)
    return OrderEffect(
        domains=DOMAINS,
        mixing={f"t{t}": {DOMAINS[t]: 1.0} for t in range(len(later))},
        P_replicates=P + 1e-9 * (noise - noise.mean(axis=0)),
        slope_replicates=np.zeros((4, len(later), 4)),
        cost=Cost(0, 0, 0, 0, 0.0, 0),
        method="made of numbers",
    )


@pytest.mark.parametrize("draw", range(4))
def test_tilts_for_one_target_and_for_several_are_those_of_the_package(draw):
    later = np.random.default_rng(draw).normal(size=(3, 4))
    effect, named = effect_of(later), dict(zip(DOMAINS, WEIGHTS.tolist(), strict=True))
    theirs = pareto_tilt(effect, named, 10, 0.05)
    ours = schedules.together(DOMAINS, WEIGHTS, later, 10, 0.05)
    assert ours.share == pytest.approx(theirs.share, abs=1e-6)
    assert ours.bound == pytest.approx(ours.share, abs=1e-9)
    one = plan_tilt(effect, named, 10, 0.05, "t0", switch="half").tilted
    assert np.allclose(one.weights, schedules.tilt(DOMAINS, WEIGHTS, later[0], 10, 0.05).weights, atol=1e-6)


def test_opposed_targets_have_a_certificate_and_no_tilt():
    later = np.random.default_rng(0).normal(size=4)
    found = schedules.together(DOMAINS, WEIGHTS, np.stack([later, -2 * later]), 10, 0.05)
    assert found.share < schedules.SMALL
    assert found.certificate == pytest.approx([0.5, 0.5])
    assert found.bound == pytest.approx(0, abs=1e-9)


# plans


def test_a_plan_is_made_on_the_very_run_that_constant_weights_are(bench, planners):
    run = bench.tried(bench.constant, {"d": 1.0})
    swept = bench.variation(bench.constant, {"d": {"d": 1.0}}, 0).losses["d"]
    assert swept == pytest.approx(run, rel=1e-5)  # float32


def test_plans_see_none_of_the_sequences_that_schedules_are_run_and_measured_on(bench):
    seen = {tuple(row) for window in bench._planning for rows in window.values() for row in rows.tolist()}
    seen |= {tuple(row) for rows in bench.goal.values() for row in rows.tolist()}
    run = {tuple(row) for rows in bench._window.values() for row in rows.tolist()}
    run |= {tuple(row) for rows in bench._held_out.values() for row in rows.tolist()}
    assert not seen & run


def test_every_plan_promises_a_loss_that_is_no_higher(planners):
    for by, shape, target in product(PLANNERS, ("tilt", "blocks"), ("mixture", "d")):
        plan = planners.plan(by, shape, target)
        assert plan.promised <= 0
        totals = plan.schedule.totals()
        assert [totals[name] for name in DOMAINS] == pytest.approx((10 * WEIGHTS).tolist())


def test_the_trajectory_plans_the_tilt_that_its_first_variation_likes_best(planners):
    plan = planners.plan("trajectory", "tilt", "mixture")
    rivals = [one for one in every_schedule(10) if len(one.durations) == 2]
    rivals = [one for one in rivals if np.abs(one.weights - WEIGHTS).max() < 0.051]
    assert rivals
    for one in (*rivals, *(each.reversed() for each in rivals), plan.schedule.reversed()):
        assert plan.promised <= planners.promise(one, "mixture")[0] + 1e-12


def test_a_reversed_plan_passed_off_as_planned_is_caught(planners, monkeypatch):
    kept = schedules.tilt
    monkeypatch.setattr(schedules, "tilt", lambda *given: kept(*given).reversed())
    with pytest.raises(CommuteError, match="has it been reversed"):
        planners.plan("trajectory", "tilt", "mixture")


def test_a_plan_of_the_other_sign_is_refused():
    with pytest.raises(CommuteError, match=r"promises an excess of 0\.2"):
        Plan(WeightSchedule.constant({"a": 1.0}, 2.0), 0.2, True)


# statistics


def made_up(values):
    return [
        [
            {"target": "mixture", "shape": "tilt", "by": by, "excess": float(value)}
            for by, value in zip(ALL, row, strict=True)
        ]
        for row in values
    ]


ALL = (
    *(name for planner in PLANNERS for name in (planner, f"{planner}, reversed")),
    "smallest last",
    "cosine",
    "gradient norm",
    "random 1",
    "random 2",
)


def test_intervals_are_scipys():
    values = np.random.default_rng(0).normal(size=(20, len(ALL)))
    found = cells(made_up(values), 0.95)
    for k, by in enumerate(ALL[:9]):
        cell = find(found, by=by)
        low, high = stats.ttest_1samp(values[:, k], 0).confidence_interval(0.95)
        assert cell["excess"]["mean"] - cell["excess"]["half"] == pytest.approx(low)
        assert cell["excess"]["mean"] + cell["excess"]["half"] == pytest.approx(high)
        exact = stats.binomtest(int((values[:, k] < 0).sum()), 20).proportion_ci(0.95)
        assert (cell["wins"]["low"], cell["wins"]["high"]) == pytest.approx((exact.low, exact.high))


def test_plans_are_held_against_rivals_seed_by_seed():
    values = np.random.default_rng(1).normal(size=(20, len(ALL)))
    found = versus(made_up(values), 0.9)
    assert len(found) == 3 * 7
    for by, rival in (("trajectory", "smallest last"), ("plain bracket", "plain bracket, reversed")):
        a, b = values[:, ALL.index(by)], values[:, ALL.index(rival)]
        cell = find(found, by=by, rival=rival)
        low, high = stats.ttest_rel(a, b).confidence_interval(0.9)
        assert cell["difference"]["mean"] == pytest.approx((low + high) / 2)
        assert cell["difference"]["half"] == pytest.approx((high - low) / 2)
        assert cell["lower"] == (a < b).sum()
    cell = find(found, by="trajectory", rival="random")
    assert cell["difference"]["mean"] == pytest.approx((values[:, 0] - values[:, 9:].mean(axis=1)).mean())


def test_the_odd_part_turns_with_the_order_and_the_even_one_stays():
    odd, even = np.random.default_rng(3).normal(size=(2, 20))
    one, other = {"values": list(odd + even)}, {"values": list(even - odd)}
    for found, part in zip(odd_and_even(one, other, 0.95), (odd, even), strict=True):
        low, high = stats.ttest_1samp(part, 0).confidence_interval(0.95)
        assert found["mean"] == pytest.approx((low + high) / 2)
        assert found["half"] == pytest.approx((high - low) / 2)
    turned = odd_and_even(other, one, 0.95)
    assert turned[0]["mean"] == pytest.approx(-odd.mean())
    assert turned[1]["mean"] == pytest.approx(even.mean())


def test_the_size_that_pays_is_told_where_the_order_helps_and_moving_costs(seeds):
    result = summed_up(replace(SMALL, seeds=2), seeds)
    for by, shift in (("trajectory", -2e-3), ("trajectory, reversed", 2e-3)):
        cell = find(result["cells"], target="mixture", shape="tilt", by=by)
        cell["values"] = [shift + 4e-3 + noise for noise in (1e-6, -1e-6)]
    # x → −2 x + 4 x² thousandths is least at x = 1/4, where it is −1/4
    assert "the size that pays best is 0.25 of this one, for a gain of 0.2" in odd_beside_even(result)
    for by in ("trajectory", "trajectory, reversed"):
        find(result["cells"], target="mixture", shape="tilt", by=by)["values"] = [1e-3, -1e-3]
    assert "pays best" not in odd_beside_even(result)


def test_swapping_a_plan_and_its_reverse_turns_the_verdict():
    values = 0.01 * np.random.default_rng(2).normal(size=(20, len(ALL)))
    values[:, ALL.index("trajectory")] -= 1
    planned = find(versus(made_up(values), 0.95), by="trajectory", rival="trajectory, reversed")
    values[:, :2] = values[:, 1::-1]
    swapped = find(versus(made_up(values), 0.95), by="trajectory", rival="trajectory, reversed")
    assert planned["difference"]["mean"] + planned["difference"]["half"] < 0
    assert swapped["difference"]["mean"] - swapped["difference"]["half"] > 0


# the whole of it, and its page


def test_a_seed_gives_the_same_numbers_again(seeds):
    assert seeds[0] == seeds[1]


def test_the_page_is_made_of_the_results(seeds):
    result = summed_up(replace(SMALL, seeds=2), seeds)
    made = blocks({"training": result})
    assert sum(isinstance(block, Figure) for block in made) == 1
    assert sum(isinstance(block, Table) for block in made) >= 7
    assert sentence({"training": result}) == first_line(result)


@pytest.mark.skipif(not COMMITTED.exists(), reason="no committed study")
def test_the_committed_study_has_twenty_seeds_and_renders():
    result = load_committed(COMMITTED)["result"]
    assert result["seeds"] >= 20
    for cell in result["cells"]:
        low, high = stats.ttest_1samp(cell["values"], 0).confidence_interval(result["level"])
        assert cell["excess"]["mean"] == pytest.approx((low + high) / 2, rel=1e-6)
        assert cell["excess"]["half"] == pytest.approx((high - low) / 2, rel=1e-6)
    assert blocks({"training": result, "full": result})


def test_the_first_line_says_so_where_the_plain_bracket_loses(seeds):
    result = summed_up(replace(SMALL, seeds=2), seeds)
    cell = find(result["versus"], target="mixture", shape="tilt", by="plain bracket", rival="smallest last")
    for mean, told in ((1.0, "loses to"), (-1.0, "beats"), (0.0, "is not told from")):
        cell["difference"] = {"mean": mean, "half": 0.5}
        assert f"Under AdamW the plain bracket {told} “smallest domain last”" in first_line(result)


@pytest.mark.skipif(not COMMITTED.exists(), reason="no committed study")
def test_the_page_on_planning_quotes_the_committed_study():
    result = load_committed(COMMITTED)["result"]
    page = " ".join((ROOT / "docs" / "planning.md").read_text(encoding="utf-8").split())
    tilts = {by: find(result["cells"], target="mixture", shape="tilt", by=by) for by in ROWS}
    odd, even = odd_and_even(tilts["trajectory"], tilts["trajectory, reversed"], result["level"])
    pair = [find(result["two"], shape="tilt", by=by) for by in ("smallest last", "largest last")]
    quoted = [
        find(result["cells"], target="mixture", shape="stages", by="descent")["excess"],
        odd,
        even,
        tilts["trajectory"]["excess"],
        tilts["smallest last"]["excess"],
        odd_and_even(*pair, result["level"])[0],
        *(
            find(result["versus"], target="mixture", shape="tilt", by=by, rival="smallest last")["difference"]
            for by in ("plain bracket", "Adam bracket")
        ),
    ]
    for one in quoted:
        assert milli(one).replace(NBSP, " ").replace("-", "−") in page


# bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": (0.5, 0.3, 0.2)}, "4 weights that sum to 1"),
        ({"weights": (0.45, 0.25, 0.2, 0.1)}, "whole steps"),
        ({"imbalanced": (0.8, 0.1)}, "2 weights that sum to 1"),
        ({"steps": 0}, "positive"),
        ({"stages": 3}, "even number of stages"),
        ({"planning": 1}, "at least 2"),
        ({"level": 1.0}, "level below"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(CommuteError, match=said):
        replace(SMALL, **change)
