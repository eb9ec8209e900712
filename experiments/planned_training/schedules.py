"""From a score for each domain to a schedule (the higher, the later), and from a first variation to one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from commute_verify.planning.pareto import most_even
from commute_verify.planning.tilt_program import TiltBounds, best_shift, worth
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

SMALL = 1e-6
"""A share below this is what the tolerance of the solver leaves of zero."""


def tilt(domains: Sequence[str], weights: Array, later: Array, steps: int, most: float) -> WeightSchedule:
    """w + δ for half of the steps, then w − δ: the δ within bounds that moves the scores latest.

    minimise ⟨later, δ⟩ over |δ_k| ≤ min(most, w_k, 1 − w_k), Σδ = 0.

    >>> late = tilt(("a", "b"), np.array([0.9, 0.1]), np.array([0.0, 1.0]), 4, 0.05)
    >>> late.weights.round(9).tolist()
    [[0.95, 0.05], [0.85, 0.15]]
    """
    delta = best_shift(-later, *_box(domains, weights, most))
    return halves(domains, weights, delta, steps)


def blocks(domains: Sequence[str], weights: Array, later: Array, steps: int) -> WeightSchedule:
    """One block for each domain, in the order of the scores.

    >>> found = blocks(("a", "b"), np.array([0.75, 0.25]), np.array([1.0, 0.0]), 4)
    >>> found.durations.tolist(), found.weights.tolist()
    ([1.0, 3.0], [[0.0, 1.0], [1.0, 0.0]])
    """
    order = np.argsort(later, kind="stable")
    whole = np.rint(weights * steps)
    return WeightSchedule(tuple(domains), whole[order], np.eye(len(domains))[order])


def best_blocks(
    domains: Sequence[str], weights: Array, steps: int, loss: Callable[[WeightSchedule], float]
) -> WeightSchedule:
    """The order of one block for each domain with the lowest loss, out of all of them."""
    ranks = map(np.array, permutations(range(len(domains))))
    return min((blocks(domains, weights, later, steps) for later in ranks), key=loss)


@dataclass(frozen=True, eq=False)
class Together:
    """The tilt that improves all targets most evenly, or weights of the targets for which none can gain.

    The tilt gives every target at least ``share`` of its own best gain; the targets weighed by
    ``certificate`` (each in units of its own best gain) gain at most ``bound``, whatever the tilt.
    """

    schedule: WeightSchedule
    share: float
    bound: float
    certificate: Array


def together(domains: Sequence[str], weights: Array, later: Array, steps: int, most: float) -> Together:
    """A tilt for all targets at once; ``later`` is (T, K), one row of scores for each target.

    maximise s over |δ_k| ≤ min(most, w_k, 1 − w_k), Σδ = 0, with −⟨later_t, δ⟩ ≥ s · (its greatest value).
    The multipliers of a best share of 0 prove that no tilt improves every target to first order.
    """
    box = _box(domains, weights, most)
    alone = np.array([worth(-row, best_shift(-row, *box)) for row in later])
    gains = -later / alone[:, None]
    delta, multipliers = most_even(gains, *box)
    mixed = multipliers @ gains
    return Together(
        halves(domains, weights, delta, steps),
        float((gains @ delta).min()),
        float(worth(mixed, best_shift(mixed, *box))),
        multipliers,
    )


def halves(domains: Sequence[str], weights: Array, delta: Array, steps: int) -> WeightSchedule:
    """w + δ and then w − δ, half of the steps each."""
    rows = np.clip(np.stack([weights + delta, weights - delta]), 0.0, 1.0)
    return WeightSchedule(tuple(domains), np.full(2, steps / 2), rows / rows.sum(axis=1, keepdims=True))


def _box(domains: Sequence[str], weights: Array, most: float) -> tuple[Array, Array]:
    """How far δ may go below and above 0, the same in both halves."""
    return TiltBounds.around(tuple(domains), weights, most, {}).box(1, 2)
