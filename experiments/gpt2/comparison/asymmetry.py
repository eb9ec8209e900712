"""EL^12 + EL^21 against zero: at second order the two orders are mirror images.

What is left over is common to both orders: terms of third and higher order in Δt, second order in Δw, noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from experiments.gpt2.comparison.cases import Cases
from experiments.gpt2.comparison.excess import At, Excess


@dataclass(frozen=True)
class Sum:
    """EL^12 + EL^21 of a target, over seeds, and half their difference; ``at`` is that of order 12."""

    at: At
    total: Excess
    contrast: Excess

    @property
    def relative(self) -> float:
        """|EL^12 + EL^21| / |EL^12 − EL^21|: 0 for mirror images, 1 where one order does nothing."""
        size = 2 * abs(self.contrast.value)
        return abs(self.total.value) / size if size else float("inf")


def sums(cases: Cases) -> tuple[Sum, ...]:
    """The sum at every place where both orders were run; its error is over seeds alone."""
    observed = {case.at: case.observed for case in cases}
    found = []
    for at, one in observed.items():
        if at.kind == "12":
            other = observed[at._replace(kind="21")]
            values = tuple(a + b for a, b in zip(one.values, other.values, strict=True))
            found.append(Sum(at, Excess.of(values), observed[at._replace(kind="orders")]))
    return tuple(found)


def median_relative(found: tuple[Sum, ...]) -> float | None:
    """The median of the relative sums, or None of none."""
    return median(each.relative for each in found) if found else None
