"""Frozen curvature beside curvature from half-way: what the models leave out must not outweigh the excess."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import commute_verify as cv
from commute_verify.criterion import objective
from commute_verify.criterion.prediction import answer, frozen, frozen_curvature

STEPS, ROWS, LR = 5, 12, 0.1
SWAP = cv.WeightSchedule.blocks({"a": STEPS, "b": STEPS})
SEEDS = range(10, 18)
QUANTITY = "the disagreement with curvature half-way"
TOLERANCE = 0.01
WIDE = cv.WeightSchedule(("a", "b", "idle"), SWAP.durations, np.pad(SWAP.weights, [(0, 0), (0, 1)]))
LOST = torch.zeros(1)


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
    def carried_nowhere(self, d, trained):
        at = self.surface.theta + d
        return replace(self, g=self.surface.gradients(at), at=at)

    monkeypatch.setattr(frozen.QuadraticModel, "moved", carried_nowhere)
    assert {one.verdict.quantity for one in bowl().excess.values()} == {QUANTITY}


@pytest.mark.parametrize("target_model", ["quadratic", "evaluated"])
@pytest.mark.parametrize("error", [cv.CommuteError, answer.DivergenceError, objective.NotFiniteError])
def test_a_descent_half_way_that_fails_abstains(monkeypatch, target_model, error):
    model, batches = problem(10)

    def found():
        return cv.predict_excess_loss(
            model,
            nats,
            batches,
            SWAP,
            optimizer=1e-3,
            predictor="frozen-curvature",
            target_model=target_model,
        )

    def lost(self, d, trained):
        raise error("lost")

    assert found().answered
    monkeypatch.setattr(frozen.QuadraticModel, "moved", lost)
    told = found()
    assert {one.verdict.quantity for one in told.excess.values()} == {QUANTITY}
    assert all(one.verdict.words.endswith("half-way is not known: lost") for one in told.excess.values())
    assert np.isfinite(told["a"].value)


def test_a_nearer_descent_that_fails_loses_no_answer(monkeypatch):
    model, batches = problem(10)
    run, tolerances = frozen.QuadraticModel.run, []

    def failing(self, stages, visit=None):
        tolerances.append(self.tolerance)
        if self.tolerance < TOLERANCE:
            raise cv.CommuteError("lost")
        return run(self, stages, visit)

    monkeypatch.setattr(frozen.QuadraticModel, "run", failing)
    found = cv.predict_excess_loss(
        model, nats, batches, SWAP, optimizer=1e-3, predictor="frozen-curvature", tolerance=TOLERANCE
    )
    assert min(tolerances) < TOLERANCE
    assert "bound" in found["a"].verdict.quantity
    assert np.isfinite(found["a"].value)


def beside_an_idle_domain():
    """A swap beside a domain of weight 0, whose loss is no number but at the start."""
    model, batches = problem(10)
    start = next(model.parameters()).detach().clone()

    def breaks_on_the_way(model, batch):
        if batch is LOST:
            moved = (next(model.parameters()) - start).abs().sum()
            return moved / 0 if moved > 0 else moved, 1
        return nats(model, batch)

    data, targets = {**batches, "idle": [LOST]}, {"a": {"a": 1.0}, "b": {"b": 1.0}}
    return cv.predict_excess_loss(
        model, breaks_on_the_way, data, WIDE, targets, optimizer=1e-3, predictor="frozen-curvature"
    )


def test_a_domain_that_nobody_trains_is_not_looked_at_half_way(monkeypatch):
    assert beside_an_idle_domain().answered
    right = frozen.QuadraticModel.moved
    monkeypatch.setattr(frozen.QuadraticModel, "moved", lambda self, d, trained: right(self, d, range(3)))
    assert not beside_an_idle_domain().answered


def test_half_way_is_the_same_of_quadratics_under_a_preconditioner_with_decay(monkeypatch):
    model = Bowl()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, betas=(0.0, 0.999), weight_decay=0.3)
    second = torch.tensor([1.0, 0.1, 10.0], dtype=torch.float64)
    state = {"step": torch.tensor(1e6), "exp_avg": torch.zeros_like(second), "exp_avg_sq": second}
    optimizer.state[model.theta] = state
    seen, right = [], frozen_curvature._half_way

    def watched(question, found):
        seen.append((frozen_curvature._excess(question, found), right(question, found)))
        return seen[-1][1]

    monkeypatch.setattr(frozen_curvature, "_half_way", watched)
    cv.predict_excess_loss(
        model,
        lambda model, batch: model(batch),
        bowls(),
        SWAP,
        optimizer=optimizer,
        predictor="frozen-curvature",
        tolerance=1e-12,
    )
    ((plain, moved),) = seen
    assert np.abs(plain - moved).max() < 1e-9 * np.abs(plain).max()  # roundoff, and Lanczos' 1e-12
