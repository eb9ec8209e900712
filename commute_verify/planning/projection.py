"""The nearest schedule that keeps totals and bounds, for steps that leave them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError

Array = NDArray[np.float64]


def project(wanted: Array, durations: Array, totals: Array, low: Array, high: Array) -> Array:
    """The weights w (S, K) nearest to ``wanted`` in Σ_s d_s |w_s − wanted_s|², within the schedule's rules.

    Σ_k w_sk = 1 on every stage, Σ_s d_s w_sk = totals_k, and low ≤ w ≤ high, each (S, K). The solution is
    clip(wanted + α_s + β_k, low, high); the multipliers α and β are found in turns, each exactly, which
    climbs the dual problem. Raises CommuteError where the rules contradict each other.

    >>> free = np.zeros((2, 2)), np.ones((2, 2))
    >>> project(np.array([[0.8, 0.4], [0.5, 0.5]]), np.ones(2), np.ones(2), *free).round(6).tolist()
    [[0.6, 0.4], [0.4, 0.6]]
    """
    least, most = durations @ low, durations @ high
    for k in np.flatnonzero((totals < least - 1e-9 * most) | (totals > most + 1e-9 * most)):
        raise CommuteError(
            f"total {k + 1} of {totals[k]:g} is not within the [{least[k]:g}, {most[k]:g}] that the bounds "
            "leave it: widen max_tilt or the limits"
        )
    stages, domains = np.zeros(len(durations)), np.zeros(len(totals))
    scale = durations.sum()
    for _ in range(2000):
        given = wanted + stages[:, None]
        domains = _shift(given.T, low.T, high.T, np.broadcast_to(durations, given.T.shape), totals)
        given = wanted + domains
        stages = _shift(given, low, high, np.ones_like(given), np.ones(len(durations)))
        found = np.clip(given + stages[:, None], low, high)
        if np.abs(durations @ found - totals).max() <= 1e-11 * scale:
            found /= found.sum(axis=1, keepdims=True)
            return np.asarray(found)
    raise CommuteError(
        f"no schedule with totals {totals.tolist()} within the bounds was found; the nearest misses them by "
        f"{np.abs(durations @ found - totals).max():.2g}: widen max_tilt or the limits"
    )


def _shift(given: Array, low: Array, high: Array, weight: Array, wanted: Array) -> Array:
    """x (n,) with Σ_m weight · clip(given + x, low, high) = wanted in every row, read off its corners."""
    corners = np.concatenate([low - given, high - given], axis=1)
    order = np.argsort(corners, axis=1)
    at = np.take_along_axis(corners, order, axis=1)
    slope = np.cumsum(np.take_along_axis(np.concatenate([weight, -weight], axis=1), order, axis=1), axis=1)
    rises = np.cumsum(slope[:, :-1] * np.diff(at, axis=1), axis=1)
    values = (weight * low).sum(axis=1, keepdims=True) + np.concatenate([0 * rises[:, :1], rises], axis=1)
    rows = np.arange(len(given))
    last = np.clip((values < wanted[:, None]).sum(axis=1) - 1, 0, at.shape[1] - 2)
    gap, steep = wanted - values[rows, last], slope[rows, last]
    return np.asarray(at[rows, last] + np.where(steep > 0, gap / np.where(steep > 0, steep, 1.0), 0.0))
