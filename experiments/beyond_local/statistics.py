"""How predictions of one window are summed up."""

from typing import Any

import numpy as np

from experiments.quadratic.statistics import Pair, share_of


def summed_up(pair: Pair, level: float) -> dict[str, Any]:
    """Median, 90th percentile and maximum of |predicted/observed − 1|, median of the ratio, and right signs.

    >>> found = summed_up(Pair(np.array([1.0, 2.0]), np.array([1.1, -2.0])), 0.95)
    >>> round(found["median_error"], 12), found["right"], found["count"]
    (1.05, 1, 2)
    """
    ratio = pair.predicted / pair.observed
    error = np.abs(ratio - 1)
    right = int(np.sum(ratio > 0))
    return {
        "count": ratio.size,
        "median_ratio": np.median(ratio),
        "median_error": np.median(error),
        "p90_error": np.percentile(error, 90),
        "largest_error": error.max(),
        "right": right,
    } | share_of(right, ratio.size, level)
