"""Every predictor beside the gradient flow of a small GPT-2, from short windows to useless ones."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import commute_verify as cv
from commute_verify.errors import CommuteError
from experiments.beyond_local.settings import Settings
from experiments.beyond_local.statistics import summed_up
from experiments.quadratic.statistics import Pair, plain, share_of
from experiments.transformer_flow.flows import displacement, excess, in_other_steps
from experiments.transformer_flow.ladder import SWAP, TARGETS, TRAININGS, Window, curvature
from experiments.transformer_flow.problem import MIXTURE, Problem, trained

Array = NDArray[np.float64]

PREDICTORS: dict[str, dict[str, Any]] = {
    "local": {"predictor": "local"},
    "local-3": {"predictor": "local-3"},
    "frozen at the start": {"predictor": "frozen-curvature", "freezings": 0},
    "frozen-curvature": {"predictor": "frozen-curvature"},
}
NAMES = ("1", "2")
TOLERANCE = 1e-6
"""Of the displacements: a short window's gap is a small part of them."""


class Said(NamedTuple):
    """A predicted excess, whether the predictor answers, and what all targets cost it, in training steps."""

    value: float
    answered: bool
    training_steps: float


def transformer(settings: Settings) -> dict[str, Any]:
    """One row for each window and predictor; all seeds, schedules, targets and orders in it."""
    return together(settings, [at_seed(settings, seed) for seed in settings.seeds])


def at_seed(settings: Settings, seed: int) -> dict[str, Any]:
    """The model of one seed, and its cells."""
    problem = trained(replace(settings.transformer, seed=seed))
    largest = curvature(problem, MIXTURE, seed).value
    cells = [c for reach in settings.reaches for c in window_cells(settings, problem, reach, largest)]
    losses = problem.losses(problem.theta).tolist()
    return {
        "parameters": problem.theta.size,
        "point": {"seed": seed, "lambda_max": largest, "losses": losses},
        "cells": cells,
    }


def together(settings: Settings, models: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of all seeds, also by kind of schedule, and how exactly the excess was observed."""
    cells = [cell for model in models for cell in model["cells"]]
    kinds = list(dict.fromkeys(cell["kind"] for cell in cells))
    return plain(
        {
            "parameters": models[0]["parameters"],
            "steps": settings.transformer.steps,
            "reaches": settings.reaches,
            "level": settings.level,
            "points": [model["point"] for model in models],
            "uncertainty": max(cell["uncertainty"] for cell in cells),
            "rows": rows(cells, settings.reaches, settings.level),
            "kinds": [
                {"kind": kind, **row}
                for kind in kinds
                for row in rows(
                    [cell for cell in cells if cell["kind"] == kind], settings.reaches, settings.level
                )
            ],
        }
    )


def window_cells(settings: Settings, problem: Problem, reach: float, largest: float) -> list[dict[str, Any]]:
    """Swap and tilt in both orders on a window of Δt = reach / λ_max: what is seen, and what is predicted."""
    held, dt = settings.transformer, reach / largest
    kinds = {"swap": SWAP, "tilt": Window(*held.tilt_even), "skewed tilt": Window(*held.tilt_skewed)}
    found = []
    for kind, window in kinds.items():
        base = window.schedule("12", dt).averaged()
        near = displacement(problem, base, held.rtol)
        rough = displacement(problem, in_other_steps(base), held.loose * held.rtol)
        for training in TRAININGS:
            schedule = window.schedule(training, dt)
            gap = displacement(problem, schedule, held.rtol) - near
            again = displacement(problem, in_other_steps(schedule), held.loose * held.rtol) - rough
            seen = excess(problem, near, gap, held.nodes)
            checked = excess(problem, rough, again, held.nodes - 2)
            predicted = predictions(problem, schedule)
            for target, weights in TARGETS.items():
                observed = float(seen @ weights)
                found.append(
                    {
                        "reach": reach,
                        "kind": kind,
                        "target": target,
                        "observed": observed,
                        "uncertainty": abs(float(checked @ weights) / observed - 1),
                        "predicted": {name: values[target] for name, values in predicted.items()},
                    }
                )
    return found


def predictions(problem: Problem, schedule: cv.WeightSchedule) -> dict[str, dict[str, Said]]:
    """The excess of every target by every predictor."""
    model = copy.deepcopy(problem.written_out().model)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(problem.theta), model.parameters())
    model.requires_grad_(True)
    data = {name: [tokens] for name, tokens in zip(NAMES, problem.tokens, strict=True)}
    targets = {
        name: {domain: float(w) for domain, w in zip(NAMES, weights, strict=True) if w}
        for name, weights in TARGETS.items()
    }
    found = {}
    for name, chosen in PREDICTORS.items():
        try:
            prediction = cv.predict_excess_loss(
                model, nats, data, schedule, targets,
                optimizer=1.0, dynamics="flow", tolerance=TOLERANCE, **chosen,
            )  # fmt: skip
        except CommuteError as error:
            raise CommuteError(f"{name} on a window of {schedule.duration:.3g}: {error}") from error
        price = prediction.cost.training_steps
        found[name] = {t: Said(prediction[t].value, prediction[t].answered, price) for t in targets}
    return found


def nats(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
    """Summed cross-entropy, and the number of tokens predicted."""
    logits, labels = model(tokens).logits[:, :-1], tokens[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"), labels.numel()


def rows(cells: list[dict[str, Any]], reaches: tuple[float, ...], level: float) -> list[dict[str, Any]]:
    """Errors and signs of each predictor at each window; of those it answers, how many are right."""
    found = []
    for reach in reaches:
        here = [cell for cell in cells if cell["reach"] == reach]
        observed = np.array([cell["observed"] for cell in here])
        for name in PREDICTORS:
            said = [Said(*cell["predicted"][name]) for cell in here]
            predicted = np.array([one.value for one in said])
            answered = np.array([one.answered for one in said])
            right = int(np.sum(observed[answered] * predicted[answered] > 0))
            total = int(answered.sum())
            found.append(
                {"reach": reach, "predictor": name}
                | {"training_steps": float(np.median([one.training_steps for one in said]))}
                | summed_up(Pair(observed, predicted), level)
                | {"answered": total, "answered_right": right}
                | ({"answered_share": share_of(right, total, level)} if total else {})
            )
    return found
