"""Where local predictions end unseen: clipping that they leave out, and curvature that the mixture hides."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction import coordinates, ladder, left_out, local
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.surface import Surface

NAMES, STEPS = ("a", "b"), 8
SWAP = WeightSchedule.blocks({"a": STEPS // 2, "b": STEPS // 2})
LOCAL = ("local", "local-3", "frozen-curvature")


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(3, dtype=torch.float64))


def half_square(model, batch):
    """½ Σ A_i (θ_i − b_i)²."""
    A, b = batch
    return 0.5 * (A * (model.theta - b) ** 2).sum(), 1.0


def pair(A, one, other):
    return {
        name: [(torch.tensor(A).double(), torch.tensor(b).double())] * STEPS
        for name, b in zip(NAMES, (one, other), strict=True)
    }


STEEP = pair([1.0, 2.0, 3.0], [4.0, 2.0, 0.0], [0.0, 3.0, 2.0])
HIDDEN = pair([100.0, 100.0, 0.01], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0])
"""The steep gradients of a and b cancel in the mixture, which goes along the third coordinate alone."""


def asked(data, predictor, lr=1e-3, **options):
    return predict_excess_loss(Point(), half_square, data, SWAP, optimizer=lr, predictor=predictor, **options)


def run(weights, lr, clip):
    model = Point()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for w in weights:
        optimizer.zero_grad()
        sum(
            float(x) * half_square(model, STEEP[name][0])[0] for x, name in zip(w, NAMES, strict=True)
        ).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return np.array([float(half_square(model, STEEP[name][0])[0].detach()) for name in NAMES])


def clipped_excess(lr, clip):
    weights = np.repeat(SWAP.weights, SWAP.durations.astype(int), axis=0)
    return run(weights, lr, clip) - run(np.full((STEPS, 2), 0.5), lr, clip)


@pytest.mark.parametrize("predictor", LOCAL)
def test_clipping_that_is_left_out_is_abstained_from(predictor):
    assert asked(STEEP, predictor, tolerance=1e-9).answered
    assert asked(STEEP, predictor, tolerance=1e-9, clip_norm=100.0).answered
    found = asked(STEEP, predictor, tolerance=1e-9, clip_norm=1.0)
    assert not found.answered
    assert "clip_norm" in found["a"].verdict.quantity


def assert_auto_clips():
    found = asked(STEEP, "auto", clip_norm=1.0, points=6)
    seen = clipped_excess(1e-3, 1.0)
    assert found.answered
    assert np.abs([found[name].value for name in NAMES] - seen).max() <= 1e-3 * np.abs(seen).max()


def test_auto_follows_a_run_that_is_clipped():
    assert_auto_clips()


def test_auto_that_takes_the_unclipped_series_is_caught(monkeypatch):
    monkeypatch.setattr(ladder, "against_clipping", lambda questions, clip, verdicts: verdicts)
    with pytest.raises(AssertionError):
        assert_auto_clips()


def test_the_norm_that_is_held_against_clipping_is_the_largest_of_a_batch(monkeypatch):
    monkeypatch.setattr(Surface, "watch", lambda self, weights, at: None)  # at the start
    data = {name: [*found, *STEEP[name]] for name, found in pair([1.0] * 3, [1.0] * 3, [1.0] * 3).items()}
    largest = max(
        float(torch.linalg.vector_norm(A * (Point().theta.detach() - b))) for ((A, b), *_) in STEEP.values()
    )
    just, less = (asked(data, "local", clip_norm=factor * largest) for factor in (1.001, 0.999))
    assert just.answered
    assert not less.answered


@pytest.mark.parametrize("predictor", ["local", "memory"])
@pytest.mark.parametrize("flat", [0.01, 0.0])
def test_curvature_that_the_mixtures_gradient_does_not_see_is_found(predictor, flat):
    data = {
        name: [(A * torch.tensor([1, 1, flat / 0.01]), b) for A, b in found] for name, found in HIDDEN.items()
    }
    found = asked(data, predictor, lr=0.01)
    assert not found.answered
    assert found["a"].verdict.value == pytest.approx(0.01 * STEPS * 100, rel=1e-6)


def test_curvature_along_the_mixture_alone_is_caught(monkeypatch):
    monkeypatch.setattr(coordinates, "CANCELLED", 0.0)
    assert asked(HIDDEN, "memory", lr=0.01).answered


def test_curvature_along_a_target_is_found_where_gradients_do_not_cancel(monkeypatch):
    monkeypatch.setattr(coordinates, "CANCELLED", 0.0)
    assert not asked(HIDDEN, "local", lr=0.01)["a"].answered
    monkeypatch.setattr(local, "_reach", _without_bend)
    assert asked(HIDDEN, "local", lr=0.01)["a"].answered


def _without_bend(question, at, g, bent, right=local._reach):
    return right(question, at, g, 0.0)


def test_the_rungs_that_leave_things_out_are_named():
    assert left_out.AFFECTED == LOCAL


def test_a_gap_that_is_roundoff_of_the_displacements_is_not_answered():
    found, exact = (
        predict_excess_loss(
            Point().to(dtype),
            half_square,
            {name: [(A.to(dtype), b.to(dtype)) for A, b in found] for name, found in STEEP.items()},
            SWAP,
            optimizer=1e-7,
            predictor="frozen-curvature",
            tolerance=1e-9,
        )
        for dtype in (torch.float32, torch.float64)
    )
    assert exact.answered
    assert not found.answered
    assert "bound" in found["a"].verdict.quantity
