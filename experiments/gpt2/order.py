"""Which windows a step trains on: counts of each domain, and the order of a domain's windows.

Every function here is pure: the batch of a step follows from the seed, the windows consumed so far (the
*cursor*) and the counts, so that any run can be stopped, resumed or branched without touching the data order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commute_verify.errors import CommuteError

Counts = NDArray[np.int64]


def domain_key(domain: str) -> int:
    """A number that belongs to the name, so that a domain's order does not depend on its neighbours."""
    return int.from_bytes(hashlib.sha256(domain.encode()).digest()[:8], "big")


@lru_cache(maxsize=16)
def _epoch(seed: int, domain: str, epoch: int, windows: int) -> NDArray[np.int64]:
    order = np.random.default_rng([seed, domain_key(domain), epoch]).permutation(windows)
    order.setflags(write=False)
    return order


def window_indices(seed: int, domain: str, windows: int, first: int, count: int) -> NDArray[np.int64]:
    """The indices of a domain's windows number first, …, first + count − 1.

    Window number n stands in epoch n // windows, and each epoch is a permutation of its own: a pure function
    of (seed, domain, n). Shape (count,), int64, entries in [0, windows).
    """
    if windows < 1:
        raise CommuteError(f"domain {domain!r} has no whole window: give it more text or a shorter context")
    numbers = np.arange(first, first + count)
    epochs, places = np.divmod(numbers, windows)
    found = np.empty(count, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        found[here] = _epoch(seed, domain, int(epoch), windows)[places[here]]
    return found


def counts_exact(weights: ArrayLike, batch: int, step0: int, steps: int) -> Counts:
    """Sequences of each domain in the steps step0, …, step0 + steps − 1 of a stage, without chance.

    weights (K,) are constant over the stage; the result is (steps, K), each row summing to ``batch``. After n
    sequences every domain has had w_k n of them to within 1 − 1/(2K − 2): so the total over a stage is
    exactly w_k · batch · steps wherever that is whole. Source: Tijdeman 1980 (the chairman assignment
    problem).

    >>> counts_exact([0.75, 0.25], 2, 0, 4).sum(axis=0).tolist()
    [6, 2]
    """
    share = np.asarray(weights, dtype=np.float64)
    if step0 < 0 or steps < 0 or batch < 1:
        raise CommuteError(f"steps {step0} + {steps} of batch {batch}: give steps ≥ 0 and a batch ≥ 1")
    ends = batch * np.arange(steps + 1 + step0)
    if len(share) == 1:
        totals = ends[:, np.newaxis]
    elif len(share) == 2:
        first = np.minimum(np.floor(share[0] * ends + 0.5).astype(np.int64), ends)
        totals = np.stack([first, ends - first], axis=1)
    else:
        totals = _assigned(share.tolist(), batch, step0 + steps)
    return np.diff(totals, axis=0)[step0:].astype(np.int64)


def _assigned(weights: Sequence[float], batch: int, steps: int) -> Counts:
    """Tijdeman's assignment, sequence by sequence; the totals (steps + 1, K) before and after every step."""
    room = 1 / (2 * len(weights) - 2)
    held = [0] * len(weights)
    totals = np.zeros((steps + 1, len(weights)), dtype=np.int64)
    for slot in range(1, batch * steps + 1):
        owed = [(k, w * slot - held[k]) for k, w in enumerate(weights) if w > 0]
        due = [(k, debt) for k, debt in owed if debt >= room - 1e-9]
        # Whoever would first fall a whole sequence (less the room) behind its plan goes first.
        chosen = min(due or owed, key=lambda one: ((1 - room - one[1]) / weights[one[0]], one[0]))[0]
        held[chosen] += 1
        if slot % batch == 0:
            totals[slot // batch] = held
    return totals


def counts_sampled(seed: int, weights: ArrayLike, batch: int, step: int) -> Counts:
    """A multinomial draw of one step's counts (K,): each sequence's domain is drawn with its weight.

    A pure function of (seed, step): the paper's sampling paradigm, whose token totals are equal in mean only.
    """
    share = np.asarray(weights, dtype=np.float64)
    draw = np.random.default_rng([seed, domain_key("counts"), step])
    return draw.multinomial(batch, share / share.sum()).astype(np.int64)


def counts_equal(domains: int, batch: int, step: int) -> Counts:
    """Counts (K,) of a step that holds all domains alike; what is left over goes round from step to step.

    >>> [counts_equal(3, 4, step).tolist() for step in range(3)]
    [[2, 1, 1], [1, 2, 1], [1, 1, 2]]
    """
    each, left = divmod(batch, domains)
    turn = (np.arange(domains) - step * left) % domains
    return (each + (turn < left)).astype(np.int64)


def moved(cursor: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """The cursor after so many more windows of each domain."""
    return {domain: number + int(counts.get(domain, 0)) for domain, number in cursor.items()}
