r"""The mean of a sum over a weight, Σ s_b / Σ w_b, freed of its bias of order 1/n.

With s̄ and w̄ the means over n batches, Beale's estimator (1962) is

    (s̄ + cov(s, w) / (n w̄)) / (w̄ (1 + var(w) / (n w̄²))).

It is s̄ / w̄ where all weights are equal, unbiased where a batch's s_b / w_b does not depend on its weight, and
else biased by O(1/n²). One batch alone is its own s / w.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from commute_verify.criterion.vectors import Vector, add_to, scale, wide


def beale(weights: Sequence[float]) -> tuple[float, float]:
    """A and B such that A Σ s_b + B Σ (w_b − w_1) s_b is Beale's estimator.

    >>> A, B = beale([2.0, 2.0])
    >>> A * (6.0 + 2.0)  # Σ s / Σ w
    2.0
    """
    n, mean = len(weights), statistics.fmean(weights)
    if n == 1:
        return 1 / mean, 0.0
    size = mean * (1 + statistics.variance(weights) / (n * mean**2))
    slope = 1 / (n * (n - 1) * mean)
    return (1 / n + slope * (weights[0] - mean)) / size, slope / size


class Mean(NamedTuple):
    """The vector factor · total: dots take the factor, so that no vector is copied to be scaled."""

    total: Vector
    factor: float


class WeightedMean:
    """Beale's estimator of a vector, fed batch by batch; the vectors given are never written to."""

    def __init__(self) -> None:
        """Start with no batch."""
        self._weights: list[float] = []
        self._total: Vector = {}
        self._rest: Vector = {}

    def add(self, total: Vector, weight: float) -> None:
        """One more batch: its summed vector and its weight."""
        self._weights.append(weight)
        surplus = weight - self._weights[0]
        if len(self._weights) == 1:
            self._total = total
        elif len(self._weights) == 2:
            self._total = {
                name: t.to(wide(t.dtype)) + total[name].to(wide(t.dtype)) for name, t in self._total.items()
            }
        else:
            add_to(self._total, total)
        if surplus and self._rest:
            add_to(self._rest, total, surplus)
        elif surplus:
            self._rest = {name: t.to(wide(t.dtype)) * surplus for name, t in total.items()}

    def result(self) -> Mean:
        """The mean so far; it ends here."""
        A, B = beale(self._weights)
        if self._rest:
            scale(self._rest, B / A)
            add_to(self._total, self._rest)
        return Mean(self._total, A)
