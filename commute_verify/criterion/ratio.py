r"""The mean of a sum over a weight, Σ s_b / Σ w_b, freed of its bias of order 1/n.

With s̄ and w̄ the means over n batches, Beale's estimator (1962) is

    (s̄ + cov(s, w) / (n w̄)) / (w̄ (1 + var(w) / (n w̄²))).

It is s̄ / w̄ where all weights are equal, unbiased where a batch's s_b / w_b does not depend on its weight, and
else biased by O(1/n²). One batch alone is its own s / w.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence


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
