"""The predicted excess loss against training runs that follow the schedule in exact gradient steps."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import CommuteError, WeightSchedule, order_effect
from commute_verify.criterion.schedule_area import areas
from tests.criterion_models import squares

TARGETS = {"mix": {"a": 0.5, "b": 0.3, "c": 0.2}}

pytestmark = pytest.mark.filterwarnings("ignore:the replicates do not differ")


class Regression:
    """Three linear regressions in two unknowns: L_k = ½ mean (x·θ − y)², exactly known."""

    def __init__(self):
        rng = np.random.default_rng(3)
        self.x = {name: rng.normal(size=(6, 2)) for name in "abc"}
        self.y = {name: rng.normal(size=6) for name in "abc"}
        self.theta = rng.normal(size=2)

    def effect(self):
        model = nn.Linear(2, 1, bias=False).double()
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(self.theta))
        data = {n: [(torch.from_numpy(self.x[n]), torch.from_numpy(self.y[n]))] * 12 for n in "abc"}
        return order_effect(
            model, squares, data, targets=TARGETS, batches=12, method="double-backward", progress=False
        )

    def gradient(self, name, theta):
        return self.x[name].T @ (self.x[name] @ theta - self.y[name]) / 6

    def loss(self, theta):
        return sum(w * 0.5 * np.mean((self.x[n] @ theta - self.y[n]) ** 2) for n, w in TARGETS["mix"].items())

    def trained(self, weights, rates):
        """θ after real steps θ ← θ − lr Σ_k w_k g_k; weights (steps, 3)."""
        theta = self.theta.copy()
        for row, lr in zip(weights, rates, strict=True):
            theta = theta - lr * sum(w * self.gradient(n, theta) for n, w in zip("abc", row, strict=True))
        return theta

    def excess(self, weights, rates):
        """The loss after the schedule less that after its mean weights, both in real steps."""
        mean = np.broadcast_to(weights.mean(axis=0), weights.shape)
        return self.loss(self.trained(weights, rates)) - self.loss(self.trained(mean, rates))


STAGES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])


def schedule(steps):
    return WeightSchedule(("a", "b", "c"), np.full(4, float(steps)), STAGES)


def slope(errors):
    """The order at which errors fall from a rung of the ladder to the next, each half of the last."""
    return np.diff(-np.log2(np.abs(errors)))


def ladder(problem, predict):
    """Errors at T = 4 · steps · lr halved and the steps doubled, so that discrete terms fall as O(T³) too."""
    errors = []
    for rung in range(5):
        steps = 4 * 2**rung
        lr = 0.32 / 4 / steps / 2**rung
        weights = np.repeat(STAGES, steps, axis=0)
        real = problem.excess(weights, np.full(4 * steps, lr))
        errors.append(real - predict(schedule(steps), lr))
    return errors


def test_the_excess_at_a_constant_rate_is_right_to_second_order():
    problem = Regression()
    effect = problem.effect()
    errors = ladder(problem, lambda s, lr: effect.excess_loss(s, lr)["mix"].value)
    assert np.all(np.abs(slope(errors)[1:] - 3) <= 0.35)  # order 3, and not 2 or 4


@pytest.mark.parametrize("planted", ["sign", "half", "double", "transposed area", "nothing"])
def test_the_slope_rejects_a_planted_error(planted):
    problem = Regression()
    effect = problem.effect()
    factor = {"sign": -1, "half": 0.5, "double": 2, "transposed area": -1, "nothing": 0}[planted]

    def wrong(s, lr):
        if planted == "transposed area":
            return effect.excess_loss(s.reversed(), lr)["mix"].value
        return factor * effect.excess_loss(s, lr)["mix"].value

    assert np.all(slope(ladder(problem, wrong))[1:] < 2.5)


def test_a_rate_that_varies_has_a_first_order_term_that_is_kept_apart():
    problem = Regression()
    effect = problem.effect()
    weights = np.repeat(STAGES, 4, axis=0)
    errors, parts = [], []
    for rung in range(6):
        rates = np.linspace(0.04, 0.01, 16) / 2**rung
        found = effect.excess_loss(schedule(4), rates)["mix"]
        errors.append(problem.excess(weights, rates) - found.value)
        parts.append((found.first_order[0], found.second_order[0]))
        assert found.value == pytest.approx(sum(parts[-1]), abs=1e-15)  # roundoff: the same sum
    first, second = np.array(parts).T
    assert np.all(np.abs(slope(errors)[2:] - 2) <= 0.3)  # the symmetric second-order terms are left out
    assert np.all(np.abs(errors) > 5 * np.abs([second for _, second in parts]))  # as docs/choosing.md warns
    assert np.abs(slope(first) - 1).max() <= 1e-9
    assert np.abs(slope(second) - 2).max() <= 1e-9
    without = [problem.excess(weights, np.linspace(0.04, 0.01, 16) / 2**r) for r in range(6)]
    assert np.all(np.abs(slope(without)[2:] - 1) <= 0.3)  # an error of order 1 without it


def test_a_rate_that_varies_but_leaves_the_totals_has_the_area_alone():
    """Rates mirrored in time over weights that are mirrored but for two middle stages."""
    problem = Regression()
    effect = problem.effect()
    rows = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    errors = []
    for rung in range(5):
        steps = 8 * 2**rung
        base = np.concatenate([np.linspace(1.0, 0.5, steps), np.linspace(1.0, 0.5, steps)])
        rates = 0.2 * base / steps / 2**rung
        weights = np.repeat(rows, steps, axis=0)
        s = WeightSchedule(("a", "b", "c"), np.full(2, float(steps)), rows)
        found = effect.excess_loss(s, rates)["mix"]
        assert abs(found.first_order[0]) <= 1e-15  # roundoff
        errors.append(problem.excess(weights, rates) - found.value)
    assert np.all(np.abs(slope(errors)[1:] - 3) <= 0.35)


def test_at_a_constant_rate_the_area_is_the_schedules_own():
    s = schedule(5)
    gap, area = areas(s, ("a", "b", "c"), 0.1)
    assert np.abs(gap).max() <= 1e-14  # roundoff
    assert np.abs(area - 0.01 * s.levy_area()).max() <= 1e-14
    assert np.abs(area + 0.01 * s.levy_area()).max() > 0.1  # a sign would be seen


def test_the_area_follows_the_order_of_the_effects_domains():
    s = schedule(5)
    found = areas(s, ("c", "a", "b"), 0.1)[1]
    order = [2, 0, 1]
    assert np.abs(found - 0.01 * s.levy_area()[np.ix_(order, order)]).max() <= 1e-14


def test_one_rate_for_all_steps_equals_that_rate_for_each():
    effect = Regression().effect()
    one = effect.excess_loss(schedule(3), 0.1)["mix"]
    each = effect.excess_loss(schedule(3), [0.1] * 12)["mix"]
    assert (one.value, one.stderr) == (each.value, each.stderr)


def test_a_value_and_its_stderr_come_out_in_this_order():
    value, stderr = found = Regression().effect().excess_loss(schedule(2), 0.1)["mix"]
    assert (value, stderr) == (found.value, found.stderr)
    assert abs(stderr) <= 1e-15  # every replicate is the same


def test_the_better_order_of_blocks_is_the_one_that_is_preferred():
    problem = Regression()
    found = problem.effect().prefer_first("a", "b")
    other = "b" if found.first == "a" else "a"
    lr, n = 1e-3, 20
    blocks = {"a": np.array([1.0, 0, 0]), "b": np.array([0, 1.0, 0])}

    def ends(first, second):
        return problem.loss(problem.trained([blocks[first]] * n + [blocks[second]] * n, np.full(2 * n, lr)))

    assert found.resolved
    assert ends(found.first, other) < ends(other, found.first)
    area = (lr * n) ** 2 / 2
    gained = (ends(other, found.first) - ends(found.first, other)) / 2  # what both orders share drops out
    assert abs(gained / (area * found.excess_per_area) - 1) <= 0.15  # order: O(T), T = 0.04


@pytest.mark.parametrize(
    ("change", "lr", "words"),
    [
        ({}, [0.1] * 3, "lr of 3 numbers for 8 steps"),
        ({}, -0.1, "finite number of at least 0"),
        ({}, float("nan"), "finite number of at least 0"),
        ({}, "fast", "give one number, or one per step"),
        ({}, [[0.1]], "lr of shape"),
        ({"durations": np.full(4, 2.5)}, 0.1, "whole numbers"),
        ({"domains": ("a", "b", "d")}, 0.1, "misses or does not know c, d"),
    ],
)
def test_a_schedule_or_rate_that_does_not_fit_is_refused(change, lr, words):
    fields = {"domains": ("a", "b", "c"), "durations": np.full(4, 2.0), "weights": STAGES} | change
    with pytest.raises(CommuteError, match=words):
        Regression().effect().excess_loss(WeightSchedule(**fields), lr)


@pytest.mark.parametrize("lr", [0.1, 1e-3 / 3, "each"])
def test_at_a_constant_rate_there_is_no_first_order_term_at_all(lr):
    effect = Regression().effect()
    s = WeightSchedule(("a", "b", "c"), np.array([7.0, 3.0, 11.0, 1.0]), STAGES)
    found = effect.excess_loss(s, [0.1 / 3] * 22 if lr == "each" else lr)["mix"]
    assert found.first_order == (0.0, 0.0)
    assert str(found.first_order[0]) == "0.0"  # not −0
    assert (found.value, found.stderr) == found.second_order


def test_stages_of_billions_of_steps_are_not_expanded():
    long = WeightSchedule(("a", "b", "c"), np.full(4, 5e8), STAGES)
    gap, area = areas(long, ("a", "b", "c"), 1e-9)
    assert not gap.any()
    short = areas(WeightSchedule(("a", "b", "c"), np.full(4, 500.0), STAGES), ("a", "b", "c"), 1e-3)[1]
    assert np.abs(area - short).max() <= 1e-15  # roundoff: both are 2 long in flow time
    assert np.abs(short).max() > 0.1
