"""Planned tilts on quadratics: what they gain by exact flows, and whether random tilts gain more."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.planning import Resampling, plan_tilt
from experiments.planning.effects import exact
from experiments.planning.orders import criterion, one_problem
from experiments.planning.settings import Settings
from experiments.planning.statistics import mean_of
from experiments.quadratic.problems import Problem, Stream, generator
from experiments.quadratic.statistics import plain, share_of

Array = NDArray[np.float64]


def tilts(settings: Settings) -> dict[str, Any]:
    """For each K and span: observed over predicted gain, how often it gains, and how often it beats rivals.

    A rival tilt moves domains at random, each as far as its bound, at equal halves like the plan.
    """
    cells: dict[tuple[int, float], list[dict[str, Any]]] = defaultdict(list)
    for K in settings.domain_counts:
        for draw in range(settings.draws):
            problem, rng = (
                one_problem(settings, K, draw),
                generator(settings.problems(), Stream.LOSSES, K, draw),
            )
            weights, target = rng.dirichlet(np.full(K, settings.concentration)), np.eye(K)[0]
            effect = exact(criterion(problem, target))
            named = dict(zip(effect.domains, weights.tolist(), strict=True))
            bound = np.minimum(weights, settings.max_tilt)
            rivals = [_rival(rng, bound) for _ in range(settings.rivals)]
            plan = plan_tilt(
                effect,
                named,
                settings.steps,
                settings.max_tilt,
                lr=1 / settings.steps,
                switch="half",
                resampling=Resampling(draws=200),
            )
            shift = plan.tilted.weights[0] - weights
            tried = np.stack([shift, -shift, *rivals])
            for span in settings.spans:
                gains = -_excess(problem, weights, tried, span, target)
                cells[K, span].append(
                    {
                        "ratio": float(gains[0]) / (span**2 * plan.gain),
                        "gains": bool(gains[0] > 0),
                        "opposite_loses": bool(gains[1] < 0),
                        "beats_rivals": bool(gains[0] >= gains[2:].max() - 1e-9 * abs(gains[0])),
                        "pair": plan.pair_gain / plan.gain if plan.pair else 1.0,
                    }
                )
    return plain(
        {
            "draws": settings.draws,
            "level": settings.level,
            "max_tilt": settings.max_tilt,
            "rivals": settings.rivals,
            "domain_counts": settings.domain_counts,
            "spans": settings.spans,
            "cells": [
                {"domains": K, "T": span} | _summary(found, settings.level)
                for (K, span), found in cells.items()
            ],
        }
    )


def _rival(rng: np.random.Generator, bound: Array) -> Array:
    """A random vertex of |δ| ≤ bound, Σδ = 0: the best tilt for a random direction."""
    from commute_verify.planning.tilt_program import best_shift

    return best_shift(rng.normal(size=len(bound)), bound, bound)


def _excess(problem: Problem, weights: Array, shifts: Array, span: float, target: Array) -> Array:
    """The excess (N,) of w + δ and then w − δ over constant weights, for shifts δ (N, K), by exact flows."""
    stages = np.maximum(np.stack([weights + shifts, weights - shifts], axis=1), 0.0)
    halves = np.full((len(shifts), 2), span / 2)
    base = problem.losses.flow(weights[None], np.array([span]), problem.start)
    ends = problem.losses.flow(
        stages, halves, np.broadcast_to(problem.start, (len(shifts), len(problem.start)))
    )
    hessian, gradient = problem.losses.mixture(target, base)
    moved = ends - base
    return np.asarray(moved @ gradient + 0.5 * ((moved @ hessian) * moved).sum(axis=1))


def _summary(found: list[dict[str, Any]], level: float) -> dict[str, Any]:
    ratio = [one["ratio"] for one in found]
    shares = {
        key: share_of(sum(one[key] for one in found), len(found), level)
        for key in ("gains", "opposite_loses", "beats_rivals")
    }
    spread = dict(zip(("p10", "median", "p90"), np.percentile(ratio, [10, 50, 90]), strict=True))
    return shares | spread | {"pair": mean_of([one["pair"] for one in found], level)}
