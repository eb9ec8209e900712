"""Means with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t


def mean_of(values: Sequence[float], level: float) -> dict[str, float]:
    """The mean and half the width of its Student interval.

    >>> mean_of([1.0, 1.0, 1.0], 0.95)
    {'mean': 1.0, 'half': 0.0}
    """
    array = np.asarray(values, np.float64)
    half = t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return {"mean": float(array.mean()), "half": float(half)}
