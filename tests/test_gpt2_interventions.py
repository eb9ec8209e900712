"""Branches: the schedules of eq. 9 and 10, equal tokens, equal flow time, and plans that are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest

from commute_verify.errors import CommuteError
from experiments.gpt2.interventions import Branch, check_equal, flow_time, tokens
from experiments.gpt2.presets import CPU, PAPER, PRESETS, Base, preset

EVEN = {"en": 0.5, "ru": 0.5}
SKEW = {"en": 0.9, "ru": 0.1}


def by_hand(base: dict[str, float], delta: float, window: int, order: str, step: int) -> list[float]:
    """Eq. 9 and 10 word for word: the first domain up by δ before t0 + Δt and down after; 21 the reverse."""
    first, second = base.values()
    sign = {"12": 1, "21": -1, "base": 0}[order] * (1 if step < window else -1)
    return [first + sign * delta, second - sign * delta]


@pytest.mark.parametrize("base", [EVEN, SKEW], ids=["even", "skew"])
@pytest.mark.parametrize("order", ["12", "21", "base"])
def test_a_branch_follows_equations_9_and_10(base, order):
    delta = 0.0 if order == "base" else 0.0625
    schedule = Branch(10, base, delta, 6, order).schedule()
    rows = np.repeat(schedule.weights, schedule.durations.astype(int), axis=0)
    expected = [by_hand(base, delta, 6, order, step) for step in range(12)]
    assert np.allclose(rows, expected, rtol=0, atol=4 * np.finfo(float).eps)  # roundoff
    if order != "base":
        other = Branch(10, base, delta, 6, {"12": "21", "21": "12"}[order]).schedule()
        exchanged = np.repeat(other.weights, other.durations.astype(int), axis=0)
        assert np.allclose(np.abs(exchanged - expected).max(), 2 * delta)  # what the check would see


def test_12_runs_the_first_domain_ahead():
    assert Branch(10, EVEN, 0.25, 6, "12").schedule().levy_area()[0, 1] > 0
    assert Branch(10, EVEN, 0.25, 6, "21").schedule().levy_area()[0, 1] < 0


def test_the_tail_has_the_base_weights_and_comes_last():
    whole = Branch(10, SKEW, 0.0625, 6, "21", tail=4).whole()
    assert whole.durations.tolist() == [6, 6, 4]
    assert whole.weights[-1].tolist() == list(SKEW.values())


def test_further_domains_keep_their_weights():
    rows = Branch(10, {"a": 0.5, "b": 0.25, "c": 0.25}, 0.125, 6, "12").schedule().weights
    assert rows.tolist() == [[0.625, 0.125, 0.25], [0.375, 0.375, 0.25]]


BAD = {
    "beyond the simplex": ({"delta": 0.6}, "leaves the simplex"),
    "base with a tilt": ({"order": "base"}, "base has delta 0"),
    "no tilt": ({"delta": 0.0}, "base has delta 0"),
    "a negative tilt": ({"delta": -0.1}, "above 0"),
    "an unknown order": ({"order": "11"}, "12, 21, base"),
    "no window": ({"window": 0}, "window 0"),
    "half a window": ({"window": 2.5}, "window 2.5"),
    "a negative tail": ({"tail": -1}, "tail -1"),
    "a negative seed": ({"seed": -1}, "seed -1"),
    "an untrained start": ({"start": 0}, "start 0"),
    "one domain": ({"weights": {"en": 1.0}}, "two domains"),
    "weights off the simplex": ({"weights": {"en": 0.5, "ru": 0.6}}, "1.1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_branch_that_cannot_be_run_is_refused_in_one_line(name):
    change, words = BAD[name]
    with pytest.raises(CommuteError, match=words) as caught:
        replace(Branch(10, EVEN, 0.25, 6, "12"), **change)
    assert "\n" not in str(caught.value)


def test_every_branch_of_a_study_has_a_name_of_its_own():
    for study in PRESETS.values():
        names = [branch.name for branch in study.branches(("en", "ru"))]
        assert len(set(names)) == len(names)


def test_all_orders_of_a_seed_start_at_the_same_data_and_seeds_do_not_overlap():
    cursor = {"en": 70, "ru": 30}
    branches = [Branch(10, EVEN, 0.25, 6, order, seed, 4) for seed in (0, 1, 2) for order in ("12", "21")]
    starts = [branch.moved(cursor, batch=8) for branch in branches]
    assert starts[0] == starts[1] == cursor
    assert starts[2] == starts[3]
    assert starts[2]["en"] - starts[0]["en"] >= 8 * (2 * 6 + 4)  # more than a branch can use of one domain
    assert starts[4]["ru"] - starts[2]["ru"] >= 8 * (2 * 6 + 4)


# --- equal tokens, equal flow time --------------------------------------------------------------------------

BRANCH = Branch(10, EVEN, 0.25, 2, "12")
TILTED = np.array([[3, 1], [3, 1], [1, 3], [1, 3]])
STEADY = np.full((4, 2), 2)


def test_tokens_are_counted_by_domain():
    assert tokens(TILTED, ("en", "ru"), 64) == {"en": 512, "ru": 512}


def test_equal_tokens_at_a_constant_rate_pass():
    check_equal(BRANCH, TILTED, STEADY, [0.1] * 4)


def test_one_sequence_too_many_is_seen_and_the_domain_named():
    more = TILTED.copy()
    more[0] = 4, 0
    with pytest.raises(CommuteError, match="9 sequences of en, and its base 8"):
        check_equal(BRANCH, more, STEADY, [0.1] * 4)


@pytest.mark.parametrize(
    "rates", [[0.1, 0.1, 0.1, 0.09], [0.025, 0.05, 0.075, 0.1]], ids=["decay", "warm-up"]
)
def test_equal_tokens_at_a_rate_that_varies_are_no_equal_flow_time(rates):
    with pytest.raises(CommuteError, match="keep the learning rate constant"):
        check_equal(BRANCH, TILTED, STEADY, rates)


def test_flow_time_sums_rate_times_share():
    found = flow_time(TILTED, [0.1, 0.2, 0.3, 0.4], ("en", "ru"))
    assert math.isclose(found["en"], 0.1 * 0.75 + 0.2 * 0.75 + 0.3 * 0.25 + 0.4 * 0.25)
    assert math.isclose(sum(found.values()), 1.0)


# --- studies ------------------------------------------------------------------------------------------------


def test_the_cpu_study_holds_what_was_promised():
    branches = CPU.branches(("en", "ru"))
    assert CPU.steps(("en", "ru")) <= 50_000
    assert len(CPU.checkpoints) == 4
    for weights, deltas in ((EVEN, {0.15, 0.3, 0.45}), (SKEW, {0.03, 0.06, 0.09})):
        mine = [branch for branch in branches if branch.weights == weights]
        assert {branch.delta for branch in mine} == deltas | {0.0}
        assert {branch.seed for branch in mine} == {0, 1, 2}
        assert {branch.start for branch in mine} == set(CPU.checkpoints)


def test_every_branch_has_its_base_beside_it():
    for study in PRESETS.values():
        branches = study.branches(("en", "ru"))
        held = {(str(b.weights), b.start, b.window, b.seed) for b in branches if b.order == "base"}
        assert held == {(str(b.weights), b.start, b.window, b.seed) for b in branches}


def test_long_windows_come_first_then_short_ones_then_further_seeds_of_the_long():
    ranks = [
        (b.window == CPU.window and b.seed > 0, b.window < CPU.window) for b in CPU.branches(("en", "ru"))
    ]
    assert ranks == sorted(ranks)


def test_the_papers_study_has_the_papers_numbers():
    assert (PAPER.training.batch, PAPER.training.architecture.context, PAPER.training.steps) == (
        512,
        1024,
        28000,
    )
    assert (PAPER.checkpoints, PAPER.window) == ((2000, 8000, 14000, 20000), 4000)


REFUSED = {
    "a start in the warm-up": ({"checkpoints": (50, 500)}, "warm-up"),
    "checkpoints that fall": ({"checkpoints": (500, 150)}, "rising"),
    "a run that ends too soon": (
        {"checkpoints": (150, 1300), "training": replace(CPU.training, steps=1350)},
        f"at least {1300 + 2 * CPU.window}",
    ),
    "a short window that is long": ({"short_windows": (CPU.window,)}, f"shorter than {CPU.window}"),
    "a window that splits a sequence": ({"short_windows": (3,)}, "is whole"),
    "no seeds": ({"seeds": 0}, "one of each"),
    "no bases": ({"bases": ()}, "one of each"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_study_that_cannot_be_run_is_refused(name):
    change, words = REFUSED[name]
    with pytest.raises(CommuteError, match=words):
        replace(CPU, **change)


def test_a_middle_that_is_no_tilt_is_refused():
    with pytest.raises(CommuteError, match="none of the deltas"):
        Base((0.5, 0.5), (0.1,), 0.2)


def test_three_domains_for_two_weights_are_refused():
    with pytest.raises(CommuteError, match="3 domains"):
        CPU.branches(("a", "b", "c"))


def test_an_unknown_preset_is_named():
    with pytest.raises(CommuteError, match="'huge'"):
        preset("huge")
