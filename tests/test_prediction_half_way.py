"""Frozen curvature beside curvature from half-way: what the models leave out must not outweigh the excess."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import commute_verify as cv
from commute_verify.criterion.prediction import frozen, frozen_curvature

STEPS, ROWS, LR = 5, 12, 0.1
SWAP = cv.WeightSchedule.blocks({"a": STEPS, "b": STEPS})
SEEDS = range(10, 18)
QUANTITY = "the disagreement with curvature half-way"


def nats(model, batch):
    x, y = batch
    return cross_entropy(model(x), y, reduction="sum"), len(y)


def problem(seed):
    """A small network, and noisy labels of two half-spaces."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    draw = torch.Generator().manual_seed(seed + 1)
    batches = {}
    for name in "ab":
        normal = torch.randn(4, generator=draw, dtype=torch.float64)
        x = torch.randn(ROWS, 4, generator=draw, dtype=torch.float64)
        noise = torch.randn(ROWS, generator=draw, dtype=torch.float64)
        batches[name] = [(x, (x @ normal + 0.7 * noise > 0).long())]
    return model, batches


def trained(model, batches, weights):
    """Losses after steps of plain descent."""
    model = copy.deepcopy(model)
    sgd = torch.optim.SGD(model.parameters(), lr=LR)
    for row in weights:
        sgd.zero_grad()
        sum(w * nats(model, batches[name][0])[0] / ROWS for w, name in zip(row, "ab", strict=True)).backward()
        sgd.step()
    with torch.no_grad():
        return np.array([nats(model, found[0])[0].item() / ROWS for found in batches.values()])


def answers():
    """Predicted over observed for every answer: own losses, and mixtures near where the effect is nothing."""
    found = []
    for seed in SEEDS:
        model, batches = problem(seed)
        swap, constant = np.repeat(SWAP.weights, STEPS, axis=0), np.full((2 * STEPS, 2), 0.5)
        excess = trained(model, batches, swap) - trained(model, batches, constant)
        mixing = {"a": (1.0, 0.0), "b": (0.0, 1.0)}
        if excess[0] * excess[1] < 0:
            even = abs(excess[1]) / np.abs(excess).sum()
            mixing |= {f"{off:+}": (even + off, 1 - even - off) for off in (-0.02, 0.02)}
        targets = {name: dict(zip("ab", weights, strict=True)) for name, weights in mixing.items()}
        said = asked(model, batches, targets)
        found += [
            said[name].value / (excess @ weights) for name, weights in mixing.items() if said[name].answered
        ]
    return found


def asked(model, batches, targets=None):
    return cv.predict_excess_loss(
        model, nats, batches, SWAP, targets, optimizer=LR, predictor="frozen-curvature"
    )


def test_answers_have_the_right_sign_where_curvature_changes():
    found = answers()
    assert len(found) >= len(SEEDS)
    assert min(found) > 0


def test_signs_are_wrong_where_nobody_looks_half_way(monkeypatch):
    monkeypatch.setattr(frozen_curvature, "_half_way", frozen_curvature._excess)
    assert min(answers()) < 0


def test_the_verdict_says_what_half_way_changes():
    verdicts = [one.verdict for seed in SEEDS for one in asked(*problem(seed)).excess.values()]
    assert any(v.quantity == QUANTITY and not v.valid for v in verdicts)


class Bowl(nn.Module):
    """½ (θ − c)ᵀ A (θ − c), whose curvature is the same everywhere."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))

    def forward(self, batch):
        A, c = batch
        return 0.5 * (self.theta - c) @ A @ (self.theta - c), 1.0


def bowls():
    draw = torch.Generator().manual_seed(0)
    roots, centres = (torch.randn(2, 3, k, dtype=torch.float64, generator=draw) for k in (3, 1))
    return {name: [(root @ root.mT, c[:, 0])] for name, root, c in zip("ab", roots, centres, strict=True)}


def bowl():
    return cv.predict_excess_loss(
        Bowl(), lambda model, batch: model(batch), bowls(), SWAP, optimizer=LR, predictor="frozen-curvature"
    )


def test_curvature_that_stays_is_the_same_half_way():
    assert bowl().answered


def test_half_way_gradients_that_are_not_carried_back_are_caught(monkeypatch):
    def carried_nowhere(self, d):
        at = self.surface.theta + d
        return replace(self, g=self.surface.gradients(at), at=at)

    monkeypatch.setattr(frozen.QuadraticModel, "moved", carried_nowhere)
    assert {one.verdict.quantity for one in bowl().excess.values()} == {QUANTITY}


@pytest.mark.parametrize("target_model", ["quadratic", "evaluated"])
def test_a_descent_half_way_that_leaves_the_numbers_abstains(monkeypatch, target_model):
    def lost(self, d):
        raise frozen_curvature.DivergenceError("lost")

    monkeypatch.setattr(frozen.QuadraticModel, "moved", lost)
    model, batches = problem(10)
    found = cv.predict_excess_loss(
        model, nats, batches, SWAP, optimizer=1e-3, predictor="frozen-curvature", target_model=target_model
    )
    assert not found.answered
    assert np.isfinite(found["a"].value)
