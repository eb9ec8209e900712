"""Student intervals from replicates, and Holm's correction over everything that was asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_and_stderr(replicates: Array) -> tuple[Array, Array]:
    """Mean over the first axis and its standard error s/√R."""
    count = len(replicates)
    return replicates.mean(axis=0), replicates.std(axis=0, ddof=1) / np.sqrt(count)


def p_values(replicates: Array) -> Array:
    """Two-sided p-values of Student's t test of mean 0, with R − 1 degrees of freedom.

    >>> bool(p_values(np.array([1.0, 1.1, 0.9, 1.0])) < 0.001)
    True
    """
    from scipy.special import stdtr

    mean, stderr = mean_and_stderr(replicates)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(stderr > 0, np.abs(mean) / stderr, np.where(mean == 0, 0.0, np.inf))
    found: Array = 2.0 * stdtr(len(replicates) - 1, -t)
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def half_width(stderr: Array, replicates: int, alpha: float) -> Array:
    """Half the width of the 1 − α Student interval."""
    from scipy.special import stdtrit

    found: Array = stderr * stdtrit(replicates - 1, 1 - alpha / 2)
    return found


def look_factor(look: int) -> float:
    """What p-values are multiplied by at the ``look``-th look, so that Σ 1/factor ≤ 1 over all looks.

    The error is spent as 6/(π² k²); the factor at a single look is 1.
    """
    return 1.0 if look == 0 else float(np.pi**2 * look**2 / 6)
