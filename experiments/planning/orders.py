"""Planned orders of blocks against every order: how often the best is found, and what it costs to miss it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.kernels import numpy_kernels
from commute_verify.planning import best_order
from experiments.planning.every_order import all_orders, every_order
from experiments.planning.settings import Settings
from experiments.planning.statistics import mean_of
from experiments.quadratic.predictions import local_terms
from experiments.quadratic.problems import Problem, Stream, generator, sample
from experiments.quadratic.statistics import plain, share_of

Array = NDArray[np.float64]

RULES = ("planned", "reversed", "smallest last", "largest gradient first", "closest gradient last")
"""Ways to an order; beside them stands the mean of all orders, what a random one loses on average."""


def orders(settings: Settings) -> dict[str, Any]:
    """For each K, span and target: share found, regrets of every rule, and what constant weights do.

    A regret is (L − best)/(worst − best) over all orders.
    """
    cells: dict[tuple[int, float, str], list[dict[str, Any]]] = defaultdict(list)
    for K in settings.domain_counts:
        targets = {"mixture": np.full(K, 1 / K), "one domain": np.eye(K)[0]}
        for draw in range(settings.draws):
            problem = one_problem(settings, K, draw)
            shares = generator(settings.problems(), Stream.SCHEDULES, K, draw).dirichlet(
                np.full(K, settings.concentration)
            )
            rules = {name: _rows(ways(problem, shares, weights), K) for name, weights in targets.items()}
            for span in settings.spans:
                excess = every_order(problem, span * shares, np.stack(list(targets.values())))
                for name, of_target in zip(targets, excess, strict=True):
                    cells[K, span, name].append(judged(of_target, rules[name]))
    return plain(
        {
            "draws": settings.draws,
            "level": settings.level,
            "dimension": settings.dimension,
            "domain_counts": settings.domain_counts,
            "spans": settings.spans,
            "rules": RULES,
            "cells": [
                {"domains": K, "T": span, "target": name} | _summary(found, settings.level)
                for (K, span, name), found in cells.items()
            ],
        }
    )


def one_problem(settings: Settings, K: int, draw: int) -> Problem:
    """Problem number ``draw`` of K domains, without a leading dimension."""
    from commute_verify.flows.affine import Quadratics, Spectrum

    many = sample(settings.problems(), Stream.FRESH, range(draw, draw + 1), K)
    return Problem(
        Quadratics(many.losses.hessians[0], many.losses.centers[0]),
        Spectrum(many.spectra.values[0], many.spectra.vectors[0]),
        many.start[0],
    )


def criterion(problem: Problem, weights: Array) -> Array:
    """P (K, K) at the start for the target Σ weights_k L_k, by the generated kernel."""
    at = local_terms(problem.losses, problem.start, [weights])[0]
    P = np.asarray(numpy_kernels.order_criterion(at.g, at.Hu), np.float64)
    return (P - P.T) / 2


def ways(problem: Problem, totals: Array, weights: Array) -> dict[str, tuple[int, ...]]:
    """The order of each rule; none sees more than the start."""
    g = problem.losses.gradients(problem.start)
    u, size = weights @ g, np.linalg.norm(g, axis=1)
    planned = best_order(np.outer(totals, totals) * criterion(problem, weights)).order
    ranked = {
        "smallest last": -totals,
        "largest gradient first": -size,
        "closest gradient last": g @ u / (size * np.linalg.norm(u)),
    }
    found = {name: tuple(np.argsort(key, kind="stable").tolist()) for name, key in ranked.items()}
    return {"planned": planned, "reversed": planned[::-1], **found}


def _rows(rules: dict[str, tuple[int, ...]], K: int) -> dict[str, int]:
    return {name: all_orders(K).find(order) for name, order in rules.items()}


def judged(excess: Array, at: dict[str, int]) -> dict[str, Any]:
    """One draw, excess (K!,): regrets, whether the plan is the best, and against constant weights."""
    best, worst = float(excess.min()), float(excess.max())
    regrets = {name: (float(excess[k]) - best) / (worst - best) for name, k in at.items()}
    planned = float(excess[at["planned"]])
    return {
        "found": at["planned"] == int(excess.argmin()),
        "beats_constant": planned < 0,
        "constant_best": best >= 0,
        "regrets": regrets | {"mean of all": (float(excess.mean()) - best) / (worst - best)},
        "better": float(np.mean(excess < planned)),
    }


def _summary(found: list[dict[str, Any]], level: float) -> dict[str, Any]:
    total = len(found)
    shares = {
        key: share_of(sum(one[key] for one in found), total, level)
        for key in ("found", "beats_constant", "constant_best")
    }
    regrets = {
        name: mean_of([one["regrets"][name] for one in found], level) for name in (*RULES, "mean of all")
    }
    return shares | {"regrets": regrets, "better": mean_of([one["better"] for one in found], level)}
