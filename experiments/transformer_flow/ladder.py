"""A schedule against the constant one on a ladder of windows: observed and predicted excess losses."""

from dataclasses import dataclass
from itertools import product
from math import ceil, log10
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from commute_verify.criterion.lanczos import Ritz, largest_eigenvalue
from commute_verify.schedules import WeightSchedule
from experiments.quadratic.predictions import ORDERS, signature_difference
from experiments.quadratic.statistics import plain, slope
from experiments.transformer_flow.flows import displacement, excess, in_other_steps
from experiments.transformer_flow.predictions import Derivatives, derivatives, expansion
from experiments.transformer_flow.problem import EACH, MIXTURE, Problem, trained
from experiments.transformer_flow.settings import Settings

Array = NDArray[np.float64]

TARGETS = {"L": MIXTURE, "L1": EACH[0], "L2": EACH[1]}
TRAININGS = ("12", "21")
"""Which language has more weight first: "12" the first one."""


@dataclass(frozen=True)
class Window:
    """Stages of equal length Δt on languages "1" and "2": weight ± δ on the first, then ∓ δ."""

    weight: float
    delta: float

    def schedule(self, training: str, dt: float) -> WeightSchedule:
        """More of language 1 first for "12", of language 2 for "21"; δ = weight = ½ is the swap."""
        weights = {"1": self.weight, "2": 1 - self.weight}
        return WeightSchedule.tilt(weights, training[0], training[1], self.delta, dt)

    @property
    def weights(self) -> Array:
        """The constant weights that the window is held against."""
        return np.array([self.weight, 1 - self.weight])


SWAP = Window(0.5, 0.5)


def ladder(settings: Settings, window: Window) -> dict[str, Any]:
    """Every Δt, target, order of training and order of prediction, and the slopes at the shortest windows.

    ``error`` is observed / predicted − 1, and ``uncertainty`` a power of ten above the relative change of the
    observed excess when it is computed with looser tolerances and other steps.
    """
    problem = trained(settings)
    at = derivatives(problem.written_out())
    cells = []
    for dt in settings.windows:
        coarse = settings.loose * settings.rtol
        fine_base = displacement(problem, window.schedule("12", dt).averaged(), settings.rtol)
        coarse_base = displacement(problem, in_other_steps(window.schedule("12", dt).averaged()), coarse)
        for training in TRAININGS:
            schedule = window.schedule(training, dt)
            fine = displacement(problem, schedule, settings.rtol)
            rough = displacement(problem, in_other_steps(schedule), coarse)
            observed = excess(problem, fine_base, fine - fine_base, settings.nodes)
            again = excess(problem, coarse_base, rough - coarse_base, settings.nodes - 2)
            cells += _cells(at, window, training, dt, observed, again)
    return plain(
        {
            "weight": window.weight,
            "delta": window.delta,
            "windows": settings.windows,
            "lambda_max": curvature(problem, window.weights, settings.seed).value,
            "cells": cells,
            "slopes": slopes(cells, settings.windows),
        }
    )


def _cells(
    at: Derivatives, window: Window, training: str, dt: float, observed: Array, again: Array
) -> list[dict[str, Any]]:
    unit = signature_difference(window.schedule(training, 1.0))
    cells = []
    for (target, weights), order in product(TARGETS.items(), ORDERS):
        seen = float(observed @ weights)
        predicted = float(expansion(at, weights, unit).to_order(order, dt))
        cells.append(
            {
                "dt": dt,
                "target": target,
                "training": training,
                "order": order,
                "observed": seen,
                "predicted": predicted,
                "error": float(f"{(seen - predicted) / predicted:.4g}"),
                "uncertainty": _power_of_ten(float(again @ weights) / seen - 1),
            }
        )
    return cells


def slopes(cells: list[dict[str, Any]], windows: tuple[float, ...]) -> list[dict[str, Any]]:
    """Slope of log |error| over log Δt between the two shortest windows."""
    found = []
    for target, training, order in product(TARGETS, TRAININGS, ORDERS):
        errors = [
            abs(cell["error"])
            for cell in cells
            if (cell["target"], cell["training"], cell["order"]) == (target, training, order)
        ]
        value = slope(errors[1::-1], windows[1::-1])
        found.append({"target": target, "training": training, "order": order, "slope": round(value, 3)})
    return found


def curvature(problem: Problem, weights: Array, seed: int) -> Ritz:
    """λ_max of the mixture's Hessian at θ, from a random start."""
    start = np.random.default_rng([seed, 2]).normal(size=problem.theta.size)
    return largest_eigenvalue(problem.hessian_product(weights), torch.from_numpy(start), tolerance=1e-9)


def _power_of_ten(value: float) -> float:
    return float(10.0 ** ceil(log10(max(abs(value), np.finfo(np.float64).eps))))
