"""What local predictors are held against: what changes along the window, and all that a schedule trains."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction import local
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.question import Question

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
    monkeypatch.setattr(local, "_change", lambda *given: np.zeros(1))  # planted: nobody looks along the way
    with pytest.raises(AssertionError):
        assert_silent_or_near(asked(FIRST, 0.01, "c"), seen)


def test_a_domain_that_the_reference_does_not_train_is_looked_at(monkeypatch):
    schedule = WeightSchedule(("a", "b", "c"), np.array([3.0, 3.0]), np.array([[0, 0, 1], [0.5, 0.5, 0]]))
    reference = WeightSchedule(("a", "b", "c"), np.array([6.0]), np.array([[0.5, 0.5, 0.0]]))
    ends = [losses_after(s, 0.03) for s in (schedule, reference)]
    monkeypatch.setattr(local, "_change", lambda *given: np.zeros(1))  # λ_max alone is to see it
    found = asked(schedule, 0.03, "a", against=reference)
    assert found.verdict.quantity == "flow time · λ_max"
    assert found.verdict.value > 10
    assert_silent_or_near(found, ends[0][0] - ends[1][0])
    monkeypatch.setattr(Question, "averages", lambda self: [self.average()])  # planted
    with pytest.raises(AssertionError):
        assert_silent_or_near(asked(schedule, 0.03, "a", against=reference), ends[0][0] - ends[1][0])


def test_a_window_that_leaves_all_numbers_is_not_answered():
    def walled(model, batch):
        loss, weight = quadratic(model, batch)
        return loss - 1e-9 * torch.log(0.3 - model.x).sum(), weight

    found = asked(FIRST, 0.25, "a", walled)
    assert not found.answered
    assert np.isfinite(found.value)
