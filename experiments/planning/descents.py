"""Descent on schedules of quadratics by the exact first variation, beside the best tilt at the start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Spectrum
from commute_verify.planning import Resampling, descend, plan_tilt
from commute_verify.schedules import WeightSchedule
from experiments.planning.effects import exact
from experiments.planning.orders import criterion, one_problem
from experiments.planning.settings import Settings
from experiments.planning.statistics import mean_of
from experiments.quadratic.problems import Problem
from experiments.quadratic.statistics import plain

Array = NDArray[np.float64]


def descents(settings: Settings) -> dict[str, Any]:
    """For each K and span: the gain of descent and of the best tilt, of the loss that constant weights leave.

    The same bounds for both; the loss is the first domain's, the weights start equal.
    """
    cells = []
    for K in settings.descent_counts:
        for span in settings.spans:
            found = [
                _one(settings, one_problem(settings, K, draw), span) for draw in range(settings.descents)
            ]
            means = {
                key: mean_of([one[key] for one in found], settings.level)
                for key in ("descent", "tilt", "kept", "steps")
            }
            cells.append({"domains": K, "T": span} | means)
    return plain(
        {
            "draws": settings.descents,
            "level": settings.level,
            "stages": settings.stages,
            "max_tilt": settings.max_tilt,
            "cells": cells,
        }
    )


def _one(settings: Settings, problem: Problem, span: float) -> dict[str, float]:
    K = problem.losses.centers.shape[0]
    target = np.eye(K)[0]
    effect = exact(criterion(problem, target))
    equal = dict.fromkeys(effect.domains, 1 / K)
    length = span / settings.stages
    start = WeightSchedule.piecewise([(length, equal)] * settings.stages)

    def loss(schedule: WeightSchedule) -> float:
        end = problem.losses.flow(schedule.weights, schedule.durations, problem.start)
        return float(target @ problem.losses.losses(end))

    found = descend(
        start, loss, lambda at: first_variation(problem, at, target), max_tilt=settings.max_tilt, steps=30
    )
    plan = plan_tilt(
        effect,
        equal,
        settings.steps,
        settings.max_tilt,
        lr=span / settings.steps,
        resampling=Resampling(draws=200),
    )
    tilted = plan.tilted
    in_flow_time = WeightSchedule(tilted.domains, tilted.durations * span / settings.steps, tilted.weights)
    promised = sum(step.predicted for step in found.steps if step.accepted)
    return {
        "descent": found.gain / found.start_loss,
        "tilt": (found.start_loss - loss(in_flow_time)) / found.start_loss,
        "kept": -found.gain / promised if promised else 1.0,
        "steps": float(len(found.steps)),
    }


def first_variation(problem: Problem, schedule: WeightSchedule, target: Array) -> Array:
    """∂L(θ(T))/∂w_k(t) = −⟨p(t), g_k(θ(t))⟩, averaged over each stage by Gauss's rule, (S, K).

    p is the costate: ∇L at the end, carried back by p' = H_w p.
    """
    losses, at = problem.losses, problem.start
    nodes, weights = np.polynomial.legendre.leggauss(6)
    stages = []
    for w, duration in zip(schedule.weights, schedule.durations, strict=True):
        hessian, gradient = losses.mixture(w, at)
        spectrum = Spectrum.of(hessian)
        times = duration * (1 + nodes) / 2
        path = at + np.stack([spectrum.displacement(gradient, t) for t in times])
        stages.append((spectrum, duration - times, duration, losses.gradients(path)))
        at = at + spectrum.displacement(gradient, duration)
    costate = target @ losses.gradients(at)
    found = np.zeros(schedule.weights.shape)
    for s, (spectrum, left, duration, g) in reversed(list(enumerate(stages))):
        inside = spectrum.vectors.T @ costate
        p = (np.exp(-left[:, None] * spectrum.values) * inside) @ spectrum.vectors.T
        found[s] = -np.einsum("t,tn,tkn->k", weights / 2, p, g)
        costate = spectrum.vectors @ (np.exp(-duration * spectrum.values) * inside)
    return found
