"""Whose turn it is by chance: each sample's domain drawn with the weight that the plan gives it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from commute_verify.mixture.turns import Turns

BLOCK, STREAM = 1024, 0x6472617773  # "draws": apart from the seeds of the epochs


@lru_cache(maxsize=8)
def _block(seed: int, block: int) -> NDArray[np.float64]:
    drawn = np.random.default_rng([seed, STREAM, block]).random(BLOCK)
    drawn.setflags(write=False)
    return drawn


def drawn_turn(turns: Turns, position: int, seed: int) -> int:
    """The domain of the sample at ``position``: k with probability W_k(position + 1) − W_k(position).

    A pure function of (seed, position). Counts are the plan's in mean only, √(n w_k (1 − w_k)) away from it
    after n samples of constant weights.

    >>> from commute_verify.schedules import WeightSchedule
    >>> turns = Turns.of(WeightSchedule.constant({"en": 0.75, "ru": 0.25}, 1000))
    >>> drawn = [drawn_turn(turns, n, 0) for n in range(1000)]
    >>> 200 < sum(drawn) < 300
    True
    """
    block, place = divmod(position, BLOCK)
    grown = np.subtract(turns.plan(position + 1), turns.plan(position))
    edges = np.cumsum(grown) / grown.sum()
    k = int(np.searchsorted(edges, _block(seed, block)[place], side="right"))
    return min(k, int(np.flatnonzero(grown > 0)[-1]))
