"""Many seeds of SGD in both orders and on the mixture, and what the estimate says of the same minibatches."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

from commute_verify.criterion import order_effect
from commute_verify.criterion.hessian_products import Method
from commute_verify.symbolic.trees import criterion
from experiments.noise.network import INPUTS, Network, network
from experiments.noise.predictions import common, noise_terms, predicted, value
from experiments.noise.settings import Settings
from experiments.quadratic.statistics import plain

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
DOMAINS, ORDERS = ("1", "2"), ((0, 1), (1, 0))
METHOD: Method = "double-backward"
TARGET = {"mixture": {"1": 0.5, "2": 0.5}}


def sgd(settings: Settings) -> dict[str, Any]:
    """From each start, at each rate: the mean difference of the two orders, what they share, predictions."""
    starts = [_from(settings, place, warm_up) for place, warm_up in enumerate(settings.warm_ups)]
    return plain(
        {
            "parameters": len(network(settings, 0).theta),
            "examples": settings.examples,
            "batch": settings.batch,
            "steps": settings.steps,
            "seeds": settings.seeds,
            "level": settings.level,
            "starts": starts,
        }
    )


def _from(settings: Settings, place: int, warm_up: int) -> dict[str, Any]:
    net = network(settings, warm_up)
    here, cells = net.local(settings.batch), []
    for number, rate in enumerate(settings.rates):
        difference, shared = observed(settings, net, (place, number), rate)
        full = [float(net.loss(run_full(settings, net, order, rate))[0]) for order in ORDERS]
        cells.append(
            {
                "rate": rate,
                "observed": interval(difference, settings.level),
                "without noise": full[0] - full[1],
                "predicted": predicted(here, settings.steps, rate),
                "shared": interval(shared, settings.level),
                "shared predicted": common(here, settings.steps, rate, settings.batch),
            }
        )
    ratios = [
        float(np.trace(s) / (here.jets[k].g @ here.jets[k].g)) for k, s in enumerate(here.sigma, start=1)
    ]
    return {
        "warm_up": warm_up,
        "loss": float(net.loss(net.theta[None])[0]),
        "slope": float(np.linalg.norm(here.jets[0].g)),
        "noise": ratios,
        "lambda_max": float(np.linalg.eigvalsh(here.jets[0].H)[-1]),
        "cells": cells,
    }


def observed(settings: Settings, net: Network, cell: tuple[int, int], rate: float) -> tuple[Array, Array]:
    """L₁₂ − L₂₁ of every seed, from the same minibatches, and the mean of the two less the mixture's.

    From the latter ⟨∇L, Σ g⟩ of the drawn examples at the start is taken off, with its own mean put back.
    """
    along = first_order(net)
    differences, shared = [], []
    for chunk in range(settings.seeds // settings.chunk):
        rng = np.random.default_rng([settings.seed, 3, *cell, chunk])
        size = (settings.steps, settings.chunk, settings.batch)
        drawn = [rng.integers(settings.examples, size=size) for _ in DOMAINS]
        one, two = (net.loss(run_blocks(settings, net, drawn, order, rate)) for order in ORDERS)
        blocks = sum(along[k][drawn[k]].mean(axis=2).sum(axis=0) for k in range(2))
        whole = (2 * settings.steps, settings.chunk, settings.batch)
        domain, at = rng.integers(2, size=whole), rng.integers(settings.examples, size=whole)
        mixed = net.loss(run_mixture(settings, net, domain, at, rate))
        drift = blocks - along[domain, at].mean(axis=2).sum(axis=0)
        differences.append(one - two)
        shared.append((one + two) / 2 - mixed + rate * drift)
    return np.concatenate(differences), np.concatenate(shared)


def first_order(net: Network) -> Array:
    """⟨∇L, g⟩ of every example at the start, (2, examples)."""
    x, y = net.x.reshape(-1, 1, INPUTS), net.y.reshape(-1, 1)
    each = net.gradient(np.tile(net.theta, (len(x), 1)), x, y)
    found: Array = (each @ each.mean(axis=0)).reshape(net.y.shape)
    return found


def run_blocks(
    settings: Settings, net: Network, drawn: list[Indices], order: tuple[int, int], rate: float
) -> Array:
    """The parameters of every seed after a block of each domain."""
    theta = np.tile(net.theta, (settings.chunk, 1))
    for k in order:
        for at in drawn[k]:
            theta = theta - rate * net.gradient(theta, net.x[k][at], net.y[k][at])
    return theta


def run_mixture(settings: Settings, net: Network, domain: Indices, at: Indices, rate: float) -> Array:
    """The parameters after as many steps in which the domain of each example is drawn."""
    theta = np.tile(net.theta, (settings.chunk, 1))
    for k, of in zip(domain, at, strict=True):
        theta = theta - rate * net.gradient(theta, net.x[k, of], net.y[k, of])
    return theta


def run_full(settings: Settings, net: Network, order: tuple[int, int], rate: float) -> Array:
    """The same blocks with all examples in every step: no noise."""
    theta = net.theta[None]
    for k in order:
        for _ in range(settings.steps):
            theta = theta - rate * net.gradient(theta, net.x[k][None], net.y[k][None])
    return theta


def interval(values: Array, level: float) -> dict[str, float]:
    """The mean and half the width of its normal interval."""
    half = norm.ppf((1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "half": float(half)}


def estimate(settings: Settings) -> dict[str, Any]:
    """P and the noise terms that ``order_effect`` and ``noise`` find from batches, beside the exact ones."""
    found = [_estimate(settings, place, warm_up) for place, warm_up in enumerate(settings.warm_ups)]
    return plain(
        {
            "estimate": settings.estimate,
            "wide": settings.wide,
            "batch": settings.batch,
            "large": settings.large,
            "examples": settings.examples,
            "rates": settings.rates,
            "starts": found,
        }
    )


def _estimate(settings: Settings, place: int, warm_up: int) -> dict[str, Any]:
    net = network(settings, warm_up)
    here, model = net.local(settings.batch), net.module()
    rng = np.random.default_rng([settings.seed, 4, place])
    large = _drawn(settings, net, rng, settings.large, 4 * settings.examples)
    effect = order_effect(
        model, squares, large, targets=TARGET, batches=settings.large, method=METHOD, progress=False
    )
    wide = _drawn(settings, net, rng, settings.estimate, settings.wide)
    share = settings.batch / settings.wide
    noise = effect.noise(
        model, squares, wide, lr=1.0, batches=settings.estimate, batches_per_step=share, progress=False
    )
    exact, name = noise_terms(here), "mixture"
    return {
        "warm_up": warm_up,
        "P": {"exact": value(criterion(1, 2), here.jets), **_pair(effect.P[name], effect.stderr[name])},
        "noise": {"exact": sum(exact.values()), **_pair(noise.value[name], noise.stderr[name])},
        "terms": {
            term: {"exact": exact[term], "found": float(noise.terms[name][term][0, 1])} for term in exact
        },
        "verdicts": [noise.at(rate).verdict("1", "2").words for rate in settings.rates],
    }


def _drawn(
    settings: Settings, net: Network, rng: np.random.Generator, count: int, size: int
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Batches of examples of each domain, drawn with replacement."""
    return {
        name: [
            (torch.from_numpy(net.x[k][at]), torch.from_numpy(net.y[k][at]))
            for at in rng.integers(settings.examples, size=(count, size))
        ]
        for k, name in enumerate(DOMAINS)
    }


def _pair(found: Array, stderr: Array) -> dict[str, float]:
    return {"found": float(found[0, 1]), "stderr": float(stderr[0, 1])}


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
    """Half the summed squares of a minibatch, and its size."""
    x, y = batch
    return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
