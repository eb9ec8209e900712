"""What the seeds say together: mean excess over constant weights, paired differences, and wins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.planned_training.plans import PLANNERS
from experiments.planned_training.settings import Settings
from experiments.planning.statistics import mean_of
from experiments.quadratic.statistics import plain, share_of

Key = tuple[str, str, str]
RIVALS = ("smallest last", "cosine", "gradient norm", "random")
"""What plans are held against, beside constant weights and their own reverse."""


def summed_up(settings: Settings, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Cells of all seeds by target, shape and planner; tilts for several targets; the imbalanced pair."""
    four, two = ([one[part] for one in found] for part in ("four", "two"))
    level = settings.level
    return plain(
        {
            "seeds": len(found),
            "level": level,
            "steps": settings.steps,
            "rows": settings.rows,
            "batch": settings.batch,
            "layers": settings.layers,
            "width": settings.width,
            "warm": settings.warm,
            "rate": settings.rate,
            "weights": settings.weights,
            "imbalanced": settings.imbalanced,
            "max_tilt": settings.max_tilt,
            "randoms": settings.randoms,
            "losses": {name: np.mean([one["losses"][name] for one in four]) for name in four[0]["losses"]},
            "cells": cells([one["cells"] for one in four], level),
            "versus": versus([one["cells"] for one in four], level),
            "descent": descents([one["descent"] for one in four], level),
            "together": {
                label: {
                    name: together([one["together"][label][name] for one in four], level) for name in PLANNERS
                }
                for label in four[0]["together"]
            },
            "two": cells([one["cells"] for one in two], level),
            "two_versus": versus([one["cells"] for one in two], level),
        }
    )


def cells(seeds: Sequence[Sequence[Mapping[str, Any]]], level: float) -> list[dict[str, Any]]:
    """Each cell over the seeds: the excess, in how many it is below 0, and what was promised."""
    found = []
    for (target, shape, by), each in _by_key(seeds).items():
        excess = [cell["excess"] for cell in each]
        lower = sum(value < 0 for value in excess)
        row = {"target": target, "shape": shape, "by": by, "excess": mean_of(excess, level), "lower": lower}
        row |= {"wins": share_of(lower, len(each), level), "values": excess}
        if "promised" in each[0]:
            row["promised"] = mean_of([cell["promised"] for cell in each], level)
        if "recommended" in each[0]:
            row["recommended"] = sum(cell["recommended"] for cell in each)
        if "small_later" in each[0]:
            row["small_later"] = sum(cell["small_later"] > 1e-9 for cell in each)
        found.append(row)
    return found


def versus(seeds: Sequence[Sequence[Mapping[str, Any]]], level: float) -> list[dict[str, Any]]:
    """Excess of each plan less that of its reverse and of every rival, seed by seed."""
    every = _by_key(seeds)
    found = []
    for (target, shape, by), each in every.items():
        if by not in PLANNERS:
            continue
        for rival in (f"{by}, reversed", *RIVALS, *(name for name in PLANNERS if name != by)):
            apart = [
                one["excess"] - other["excess"]
                for one, other in zip(each, every[target, shape, rival], strict=True)
            ]
            found.append(
                {
                    "target": target,
                    "shape": shape,
                    "by": by,
                    "rival": rival,
                    "difference": mean_of(apart, level),
                    "lower": sum(value < 0 for value in apart),
                    "same": sum(value == 0 for value in apart),
                }
            )
    return found


def odd_and_even(
    cell: Mapping[str, Any], reverse: Mapping[str, Any], level: float
) -> tuple[dict[str, float], dict[str, float]]:
    """What turns its sign with the schedule, and what does not: half the difference and half the sum.

    The first is the order's doing, the second what moving weights costs whichever way.

    >>> odd, even = odd_and_even({"values": [1.0, 1.5]}, {"values": [3.0, 3.5]}, 0.95)
    >>> odd["mean"], even["mean"]
    (-1.0, 2.25)
    """
    one, other = np.array(cell["values"]), np.array(reverse["values"])
    return mean_of((one - other) / 2, level), mean_of((one + other) / 2, level)


def descents(seeds: Sequence[Sequence[Sequence[Any]]], level: float) -> dict[str, Any]:
    """What the accepted steps of descent promised and brought on the windows that they were planned on."""
    kept = [[step for step in steps if step[2]] for steps in seeds]
    return {
        "accepted": sum(map(len, kept)),
        "trials": sum(map(len, seeds)),
        "promised": mean_of([-sum(step[0] for step in steps) for steps in kept], level),
        "brought": mean_of([-sum(step[1] for step in steps) for steps in kept], level),
    }


def together(seeds: Sequence[Mapping[str, Any]], level: float) -> dict[str, Any]:
    """How often a tilt for all targets exists to first order, and what it brought each of them."""
    tilted = [one for one in seeds if "excess" in one]
    lower = [sum(value < 0 for value in one["excess"]) for one in tilted]
    targets = len(seeds[0]["certificate"])
    return {
        "exists": len(tilted),
        "targets": targets,
        "share": float(np.mean([one["share"] for one in tilted])) if tilted else None,
        "bound_elsewhere": max((one["bound"] for one in seeds if "excess" not in one), default=None),
        "all_lower": sum(count == targets for count in lower),
        "lower": sum(lower),
        "excess": [mean_of([one["excess"][t] for one in tilted], level) for t in range(targets)]
        if len(tilted) > 1
        else None,
    }


def _by_key(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[Key, list[Mapping[str, Any]]]:
    """The cells of every key, seed after seed; random orders are a cell together, the mean of them."""
    found: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for each in seeds:
        random: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
        for cell in each:
            key = cell["target"], cell["shape"], cell["by"]
            if cell["by"].startswith("random "):
                random[*key[:2], "random"].append(cell)
            else:
                found[key].append(cell)
        for key, some in random.items():
            found[key].append({**some[0], "excess": float(np.mean([cell["excess"] for cell in some]))})
    return found
