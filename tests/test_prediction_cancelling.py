"""Targets on which two large effects nearly cancel: what the local predictors answer has the right sign."""

import numpy as np
import pytest
import torch
from torch import nn

import commute_verify as cv
from commute_verify.criterion.prediction import local
from commute_verify.criterion.prediction.predict import RUNGS
from commute_verify.criterion.prediction.rung import Found, each

STEPS, SIZE = 5, 6
SWAP = cv.WeightSchedule.blocks({"a": STEPS, "b": STEPS})
LEFT = "what is left of the terms of order 2"
NEAR = 0.02
"""How far the mixture's weights are from those at which the effect is 0."""


class Point(nn.Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(theta.clone())


def half_square(model, batch):
    """½ (θ − c)ᵀ H (θ − c)."""
    H, c = batch
    return 0.5 * (model.theta - c) @ H @ (model.theta - c), 1.0


def problem(seed):
    """Two quadratics with curvature of about 1, and a start."""
    draw = torch.Generator().manual_seed(seed)
    roots = torch.randn(2, SIZE, SIZE, dtype=torch.float64, generator=draw)
    hessians = roots @ roots.mT / SIZE
    centres = torch.randn(2, SIZE, dtype=torch.float64, generator=draw)
    start = 2 * torch.randn(SIZE, dtype=torch.float64, generator=draw)
    return hessians, centres, start


def descended(hessians, centres, theta, weights, lr):
    """Losses after steps of plain descent."""
    for row in torch.as_tensor(weights):
        theta = theta - lr * torch.einsum("k,kij,kj->i", row, hessians, theta - centres)
    gap = theta - centres
    return 0.5 * torch.einsum("ki,kij,kj->k", gap, hessians, gap).numpy()


def asked(given, lr, predictor, targets=None):
    """The swap's excess, from one batch of each domain."""
    hessians, centres, start = given
    batches = {name: [(hessians[k], centres[k])] for k, name in enumerate("ab")}
    return cv.predict_excess_loss(
        Point(start), half_square, batches, SWAP, targets, optimizer=lr, predictor=predictor
    )


def answers(predictor, seeds, reach):
    """For each target that is answered, whether the sign is right: each domain, and two near cancelling."""
    found = []
    for seed in seeds:
        hessians, centres, start = problem(seed)
        lr = reach / (2 * STEPS * float(torch.linalg.eigvalsh(hessians.mean(0))[-1]))
        swap, constant = np.repeat(SWAP.weights, STEPS, axis=0), np.full((2 * STEPS, 2), 0.5)
        excess = descended(hessians, centres, start, swap, lr) - descended(
            hessians, centres, start, constant, lr
        )
        mixing = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
        if excess[0] * excess[1] < 0:
            even = abs(excess[1]) / np.abs(excess).sum()
            for name, weight in (("less", even - NEAR), ("more", even + NEAR)):
                if 0 < weight < 1:
                    mixing[name] = [weight, 1 - weight]
        targets = {name: dict(zip("ab", weights, strict=True)) for name, weights in mixing.items()}
        said = asked(problem(seed), lr, predictor, targets)
        found += [
            said[name].value * (excess @ weights) > 0
            for name, weights in mixing.items()
            if said[name].answered
        ]
    return found


@pytest.mark.parametrize("predictor", ["local", "local-3", "auto"])
def test_answers_have_the_right_sign_where_effects_cancel(predictor):
    found = answers(predictor, range(30), 0.05)
    assert len(found) >= 20
    assert all(found)


@pytest.mark.parametrize(("predictor", "seeds"), [("local", range(20)), ("local-3", [58])])
def test_signs_are_wrong_where_what_is_left_of_the_terms_is_not_looked_at(monkeypatch, predictor, seeds):
    assert all(answers(predictor, seeds, 0.25))
    monkeypatch.setattr(local, "_left", lambda *given: [])
    assert not all(answers(predictor, seeds, 0.25))


def test_verdicts_say_what_is_left_of_the_terms():
    for predictor, beyond in (("local", "flow time · λ_max"), ("local-3", "(flow time · λ_max)²")):
        said = [asked(problem(seed), 0.01, predictor) for seed in range(10)]
        quantities = {one[name].verdict.quantity for one in said for name in one}
        assert f"{beyond} over {LEFT}" in quantities


def replicated():
    """Eight batches of each domain, about one problem, and what they say together."""
    hessians, centres, start = problem(1)
    draw = torch.Generator().manual_seed(0)
    noise = 0.5 * torch.randn(8, *centres.shape, dtype=torch.float64, generator=draw)
    batches = {name: [(hessians[k], c[k]) for c in centres + noise] for k, name in enumerate("ab")}
    return cv.predict_excess_loss(
        Point(start), half_square, batches, SWAP, optimizer=0.0018, predictor="local", replicates=8
    )["a"]


def test_what_is_left_is_judged_of_the_means_of_replicates(monkeypatch):
    assert replicated().answered

    def alone(question):
        found = local.local([question])
        return Found(found.excess[0], found.verdicts)

    monkeypatch.setitem(RUNGS, "local", each(alone))  # planted: one by one, and the worst of them
    assert LEFT in replicated().verdict.words
    assert not replicated().answered
