"""Table 1 on a longer ladder of windows: the series to order 2 and 3, and frozen curvature."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import commute_verify as cv
from commute_verify.schedules import WeightSchedule
from experiments.beyond_local.settings import Settings
from experiments.beyond_local.statistics import summed_up
from experiments.quadratic.problems import Problem, Stream, chunks, sample
from experiments.quadratic.statistics import Pair, plain, pooled
from experiments.quadratic.table1 import HALVES, TARGETS, TRAININGS, Cell, cells

Array = NDArray[np.float64]
FROZEN = "frozen-curvature"


def quadratics(settings: Settings) -> dict[str, Any]:
    """Every t, Δt and predictor, all targets and both orders of training together."""
    toy = settings.quadratic
    found: dict[tuple[float, float, str], list[Pair]] = defaultdict(list)
    for draws in chunks(toy.draws, toy.chunk):
        for cell, pair in cells(toy, sample(toy, Stream.FRESH, draws)):
            found[cell.t, cell.dt, f"order {cell.order}"].append(pair)
    for draw in range(settings.frozen_draws):
        problem = sample(toy, Stream.FRESH, range(draw, draw + 1))
        for cell, pair in cells(toy, problem):
            if cell.order == 2:
                predicted = frozen(problem, cell, settings.tolerance)
                found[cell.t, cell.dt, FROZEN].append(Pair(pair.observed, np.array([predicted])))
    return plain(
        {
            "dimension": toy.dimension,
            "times": toy.times,
            "windows": toy.windows,
            "draws": toy.draws,
            "frozen_draws": settings.frozen_draws,
            "tolerance": settings.tolerance,
            "level": settings.level,
            "cells": [
                {"t": t, "dt": dt, "predictor": predictor} | summed_up(pooled(pairs), settings.level)
                for (t, dt, predictor), pairs in found.items()
            ],
        }
    )


class Point(nn.Module):
    """A point θ (n,) as a model."""

    def __init__(self, theta: Array) -> None:
        """Start at θ."""
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta.copy()))

    def forward(self, centre: Tensor) -> Tensor:
        """θ − b."""
        return self.theta - centre


def quadratic_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, float]:
    """½ (θ − b)ᵀ A (θ − b), of weight 1."""
    A, b = batch
    away = model(b)
    return away @ A @ away / 2, 1.0


def frozen(problem: Problem, cell: Cell, tolerance: float) -> float:
    """What frozen curvature predicts of one cell, through the library's own front door."""
    losses = problem.losses
    start = problem.start[0]
    slope = losses.mixture(HALVES, problem.start)[1]
    theta = start + problem.mixed_spectrum(HALVES).displacement(slope, cell.t)[0]
    names = [str(k + 1) for k in range(len(HALVES))]
    data = {
        name: [(torch.from_numpy(losses.hessians[0, k]), torch.from_numpy(losses.centers[0, k]))]
        for k, name in enumerate(names)
    }
    first, second = (names[k] for k in TRAININGS[cell.training])
    schedule = WeightSchedule.blocks({first: cell.dt, second: cell.dt})
    target = {name: float(w) for name, w in zip(names, TARGETS[cell.target], strict=True) if w}
    prediction = cv.predict_excess_loss(
        Point(theta), quadratic_loss, data, schedule, {cell.target: target},
        optimizer=1.0, predictor="frozen-curvature", dynamics="flow", tolerance=tolerance,
    )  # fmt: skip
    return prediction[cell.target].value
