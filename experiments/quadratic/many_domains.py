"""More than two domains and random piecewise schedules, where the paper has no figures."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Spectrum
from commute_verify.schedules import WeightSchedule
from experiments.quadratic.predictions import (
    ORDERS,
    Signature,
    expansion,
    local_terms,
    signature_difference,
)
from experiments.quadratic.problems import Problem, Stream, chunks, generator, sample
from experiments.quadratic.settings import Settings
from experiments.quadratic.statistics import Pair, plain, pooled, summary

Array = NDArray[np.float64]


class Cell(NamedTuple):
    """K domains, a window of length T, the loss looked at ("L" is the mean of all), and the order."""

    domains: int
    T: float
    target: str
    order: int


def many_domains(settings: Settings) -> dict[str, Any]:
    """Excess of a random schedule over the constant one with its totals, against windows of length T.

    A schedule has ``stages`` stages; its weights and its relative durations are uniform on their simplices.
    """
    collected: dict[Cell, list[Pair]] = defaultdict(list)
    for domains in settings.domain_counts:
        for draws in chunks(settings.schedule_draws, settings.chunk):
            for cell, pair in cells(settings, domains, draws):
                collected[cell].append(pair)
    return plain(
        {
            "draws": settings.schedule_draws,
            "level": settings.level,
            "stages": settings.stages,
            "domain_counts": settings.domain_counts,
            "spans": settings.spans,
            "dimension": settings.dimension,
            "cells": [
                cell._asdict() | summary(pooled(pairs), settings.level) for cell, pairs in collected.items()
            ],
        }
    )


def cells(settings: Settings, domains: int, draws: range) -> Iterator[tuple[Cell, Pair]]:
    """Every span, target and order for the problems ``draws``."""
    problem = sample(settings, Stream.FRESH, draws, domains)
    schedules = [random_schedule(settings, domains, draw) for draw in draws]
    unit = _stacked([signature_difference(schedule) for schedule in schedules])
    weights = np.stack([schedule.weights for schedule in schedules])
    durations = np.stack([schedule.durations for schedule in schedules])
    constant = np.stack([schedule.averaged().weights for schedule in schedules])
    stages = _mixed(problem, weights)
    average = _mixed(problem, constant)
    targets = {"L": np.full(domains, 1 / domains), "L1": np.eye(domains)[0]}
    terms = local_terms(problem.losses, problem.start, list(targets.values()))
    expansions = {name: expansion(at, unit) for name, at in zip(targets, terms, strict=True)}
    for T in settings.spans:
        base = _flow(problem, average, constant, np.full((len(draws), 1), T))
        moved = _flow(problem, stages, weights, T * durations)
        excess = problem.losses.excess(problem.start + base, moved - base)
        for target, order in product(targets, ORDERS):
            predicted = expansions[target].to_order(order, T)
            yield Cell(domains, T, target, order), Pair(excess @ targets[target], predicted)


def random_schedule(settings: Settings, domains: int, draw: int) -> WeightSchedule:
    """Weights and durations uniform on their simplices, of total length 1."""
    rng = generator(settings, Stream.SCHEDULES, domains, draw)
    durations = rng.dirichlet(np.ones(settings.stages))
    weights = rng.dirichlet(np.ones(domains), size=settings.stages)
    return WeightSchedule(tuple(str(k + 1) for k in range(domains)), durations, weights)


def _flow(problem: Problem, stages: Spectrum, weights: Array, durations: Array) -> Array:
    """Displacement from the start, stage by stage; weights (draws, S, K), durations (draws, S)."""
    moved = np.zeros_like(problem.start)
    for s in range(weights.shape[1]):
        g = problem.losses.gradients(problem.start + moved)
        gradient = np.sum(weights[:, s, :, None] * g, axis=1)
        spectrum = Spectrum(stages.values[:, s], stages.vectors[:, s])
        moved = moved + spectrum.displacement(gradient, durations[:, s])
    return moved


def _mixed(problem: Problem, weights: Array) -> Spectrum:
    return Spectrum.of(np.einsum("dsk,dkij->dsij", weights, problem.losses.hessians))


def _stacked(signatures: list[Signature]) -> Signature:
    d1, d2, d3 = (np.stack(depth) for depth in zip(*signatures, strict=True))
    return d1, d2, d3
