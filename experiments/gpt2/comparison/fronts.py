"""The points of a Pareto front in the plane of two excess losses, and which lies behind which."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.gpt2.comparison.cases import Case, select
from experiments.gpt2.comparison.excess import RESOLVED, Excess
from experiments.gpt2.comparison.results import Results

Point = tuple[Excess, Excess]


def front(results: Results, cases: Sequence[Case]) -> list[Point]:
    """The excesses on both languages of every order and Δw at a checkpoint, and of the base."""
    base = Excess((0.0,), 0.0, "seeds")
    points: list[Point] = [(base, base)]
    for kind in ("12", "21"):
        for delta in sorted({case.at.delta for case in cases}):
            at = select(cases, kind=kind, delta=delta)
            one, other = (select(at, targets=(target,))[0].observed for target in results.domains)
            points.append((one, other))
    return points


def dominates(a: Point, b: Point, *, resolved: bool) -> bool:
    """Whether a is better than b on both languages, each by more than two standard errors if ``resolved``."""
    if not resolved:
        return all(x.value < y.value for x, y in zip(a, b, strict=True))
    for x, y in zip(a, b, strict=True):
        if x.error is None or y.error is None:
            return False
        if y.value - x.value <= RESOLVED * math.hypot(x.error, y.error):
            return False
    return True
