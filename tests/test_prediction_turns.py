"""What happens between the ends of a window: gradients that grow into clipping, and orders that cancel."""

import numpy as np
import pytest

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction import local
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.window import Window
from tests.test_prediction_limits import Point, half_square, pair

APART = pair([1.0, 1.0, 1.0], [2.0, 1.0, 1.0], [0.0, 1.0, 1.2])
"""Opposed: training on one lengthens the other's gradient."""
LONGEST = 1.04**0.5
ALONE = {name: {name: 1.0} for name in APART}
LOCAL = ("local", "local-3", "frozen-curvature")
PALINDROME = WeightSchedule.blocks({"a": 2, "b": 4}).then(WeightSchedule.constant({"a": 1.0, "b": 0.0}, 2))


def trained(schedule, lr, clip):
    """a's and b's losses after steps in NumPy."""
    theta = np.ones(3)
    centres = [found[0][1].numpy() for found in APART.values()]
    for w in np.repeat(schedule.weights, schedule.durations.astype(int), axis=0):
        g = sum(x * (theta - b) for x, b in zip(w, centres, strict=True))
        theta = theta - lr * g * min(1.0, clip / (np.linalg.norm(g) + 1e-6))
    return np.array([0.5 * np.sum((theta - b) ** 2) for b in centres])


def asked(schedule, predictor, lr, **options):
    return predict_excess_loss(
        Point(), half_square, APART, schedule, ALONE, optimizer=lr, predictor=predictor, **options
    )


SWAP = WeightSchedule.blocks({"a": 4, "b": 4})


@pytest.mark.parametrize("predictor", LOCAL)
def test_gradients_that_grow_into_clipping_are_abstained_from(predictor):
    lr, clip = 0.025, 1.005 * LONGEST
    told = asked(SWAP, predictor, lr, clip_norm=clip)
    for found in told.excess.values():
        assert "clip_norm" in found.verdict.quantity
    seen = trained(SWAP, lr, clip) - trained(SWAP.averaged(), lr, clip)
    assert abs(told["a"].value / seen[0] - 1) > 0.15  # what it abstains for
    assert asked(SWAP, predictor, lr, clip_norm=2 * LONGEST).answered


@pytest.mark.parametrize("predictor", LOCAL)
def test_looking_at_the_start_alone_would_answer(predictor, monkeypatch):
    monkeypatch.setattr(Surface, "watch", lambda self, weights, at: None)
    assert asked(SWAP, predictor, 0.025, clip_norm=1.005 * LONGEST).answered  # planted


def kept(schedule, lr=0.1):
    return Window.of(schedule.domains, schedule, None, lr).kept()


def test_what_is_left_of_the_area():
    even = WeightSchedule.constant({"a": 0.5, "b": 0.5}, 5)
    assert kept(SWAP) == pytest.approx(1.0)  # roundoff
    assert kept(SWAP.then(even)) == pytest.approx(1.0)
    assert kept(WeightSchedule.blocks({"a": 3, "b": 4, "c": 5})) == pytest.approx(1.0)
    assert kept(WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.1, 3, before=2)) == pytest.approx(1.0)
    assert kept(even) == 1.0
    assert kept(PALINDROME) < 1e-12
    assert kept(SWAP, np.linspace(0, 1, 8)) == 1.0  # of order 1: totals in flow time differ
    # under δW_a, which goes to ½ and back over 2, and then to −¼ and back over 1
    back = WeightSchedule.blocks({"b": 0.5, "a": 0.5})
    turned = WeightSchedule(("a", "b"), back.durations, back.weights[:, ::-1])
    parts = WeightSchedule.blocks({"a": 1, "b": 1}).then(turned)
    assert kept(parts) == pytest.approx((2 * 0.5 / 2 - 1 * 0.25 / 2) / (2 * 0.5 / 2 + 1 * 0.25 / 2))


def test_a_palindrome_is_left_to_predictors_that_know_order_3():
    assert not asked(PALINDROME, "local", 0.02).answered
    assert not asked(PALINDROME, "local", 0.02, dynamics="flow").answered
    told = asked(PALINDROME, "auto", 0.02)
    seen = trained(PALINDROME, 0.02, np.inf) - trained(PALINDROME.averaged(), 0.02, np.inf)
    assert told.answered
    assert np.abs([told[name].value for name in APART] - seen).max() < 0.02 * np.abs(seen).max()


def test_the_series_would_answer_a_palindrome_with_nothing(monkeypatch):
    monkeypatch.setattr(Window, "kept", lambda self: 1.0)
    monkeypatch.setattr(local, "NOISE", np.inf)
    told = asked(PALINDROME, "local", 0.02, dynamics="flow")
    assert told.answered  # planted
    seen = trained(PALINDROME, 0.02, np.inf) - trained(PALINDROME.averaged(), 0.02, np.inf)
    assert abs(told["a"].value) < 1e-6 * abs(seen[0])
