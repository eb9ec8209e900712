"""Table 1: the observed excess loss over the predicted one, for a whole swap of two domains."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.schedules import WeightSchedule
from experiments.quadratic.predictions import (
    ORDERS,
    Signature,
    expansion,
    local_terms,
    signature_difference,
)
from experiments.quadratic.problems import Problem, Stream, chunks, fixed, sample
from experiments.quadratic.settings import Settings
from experiments.quadratic.statistics import Pair, failures, plain, pooled, ratios, summary

Array = NDArray[np.float64]

TARGETS = {"L": np.array([0.5, 0.5]), "L1": np.array([1.0, 0.0]), "L2": np.array([0.0, 1.0])}
TRAININGS = {"12": (0, 1), "21": (1, 0)}
HALVES = np.array([0.5, 0.5])


class Cell(NamedTuple):
    """Where a comparison stands in the table; ``training`` "12" trains domain 1 first."""

    t: float
    dt: float
    target: str
    training: str
    order: int


def table1_fresh(settings: Settings) -> dict[str, Any]:
    """Reading 1 of appendix B: every draw has its own matrices, centres and starting point."""
    collected: dict[Cell, list[Pair]] = defaultdict(list)
    for draws in chunks(settings.draws, settings.chunk):
        for cell, pair in cells(settings, sample(settings, Stream.FRESH, draws)):
            collected[cell].append(pair)
    return plain(
        _grid(settings)
        | {
            "cells": [
                cell._asdict() | summary(pooled(pairs), settings.level) for cell, pairs in collected.items()
            ]
        }
    )


def table1_fixed(settings: Settings) -> dict[str, Any]:
    """Reading 2 of appendix B: matrices and centres are fixed and the starting points are drawn.

    Each cell lists one summary for each of ``fixed_matrices`` draws of the matrices.
    """
    collected: dict[Cell, list[Pair]] = defaultdict(list)
    for matrices in range(settings.fixed_matrices):
        for cell, pair in cells(settings, fixed(settings, matrices)):
            collected[cell].append(pair)
    return plain(
        _grid(settings)
        | {
            "matrices": settings.fixed_matrices,
            "cells": [
                cell._asdict()
                | {
                    "medians": [ratios(pair)["median"] for pair in pairs],
                    "ranges": [ratios(pair)["range"] for pair in pairs],
                    "sign_failures": [failures(pair) for pair in pairs],
                }
                for cell, pairs in collected.items()
            ],
        }
    )


def cells(settings: Settings, problem: Problem) -> Iterator[tuple[Cell, Pair]]:
    """Every cell of the table for one batch of problems."""
    mixture = problem.mixed_spectrum(HALVES)
    for t in settings.times:
        theta = problem.start + mixture.displacement(problem.losses.mixture(HALVES, problem.start)[1], t)
        terms = local_terms(problem.losses, theta, list(TARGETS.values()))
        g = terms[0].g
        expansions = {
            (target, training): expansion(at, swap_signature(training))
            for target, at in zip(TARGETS, terms, strict=True)
            for training in TRAININGS
        }
        for dt in settings.windows:
            base = mixture.displacement(HALVES @ g, 2 * dt)
            for training, domains in TRAININGS.items():
                swapped = _train(problem, g, theta, domains, dt)
                excess = problem.losses.excess(theta + base, swapped - base)
                for target, order in product(TARGETS, ORDERS):
                    predicted = expansions[target, training].to_order(order, dt)
                    yield Cell(t, dt, target, training, order), Pair(excess @ TARGETS[target], predicted)


def swap_signature(training: str) -> Signature:
    """Signature of one domain for time 1 and then the other, minus that of the equal mixture for 2."""
    blocks = WeightSchedule.blocks({"1": 1.0, "2": 1.0})
    return signature_difference(blocks if training == "12" else blocks.reversed())


def _train(problem: Problem, g: Array, theta: Array, domains: tuple[int, int], dt: float) -> Array:
    """Displacement from θ after the first domain for Δt and the second for Δt."""
    first, second = domains
    moved = problem.spectrum(first).displacement(g[..., first, :], dt)
    gradient = problem.losses.gradients(theta + moved)[..., second, :]
    return moved + problem.spectrum(second).displacement(gradient, dt)


def _grid(settings: Settings) -> dict[str, Any]:
    return {
        "draws": settings.draws,
        "level": settings.level,
        "times": settings.times,
        "windows": settings.windows,
        "dimension": settings.dimension,
        "decay": settings.decay,
    }
