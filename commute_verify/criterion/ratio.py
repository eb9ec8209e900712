r"""The mean of a sum over a weight, E[s] / E[w], from a few batches, with all weights known of the domain.

With s̄ and w̄ the means over a role's n batches, Robson's (1957) s̄ w̄ − cov(s, w)/n is unbiased for E[s] E[w],
so that

    s̄ / W − (s̄ w̄ − cov(s, w)/n − s̄ W) / W²  =  (s̄ (2 − w̄/W) + cov(s, w)/(n W)) / W

is unbiased for E[s] / E[w] where W = E[w], and its mean is stationary there: an error of W counts by its
square. W is estimated by the mean of the m weights known of the domain so far, the role's own among them, and
the factor 1 + var(w)/(m W²) removes what that leaves to first order in 1/m:

    (s̄ (2 − w̄/W) + cov(s, w)/(n W)) / (W (1 + var(w)/(m W²))).

Where no other weight is known, m = n, this is Beale's estimator (1962), biased by O(1/n²). As m grows at
fixed n the bias goes to 0. One batch has no covariance: it is s/W, biased by O(1/m). Where all weights are
equal each of these is s̄ / w̄.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

from commute_verify.criterion.vectors import Vector, add_to, scale, wide


def coefficients(weights: Sequence[float], known: Collection[float]) -> tuple[float, float]:
    """A and B such that A Σ s_b + B Σ (w_b − w_1) s_b is the estimator; ``known`` includes the weights.

    >>> A, B = coefficients([2.0, 2.0], [2.0, 2.0])
    >>> A * (6.0 + 2.0)  # Σ s / Σ w
    2.0
    """
    n, own = len(weights), statistics.fmean(weights)
    if len(set(known)) == 1:
        return 1 / n / own, 0.0
    m, mean = len(known), statistics.fmean(known)
    if n == 1:
        return 1 / mean, 0.0
    size = mean * (1 + statistics.variance(known) / (m * mean**2))
    slope = 1 / (n * (n - 1) * mean)
    return ((2 - own / mean) / n + slope * (weights[0] - own)) / size, slope / size


class Mean(NamedTuple):
    """The vector factor · total: dots take the factor, so that no vector is copied to be scaled."""

    total: Vector
    factor: float


class WeightedMean:
    """The estimator of a vector, fed batch by batch; the vectors given are never written to."""

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

    def result(self, known: Collection[float]) -> Mean:
        """The mean so far, with all weights that are known of the domain; it ends here."""
        A, B = coefficients(self._weights, known)
        if self._rest:
            scale(self._total, A)
            add_to(self._total, self._rest, B)
        return Mean(self._total, 1.0 if self._rest else A)
