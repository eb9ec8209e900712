"""Quadratics with constant covariances: the moments of SGD are Gaussian's, and exact by recursion."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.symbolic.trees import TARGET
from experiments.noise.predictions import Jet, Local, common, predicted
from experiments.noise.settings import Settings
from experiments.quadratic.statistics import plain

Array = NDArray[np.float64]
BATCH = 8
"""Examples in a minibatch of the mixture, whose domains are drawn."""


class Quadratics(NamedTuple):
    """½(θ − c_k)ᵀH_k(θ − c_k), covariances of a step's gradient, and the start."""

    H: Array
    c: Array
    sigma: Array
    start: Array


class Moments(NamedTuple):
    """Mean and covariance of the parameters."""

    mean: Array
    covariance: Array


def problem(settings: Settings) -> Quadratics:
    """Random curvatures of largest eigenvalue 1, centres and start; noise as large as the settings say."""
    rng, d = np.random.default_rng([settings.seed, 1]), settings.dimension
    H, sigma = [], []
    for _ in range(2):
        turned, _ = np.linalg.qr(rng.normal(size=(d, d)))
        H.append(turned * np.geomspace(1, 0.1, d) @ turned.T)
        factor = rng.normal(size=(d, d)) * np.geomspace(1, 0.1, d)
        sigma.append(factor @ factor.T)
    c, start = rng.normal(size=(2, d)), rng.normal(size=d)
    size = np.mean([np.sum((a @ (start - b)) ** 2) for a, b in zip(H, c, strict=True)])
    scaled = [settings.noise * size * s / np.trace(s) for s in sigma]
    return Quadratics(np.stack(H), c, np.stack(scaled), start)


def local(quadratics: Quadratics) -> Local:
    """Derivatives at the start; the target is the mean of the two."""
    d = len(quadratics.start)
    g = np.einsum("kab,kb->ka", quadratics.H, quadratics.start - quadratics.c)
    none = np.zeros((d, d, d))
    jets = {k + 1: Jet(g[k], quadratics.H[k], none) for k in range(2)}
    jets[TARGET] = Jet(g.mean(axis=0), quadratics.H.mean(axis=0), none)
    return Local(jets, quadratics.sigma, np.zeros((2, d, d, d)))


def after_blocks(q: Quadratics, order: tuple[int, ...], steps: int, rate: float) -> Moments:
    """After ``steps`` of each domain in this order."""
    mean, covariance = q.start, np.zeros_like(q.H[0])
    for k in order:
        shrink = np.eye(len(mean)) - rate * q.H[k]
        for _ in range(steps):
            mean = q.c[k] + shrink @ (mean - q.c[k])
            covariance = shrink @ covariance @ shrink.T + rate**2 * q.sigma[k]
    return Moments(mean, covariance)


def after_mixture(q: Quadratics, steps: int, rate: float) -> Moments:
    """After twice as many steps of minibatches in which each example's domain is drawn."""
    mean, covariance = q.start, np.zeros_like(q.H[0])
    both, apart = q.H.mean(axis=0), q.H[0] - q.H[1]
    pull = np.einsum("kab,kb->a", q.H, q.c) / 2
    shrink = np.eye(len(mean)) - rate * both
    for _ in range(2 * steps):
        d = q.H[0] @ (mean - q.c[0]) - q.H[1] @ (mean - q.c[1])
        drawn = (np.outer(d, d) + apart @ covariance @ apart) / (4 * BATCH)
        covariance = shrink @ covariance @ shrink.T + rate**2 * (q.sigma.mean(axis=0) + drawn)
        mean = mean - rate * (both @ mean - pull)
    return Moments(mean, covariance)


def expected_loss(q: Quadratics, at: Moments) -> float:
    """The mean of both losses, in expectation."""
    each = [
        ((at.mean - c) @ H @ (at.mean - c) + np.trace(H @ at.covariance)) / 2
        for H, c in zip(q.H, q.c, strict=True)
    ]
    return float(np.mean(each))


def quadratic(settings: Settings) -> dict[str, Any]:
    """At each rate the exact difference of the two orders, what they share, and the predictions."""
    q = problem(settings)
    here, quiet, cells = local(q), q._replace(sigma=np.zeros_like(q.sigma)), []
    for rate in settings.quadratic_rates:
        one, two = (
            expected_loss(q, after_blocks(q, order, settings.steps, rate)) for order in ((0, 1), (1, 0))
        )
        silent = [
            expected_loss(quiet, after_blocks(quiet, order, settings.steps, rate))
            for order in ((0, 1), (1, 0))
        ]
        mixed = expected_loss(q, after_mixture(q, settings.steps, rate))
        cells.append(
            {
                "rate": rate,
                "observed": one - two,
                "without noise": silent[0] - silent[1],
                "predicted": predicted(here, settings.steps, rate),
                "shared": (one + two) / 2 - mixed,
                "shared predicted": common(here, settings.steps, rate, BATCH),
            }
        )
    return plain(
        {
            "dimension": settings.dimension,
            "steps": settings.steps,
            "noise": settings.noise,
            "batch": BATCH,
            "cells": cells,
        }
    )
