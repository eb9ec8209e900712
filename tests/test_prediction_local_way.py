"""What local predictors are held against: what changes along the window, and all that a schedule trains."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction import coordinates, local
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.surface import Surface

GENTLE = {"a": [((1.0, 0.2), (1.0, 0.0))], "b": [((0.3, 1.0), (0.0, 1.0))]}
SHARP = {"c": [((200.0, 150.0), (0.02, 0.03))]}
FIRST = WeightSchedule(("a", "b", "c"), np.array([3.0, 3.0]), np.eye(3)[:2])


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(2, dtype=torch.float64))


def quadratic(model, batch):
    """½ Σ h (x − c)², a loss that is its own quadratic model."""
    h, c = (torch.tensor(each, dtype=torch.float64) for each in batch)
    return 0.5 * (h * (model.x - c) ** 2).sum(), 1.0


def losses_after(schedule, rate):
    """Every domain's loss after gradient steps, in closed form."""
    x, batches = np.zeros(2), [np.array(found[0]) for found in (GENTLE | SHARP).values()]
    for w in np.repeat(schedule.weights, schedule.durations.astype(int), axis=0):
        x = x - rate * sum(share * h * (x - c) for share, (h, c) in zip(w, batches, strict=True))
    return [float(0.5 * (h * (x - c) ** 2).sum()) for h, c in batches]


def asked(schedule, rate, target, loss=quadratic, **options):
    return predict_excess_loss(
        Point(),
        loss,
        GENTLE | SHARP,
        schedule,
        {target: {target: 1.0}},
        optimizer=rate,
        predictor="local",
        **options,
    )[target]


def assert_silent_or_near(found, seen):
    assert not found.answered or abs(found.value - seen) < 0.35 * abs(found.value)


def test_a_target_that_bends_along_the_way_is_not_answered(monkeypatch):
    ends = [losses_after(s, 0.01) for s in (FIRST, FIRST.averaged())]
    seen = ends[0][2] - ends[1][2]
    found = asked(FIRST, 0.01, "c")
    assert abs(found.value - seen) > 0.5 * abs(found.value)  # the sign is right, and half the size
    assert found.verdict.quantity == "the change of order 2 along the window, over the excess"
    assert found.verdict.value == pytest.approx(abs(found.value - seen) / abs(found.value), rel=0.05)
    assert_silent_or_near(found, seen)
    monkeypatch.setattr(local, "BENT", math.inf)  # planted: nobody looks along the way
    with pytest.raises(AssertionError):
        assert_silent_or_near(asked(FIRST, 0.01, "c"), seen)


def bending(model, batch):
    """L_a = −x, L_b = 0.05 x y + 0.5 x² y with a curvature that grows with x, and the target L_t = y."""
    x, y = model.x
    return {"a": -x, "b": 0.05 * x * y + 0.5 * x**2 * y, "t": y}[batch], 1.0


def after_bending(schedule, rate):
    """y after gradient steps by hand."""
    x = y = 0.0
    for a, b, _ in np.repeat(schedule.weights, schedule.durations.astype(int), axis=0):
        slopes = 0.05 * y + x * y, 0.05 * x + 0.5 * x**2
        x, y = x + rate * (a - b * slopes[0]), y - rate * b * slopes[1]
    return y


def bent(rate):
    swap = WeightSchedule(("a", "b", "t"), np.array([3.0, 3.0]), np.eye(3)[:2])
    data = {name: [name] for name in "abt"}
    return swap, predict_excess_loss(
        Point(), bending, data, swap, {"t": {"t": 1.0}}, optimizer=rate, predictor="local"
    )


def test_curvature_that_grows_on_the_way_is_not_answered(monkeypatch):
    swap, found = bent(0.03)
    seen = after_bending(swap, 0.03) - after_bending(swap.averaged(), 0.03)
    error = abs(found["t"].value - seen) / abs(found["t"].value)
    assert error > 0.5
    assert not found.answered
    assert found["t"].verdict.quantity == "the change of order 2 along the window, over the excess"
    assert found["t"].verdict.value == pytest.approx(error, rel=0.5)
    right = local._terms
    monkeypatch.setattr(
        local, "_terms", lambda *given: right(*given[:4], None, *given[5:])
    )  # planted: H at θ
    assert bent(0.03)[1].answered


def test_a_window_that_is_too_long_is_not_followed():
    short, long = (bent(rate)[1] for rate in (1e-3, 30.0))
    assert short.answered
    assert not long.answered
    assert (
        short.cost.gradients - long.cost.gradients == 3 + 1 + 3
    )  # of domains and targets, and with products


def test_weight_decay_pulls_from_where_gradients_are_taken():
    at = coordinates.Coordinates(torch.tensor([2.0, 0.5], dtype=torch.float64), 0.3)
    surface = Surface(Objective.of(Point(), quadratic), GENTLE)
    point = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert at.gradients(surface, point)[-1].tolist() == pytest.approx([0.3 * 1.0 / 2.0, 0.3 * -2.0 / 0.5])
    assert at.gradients(surface)[-1].tolist() == [0.0, 0.0]


def test_a_domain_that_the_reference_does_not_train_is_looked_at(monkeypatch):
    schedule = WeightSchedule(("a", "b", "c"), np.array([3.0, 3.0]), np.array([[0, 0, 1], [0.5, 0.5, 0]]))
    reference = WeightSchedule(("a", "b", "c"), np.array([6.0]), np.array([[0.5, 0.5, 0.0]]))
    ends = [losses_after(s, 0.03) for s in (schedule, reference)]
    monkeypatch.setattr(local, "BENT", math.inf)  # λ_max alone is to see it
    found = asked(schedule, 0.03, "a", against=reference)
    assert found.verdict.quantity == "flow time · λ_max"
    assert found.verdict.value > 10
    assert_silent_or_near(found, ends[0][0] - ends[1][0])
    monkeypatch.setattr(Question, "averages", lambda self: [self.average()])  # planted
    with pytest.raises(AssertionError):
        assert_silent_or_near(asked(schedule, 0.03, "a", against=reference), ends[0][0] - ends[1][0])


def test_a_window_that_leaves_all_numbers_is_not_answered(monkeypatch):
    def walled(model, batch):
        """A wall at 0.05, within the window and not felt before."""
        loss, weight = quadratic(model, batch)
        return loss - 1e-9 * torch.log(0.05 - model.x).sum(), weight

    assert asked(FIRST, 0.02, "a").answered  # without a wall
    found = asked(FIRST, 0.02, "a", walled)
    assert not found.answered
    assert found.verdict.quantity == "the change of order 2 along the window, over the excess"
    assert math.isinf(found.verdict.value)
    assert math.isfinite(found.value)
    monkeypatch.setattr(local, "BENT", math.inf)  # planted
    assert asked(FIRST, 0.02, "a", walled).answered
