r"""Whose turn it is: domains in an order whose counts never leave the plan by a whole sample.

With W_k(n) = ∫₀ⁿ w_k the plan and x_k(n) the samples of domain k among the first n, at every n

    |x_k(n) − W_k(n)| ≤ 1 − 1 / (2K − 2)      for all k, whatever the weights and however they change.

At step n those domains may come that are behind by at least s = 1/(2K − 2), W_k(n) − x_k ≥ s; of these the
one whose plan would first be too far ahead, W_k(m) − x_k ≥ 1 − s at the smallest m.
Source: Tijdeman, The chairman assignment problem (1980).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from commute_verify.schedules import WeightSchedule

SLACK = 1e-9
"""What roundoff may take from a comparison; the bound leaves 1 / (2K − 2)."""


@dataclass(frozen=True)
class Turns:
    """From ``starts[s]`` on the plan stands at ``bases[s]`` (K,) and grows by ``weights[s]``, to the ``end``.

    >>> turns = Turns.of(WeightSchedule.constant({"en": 0.75, "ru": 0.25}, 8))
    >>> counts, order = [0, 0], []
    >>> for n in range(8):
    ...     k = turns.next(n, counts)
    ...     counts[k] += 1
    ...     order.append("en" if k == 0 else "ru")
    >>> " ".join(order)
    'en en ru en en en ru en'
    """

    starts: tuple[float, ...]
    bases: tuple[tuple[float, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    end: float

    @classmethod
    def of(cls, schedule: WeightSchedule, start: float = 0.0, base: Sequence[float] | None = None) -> Turns:
        """The schedule, in samples, from a position at which the plan stands at ``base``."""
        at, level = start, np.zeros(len(schedule.domains)) if base is None else np.array(base, float)
        starts, bases = [], []
        for length, row in zip(schedule.durations, schedule.weights, strict=True):
            starts.append(at)
            bases.append(tuple(level.tolist()))
            at, level = at + float(length), level + float(length) * row
        return cls(tuple(starts), tuple(bases), tuple(map(tuple, schedule.weights.tolist())), at)

    @cached_property
    def _levels(self) -> list[list[float]]:
        return [list(column) for column in zip(*self.bases, strict=True)]

    def plan(self, position: float) -> list[float]:
        """W (K,) at a position; past the end the last weights hold."""
        s = max(0, bisect_right(self.starts, position) - 1)
        gone = position - self.starts[s]
        return [base + gone * w for base, w in zip(self.bases[s], self.weights[s], strict=True)]

    def reaches(self, k: int, level: float) -> float:
        """The first position, of those that this plan knows, with W_k ≥ level; inf if it never does."""
        s = bisect_left(self._levels[k], level - SLACK) - 1
        if s < 0:
            return self.starts[0]
        w = self.weights[s][k]
        return self.starts[s] + (level - self.bases[s][k]) / w if w > 0 else math.inf

    def next(self, position: int, counts: Sequence[int]) -> int:
        """The domain of the sample at ``position``, counted from 0, after ``counts`` (K,) of each."""
        slack = 1 / (2 * len(counts) - 2) if len(counts) > 1 else 0.0
        behind = [w - x for w, x in zip(self.plan(position + 1), counts, strict=True)]
        ready = [k for k, gap in enumerate(behind) if gap >= slack - SLACK]
        if not ready:
            return int(np.argmax(behind))
        return min(ready, key=lambda k: (self._due(k, counts[k] + 1 - slack), k))

    def _due(self, k: int, level: float) -> float:
        """The first whole position at which the plan of domain k reaches the level."""
        at = self.reaches(k, level)
        return at if math.isinf(at) else math.ceil(at - SLACK)
