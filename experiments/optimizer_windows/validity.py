"""The map of validity: every predictor against window length, for every optimizer, without noise.

Each domain's batch is the same at every step and all is float64, so that what is left is the predictor's own
error. Runs start from the main checkpoint, after some steps of the optimizer in question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import commute_verify as cv
from experiments.optimizer_windows.cases import MAIN, SWAPS, Case, per_step
from experiments.optimizer_windows.predicted import targets_of
from experiments.optimizer_windows.settings import DOMAINS, Settings
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import Checkpoint, Data, checkpoints, loss_fn, losses, take_step

OPTIMIZERS = ("SGD", "momentum", "AdamW")
RATES = {"SGD": 5e-3, "momentum": 5e-4}
"""Well below the edge of stability, 2 / λ_max, at the full study's main start, where λ_max is about 115."""
WARMING = 30
"""Steps of the optimizer before the window, on other batches."""
ONE = "trajectory, one sweep"
PAIR = targets_of(*SWAPS[0])
PREDICTORS = {
    "tilt": ("local", "local-3", "frozen-curvature", "memory", ONE, "trajectory"),
    "swap": ("local", "local-3", "frozen-curvature", "memory", "trajectory"),
}


def validity(settings: Settings, optimizer: str) -> dict[str, Any]:
    """Observed and predicted excess of the main tilt and the first swap, each against the other order."""
    start = _start(settings, optimizer)
    batch = {name: found[0].clone() for name, found in texts(settings).window(0).items()}
    held_out = texts(settings).held_out()
    found = []
    for k in settings.map_lengths:
        for case in (Case("tilt", *MAIN, k, 0), Case("swap", 0.0, *SWAPS[0], k, 0)):
            data = {name: [one] * (2 * k) for name, one in batch.items()}
            first, second = (_after(start, data, held_out, per_step(s)) for s in case.schedules(settings))
            found.append(
                {
                    "kind": case.kind,
                    "k": k,
                    "observed": [one - other for one, other in zip(first, second, strict=True)],
                    "predicted": {
                        name: _predicted(settings, start, case, name, data, held_out)
                        for name in PREDICTORS[case.kind]
                    },
                }
            )
    return {"optimizer": optimizer, "rate": start.rate, "targets": list(PAIR), "cases": found}


def mapped(found: Mapping[str, Any]) -> dict[str, Any]:
    """Relative errors: the median over targets of |predicted − observed| / |observed|, for each case."""
    cells = []
    for case in found["cases"]:
        row: dict[str, Any] = {"kind": case["kind"], "k": case["k"], "predictors": {}}
        for name, guesses in case["predicted"].items():
            pairs = list(zip(case["observed"], guesses, strict=True))
            known = [abs(value - seen) / abs(seen) for seen, (value, _) in pairs if value is not None]
            row["predictors"][name] = {
                "error": float(np.median(known)) if known else None,
                "right": sum(value is not None and value * seen > 0 for seen, (value, _) in pairs),
                "answered": sum(answered for _, (_, answered) in pairs),
                "of": len(pairs),
            }
        cells.append(row)
    return {"rate": found["rate"], "cells": cells}


def _start(settings: Settings, optimizer: str) -> Checkpoint:
    start = checkpoints(settings)[settings.main].copied()
    start.model.double()
    if optimizer == "AdamW":
        run = start._replace(optimizer=_adamw(settings, start))
    else:
        rate = RATES[optimizer]
        momentum = 0.9 if optimizer == "momentum" else 0.0
        run = start._replace(
            rate=rate, optimizer=torch.optim.SGD(start.model.parameters(), lr=rate, momentum=momentum)
        )
    warming = texts(settings).window(1)
    for s in range(min(WARMING, len(warming["a"]))):
        take_step(run, warming, s, settings.weights)
    return run


def _adamw(settings: Settings, start: Checkpoint) -> torch.optim.Optimizer:
    """The checkpoint's own, its moments in float64."""
    optimizer = torch.optim.AdamW(start.model.parameters(), lr=start.rate, weight_decay=settings.weight_decay)
    optimizer.load_state_dict(start.optimizer.state_dict())
    for group in optimizer.param_groups:
        group["fused"] = None
    return optimizer


def _after(start: Checkpoint, data: Data, held_out: Data, weights: list[list[float]]) -> list[float]:
    run = start.copied()
    for s, row in enumerate(weights):
        take_step(run, data, s, row)
    found = losses(run.model, held_out)
    return [found[DOMAINS.index(name)] if name in DOMAINS else found[-1] for name in PAIR]


def _predicted(
    settings: Settings, start: Checkpoint, case: Case, predictor: str, data: Data, held_out: Data
) -> list[list[float | bool | None]]:
    """Value, or none where it is no number, and whether the library's verdict answers."""
    schedule, reference = case.schedules(settings)
    every = predictor.startswith("trajectory")
    try:
        found = cv.predict_excess_loss(
            start.model,
            loss_fn,
            {name: list(batches) if every else list(batches[:1]) for name, batches in data.items()},
            schedule,
            PAIR,
            against=reference,
            optimizer=start.optimizer,
            held_out=held_out,
            predictor="trajectory" if every else predictor,  # type: ignore[arg-type]
            points=1 if predictor == ONE else None,
            max_products=40,
        )
    except cv.CommuteError:
        return [[None, False] for _ in PAIR]
    return [
        [found[name].value if math.isfinite(found[name].value) else None, found[name].answered]
        for name in PAIR
    ]
