"""The noise experiment: moments against sampling, runs against PyTorch's SGD, and planted errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from commute_verify.errors import CommuteError
from commute_verify.report import Figure, Table
from experiments.noise import PARTS, Settings, sgd
from experiments.noise.network import network
from experiments.noise.page import blocks, sentence
from experiments.noise.predictions import noise_terms, predicted
from experiments.noise.quadratic import (
    after_blocks,
    after_mixture,
    expected_loss,
    local,
    problem,
    quadratic,
)

SMALL = replace(Settings.smoke(), dimension=3, steps=3)


def test_the_moments_of_quadratics_are_those_of_sampled_steps():
    q, rng, rate, seeds = problem(SMALL), np.random.default_rng(0), 0.1, 200_000
    roots = [np.linalg.cholesky(s) for s in q.sigma]
    for order in ((0, 1), (1, 0)):
        theta = np.tile(q.start, (seeds, 1))
        for k in order:
            for _ in range(SMALL.steps):
                g = (theta - q.c[k]) @ q.H[k] + rng.normal(size=theta.shape) @ roots[k].T
                theta = theta - rate * g
        losses = np.mean(
            [np.sum((theta - c) @ H * (theta - c), axis=1) / 2 for H, c in zip(q.H, q.c, strict=True)], axis=0
        )
        exact = expected_loss(q, after_blocks(q, order, SMALL.steps, rate))
        error = losses.std() / seeds**0.5
        assert abs(losses.mean() - exact) < 4 * error  # statistical: α < 1e-4, fixed seed


def test_a_mixture_whose_domains_are_drawn_has_the_moments_of_sampled_steps():
    q, rng, rate, seeds, B = problem(SMALL), np.random.default_rng(1), 0.1, 100_000, 8
    roots = [np.linalg.cholesky(s) * B**0.5 for s in q.sigma]  # of one example
    theta = np.tile(q.start, (seeds, 1))
    for _ in range(2 * SMALL.steps):
        total = np.zeros_like(theta)
        for _ in range(B):
            domain = rng.integers(2, size=seeds)
            for k in range(2):
                g = (theta - q.c[k]) @ q.H[k] + rng.normal(size=theta.shape) @ roots[k].T
                total += (domain == k)[:, None] * g
        theta = theta - rate * total / B
    found = after_mixture(q, SMALL.steps, rate)
    spread = theta.std(axis=0) / seeds**0.5
    assert (np.abs(theta.mean(axis=0) - found.mean) < 4 * spread).all()  # statistical: α < 1e-3, fixed seed
    gap = np.abs(np.cov(theta.T) - found.covariance).max()
    assert gap < 5 * found.covariance.max() * (2 / seeds) ** 0.5


def slope_of(settings, change=lambda cell: cell["predicted"]["steps"]):
    rates = (1e-3, 5e-4)
    cells = quadratic(replace(settings, quadratic_rates=rates))["cells"]
    errors = [abs(cell["observed"] - change(cell)) for cell in cells]
    return np.log(errors[0] / errors[1]) / np.log(2)


@pytest.mark.parametrize("noise", [1.0, 100.0])
def test_all_terms_leave_an_error_of_order_4_and_the_bracket_alone_one_of_order_3(noise):
    settings = replace(SMALL, noise=noise)
    assert abs(slope_of(settings) - 4) < 0.2  # order
    assert abs(slope_of(settings, lambda cell: cell["predicted"]["bracket"]) - 3) < 0.2


def test_a_planted_half_of_the_noise_is_noticed(monkeypatch):
    from experiments.noise import predictions

    kept = predictions.noise_terms
    monkeypatch.setattr(predictions, "noise_terms", lambda here: {k: v / 2 for k, v in kept(here).items()})
    assert abs(slope_of(SMALL) - 3) < 0.2


def test_the_network_is_the_one_that_pytorch_builds():
    net = network(SMALL, 3)
    model = net.module()
    at = np.array([[0, 5, 7]])
    x, y = torch.from_numpy(net.x[1][at[0]]), torch.from_numpy(net.y[1][at[0]])
    total, weight = sgd.squares(model, (x, y))
    (total / weight).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).numpy()
    assert np.abs(net.gradient(net.theta[None], net.x[1][at], net.y[1][at])[0] - expected).max() <= 1e-14
    jet = net.local(2).jets[2]
    whole = torch.from_numpy(net.x[1]), torch.from_numpy(net.y[1])
    model.zero_grad()
    total, weight = sgd.squares(model, whole)
    (total / weight).backward()
    g = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).numpy()
    assert np.abs(jet.g - g).max() <= 1e-14


def test_runs_are_those_of_pytorchs_sgd():
    net, rng = network(SMALL, 3), np.random.default_rng(3)
    settings = replace(SMALL, chunk=2)
    drawn = [rng.integers(settings.examples, size=(settings.steps, 2, settings.batch)) for _ in range(2)]
    ends = sgd.run_blocks(settings, net, drawn, (1, 0), 0.1)
    model = net.module()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for k in (1, 0):
        for at in drawn[k][:, 1]:
            optimizer.zero_grad()
            total, weight = sgd.squares(
                model, (torch.from_numpy(net.x[k][at]), torch.from_numpy(net.y[k][at]))
            )
            (total / weight).backward()
            optimizer.step()
    expected = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()
    assert np.abs(ends[1] - expected).max() <= 1e-14


def test_covariances_are_those_of_drawn_minibatches():
    net, rng = network(SMALL, 3), np.random.default_rng(4)
    here, draws = net.local(2), 200_000
    at = rng.integers(SMALL.examples, size=(draws, 2))
    g = net.gradient(np.tile(net.theta, (draws, 1)), net.x[0][at], net.y[0][at])
    found = np.cov(g.T)
    assert np.abs(found - here.sigma[0]).max() < 0.02 * np.abs(found).max()  # statistical: several errors
    h, e = 1e-6, np.eye(len(net.theta))[2]
    moved = [replace(net, theta=net.theta + sign * h * e).local(2).sigma for sign in (1, -1)]
    assert np.abs((moved[0] - moved[1]) / (2 * h) - here.slope[..., 2]).max() <= 1e-7  # order: h², eps/h


def test_the_noise_of_many_seeds_is_the_predicted_one():
    """At a small rate the observed difference lies by the prediction with all terms, far from the others."""
    settings = replace(Settings(), seeds=40_000, rates=(0.002,))
    net = network(settings, 20)
    here = net.local(settings.batch)
    difference, _ = sgd.observed(settings, net, (9, 9), 0.002)
    error, found = difference.std() / len(difference) ** 0.5, difference.mean()
    claims = predicted(here, settings.steps, 0.002)
    assert abs(found - claims["steps"]) < 4 * error  # statistical: α < 1e-4, fixed seed
    for wrong in (claims["bracket"], claims["steps alone"]):
        assert abs(found - wrong) > 8 * error
    assert noise_terms(here)["curvature"] > 0


@pytest.fixture(scope="module")
def results():
    return {
        name: json.loads(json.dumps(part(Settings.smoke()), allow_nan=False)) for name, part in PARTS.items()
    }


def test_results_are_the_same_when_computed_again(results):
    for name in ("quadratic", "sgd", "estimate"):
        assert json.loads(json.dumps(PARTS[name](Settings.smoke()))) == results[name]


def test_the_page_is_a_pure_function_of_the_results(results):
    shown = blocks(results)
    assert shown == blocks(json.loads(json.dumps(results, sort_keys=True)))
    assert [block.name for block in shown if isinstance(block, Figure)] == ["noise-seeds"]
    assert [len(block.rows) for block in shown if isinstance(block, Table)] == [2, 2, 2, 4, 2]
    assert "the run's own noise" in sentence(results)


def test_the_mirror_image_of_a_problem_has_the_opposite_terms():
    here = local(problem(SMALL))
    jets = {0: here.jets[0], 1: here.jets[2], 2: here.jets[1]}
    turned = replace(here, jets=jets, sigma=here.sigma[::-1], slope=here.slope[::-1])
    for key, found in predicted(here, 4, 0.1).items():
        assert abs(predicted(turned, 4, 0.1)[key] + found) <= 1e-12 * abs(found) + 1e-18  # roundoff


@pytest.mark.parametrize(
    "change", [{"seeds": 0}, {"chunk": 3000}, {"rates": ()}, {"level": 1.0}, {"estimate": 8}]
)
def test_settings_that_do_not_fit_are_refused(change):
    with pytest.raises(CommuteError):
        replace(Settings.smoke(), **change)
