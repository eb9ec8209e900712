"""One seed: a model is trained, windows are planned, and every schedule is run on the same batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from commute_verify.schedules import WeightSchedule
from experiments.optimizer_windows.settings import DOMAINS
from experiments.optimizer_windows.texts import Texts
from experiments.planned_training import schedules
from experiments.planned_training.bench import Bench
from experiments.planned_training.plans import BLOCKS, PLANNERS, SHAPES, TILT, Planners
from experiments.planned_training.settings import Settings

SHOWN = ("mixture", DOMAINS[0], DOMAINS[-1])
"""Targets that are planned for: all domains alike, the largest and the smallest."""
TOGETHER = {"all four": DOMAINS, "largest and smallest": (DOMAINS[0], DOMAINS[-1])}
"""Targets that are to gain at once."""


def of_seed(settings: Settings, seed: int) -> dict[str, Any]:
    """The excess over constant weights of every schedule: four domains, and the imbalanced two."""
    texts = Texts(settings.windows(seed))
    return {"seed": seed, "four": four(settings, seed, texts), "two": two(settings, seed, texts)}


def four(settings: Settings, seed: int, texts: Texts) -> dict[str, Any]:
    """Four domains: tilts and blocks by every planner and rule, descent, and tilts for several targets."""
    bench = Bench(settings, seed, texts, dict(zip(DOMAINS, settings.weights, strict=True)))
    planners = Planners(bench, SHOWN)
    cells = [cell for target in SHOWN for shape in SHAPES for cell in _cells(planners, bench, shape, target)]
    descent = planners.descent("mixture")
    excess = bench.excess(descent.schedule, "mixture")
    found = {"target": "mixture", "shape": "stages", "by": "descent", "excess": excess}
    return {
        "cells": [*cells, found | {"promised": -descent.gain}],
        "descent": [[step.predicted, step.observed, step.accepted] for step in descent.steps],
        "together": {
            label: {name: _together(planners, bench, name, names) for name in PLANNERS}
            for label, names in TOGETHER.items()
        },
        "losses": bench.ends(bench.constant),
    }


def two(settings: Settings, seed: int, texts: Texts) -> dict[str, Any]:
    """Two languages, one of them small, target both alike; how much more of it each plan has last."""
    bench = Bench(settings, seed, texts, dict(zip(DOMAINS, settings.imbalanced, strict=False)))
    planners = Planners(bench, ("mixture",))
    cells = _cells(planners, bench, TILT, "mixture", small=bench.domains[1])
    return {"cells": cells, "losses": bench.ends(bench.constant)}


def _cells(
    planners: Planners, bench: Bench, shape: str, target: str, small: str | None = None
) -> list[dict[str, Any]]:
    """Every schedule of this shape for this target; ``small`` is a domain whose shift to the end is told."""
    found: list[tuple[str, WeightSchedule, dict[str, Any]]] = []
    for name in PLANNERS:
        plan = planners.plan(name, shape, target)
        told = {"promised": plan.promised, "recommended": plan.recommended}
        found.append((name, plan.schedule, told))
        found.append((f"{name}, reversed", plan.schedule.reversed(), {}))
    for name, later in planners.rules(target).items():
        if shape == BLOCKS:
            schedule = schedules.blocks(bench.domains, bench.weights, later, bench.settings.steps)
        else:
            schedule = bench.tilt(later)
        found.append((name, schedule, {}))
    cells = []
    for by, schedule, told in found:
        excess = bench.excess(schedule, target, dealt=shape == BLOCKS)
        cell = {"target": target, "shape": shape, "by": by, "excess": excess} | told
        if small is not None:
            share = schedule.weights[:, schedule.domains.index(small)]
            cell["small_later"] = float(share[-1] - share[0])
        cells.append(cell)
    return cells


def _together(planners: Planners, bench: Bench, name: str, targets: tuple[str, ...]) -> dict[str, Any]:
    found = planners.together(name, targets)
    one = {"share": found.share, "bound": found.bound, "certificate": found.certificate.tolist()}
    if found.share > schedules.SMALL:
        one["excess"] = np.array([bench.excess(found.schedule, target) for target in targets]).tolist()
    return one
