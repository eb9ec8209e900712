"""The linear ordering problem: the order in which the pairs cost least, and what else comes close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

EXACT = 16
"""Up to so many items the answer is exact, by dynamic programming over subsets."""


@dataclass(frozen=True, eq=False)
class Ordering:
    """The order that makes Σ_{i before j} C_ij least, by index; ``cost`` is its sum.

    No order costs less than ``bound``. ``second`` is the cheapest order that differs from the first; both
    costs are equal where the answer is tied. ``forced[i, j]`` (K, K) is how much more the best order with i
    before j costs, to ``roundoff``; beyond ``EXACT`` items it is None, and ``second`` is None where the
    solver found none in its time.
    """

    order: tuple[int, ...]
    cost: float
    bound: float
    second: tuple[int, ...] | None
    second_cost: float
    forced: Array | None
    roundoff: float


def best_order(cost: ArrayLike, *, seconds: float = 60.0) -> Ordering:
    """The best order of K items for an antisymmetric cost (K, K), C_ij being the cost of i before j.

    Exact up to ``EXACT`` items (Held and Karp, 1962), in a second at 16; beyond that scipy's HiGHS has
    ``seconds`` for the order and as many for the second best, and ``bound`` says what it has proved. Among
    orders of equal cost the answer is the one that keeps the items as given, from the front.
    Raises CommuteError for a cost that is not finite, square and antisymmetric, or has fewer than 2 items.

    >>> best_order([[0, 1, -3], [-1, 0, 2], [3, -2, 0]]).order
    (0, 2, 1)
    """
    C = antisymmetric(cost)
    if len(C) <= EXACT:
        return _by_subsets(C)
    from commute_verify.planning.milp import by_branch_and_bound

    return by_branch_and_bound(C, seconds)


def antisymmetric(cost: ArrayLike) -> Array:
    """The cost as float64, if it is finite, (K, K) with K ≥ 2, and antisymmetric."""
    C = np.array(cost, dtype=np.float64)
    if C.ndim != 2 or C.shape[0] != C.shape[1] or len(C) < 2:
        raise CommuteError(f"a cost of shape {C.shape}; give (K, K) for K ≥ 2 domains")
    if not np.isfinite(C).all() or not np.array_equal(C, -C.T):
        raise CommuteError("a cost that is not finite and antisymmetric; give C with C_ij = −C_ji")
    return C


def roundoff(C: Array) -> float:
    """What a sum of all pairs may be off by."""
    return float(64 * np.finfo(np.float64).eps * np.abs(C).sum())


def cost_of(C: Array, order: tuple[int, ...]) -> float:
    """Σ C_ij over the pairs with i before j."""
    at = np.array(order)
    return float(np.triu(C[np.ix_(at, at)], k=1).sum())


def layers(K: int) -> list[NDArray[np.int64]]:
    """The subsets of K items as bit masks, by size."""
    masks = np.arange(1 << K)
    sizes = np.bitwise_count(masks)
    return [masks[sizes == size] for size in range(K + 1)]


def _by_subsets(C: Array) -> Ordering:
    K, slack = len(C), roundoff(C)
    into = np.zeros((1 << K, K))
    for i in range(K):
        into[1 << i : 2 << i] = into[: 1 << i] + C[i]
    before, after = _prefixes(into), _suffixes(into)
    order = _first_of_the_best(into, before, after, slack)
    forced = np.zeros((K, K))
    through = np.full((K, 1 << K), np.inf)
    masks = np.arange(1 << K)
    for j in range(K):
        free = masks[masks >> j & 1 == 0]
        through[j, free] = before[free] + into[free, j] + after[free | 1 << j]
        for i in range(K):
            if i != j:
                forced[i, j] = through[j].reshape(-1, 2, 1 << i)[:, 1].min() - after[0]
    turned = [(forced[j, i], j, i) for at, i in enumerate(order) for j in order[at + 1 :]]
    _, i, j = min(turned)
    containing = np.where(masks >> i & 1, through[j], np.inf)
    subset = int(containing.argmin())
    second = (*_prefix(into, before, subset), j, *_suffix(into, after, subset | 1 << j))
    best = cost_of(C, order)
    forced = np.where(np.abs(forced) <= slack, 0.0, forced)
    return Ordering(order, best, best, second, cost_of(C, second), forced, slack)


def _prefixes(into: Array) -> Array:
    """The least cost of the items of each subset, as the first of an order."""
    K = into.shape[1]
    best = np.full(1 << K, np.inf)
    best[0] = 0.0
    for layer in layers(K)[1:]:
        for k in range(K):
            having = layer[layer >> k & 1 == 1]
            rest = having ^ 1 << k
            best[having] = np.minimum(best[having], best[rest] + into[rest, k])
    return best


def _suffixes(into: Array) -> Array:
    """The least cost of all that comes after the items of each subset."""
    K = into.shape[1]
    best = np.full(1 << K, np.inf)
    best[-1] = 0.0
    for layer in reversed(layers(K)[:-1]):
        for k in range(K):
            free = layer[layer >> k & 1 == 0]
            best[free] = np.minimum(best[free], into[free, k] + best[free | 1 << k])
    return best


def _first_of_the_best(into: Array, before: Array, after: Array, slack: float) -> tuple[int, ...]:
    """From the front, the first item with which an order of least cost still goes on."""
    K = into.shape[1]
    subset, spent, order = 0, 0.0, []
    for _ in range(K):
        left = [k for k in range(K) if not subset >> k & 1]
        k = next(k for k in left if spent + into[subset, k] + after[subset | 1 << k] <= after[0] + slack)
        spent += float(into[subset, k])
        subset |= 1 << k
        order.append(k)
    return tuple(order)


def _prefix(into: Array, before: Array, subset: int) -> list[int]:
    order: list[int] = []
    while subset:
        inside = [k for k in range(into.shape[1]) if subset >> k & 1]
        k = min(inside, key=lambda k: before[subset ^ 1 << k] + into[subset ^ 1 << k, k])
        order.insert(0, k)
        subset ^= 1 << k
    return order


def _suffix(into: Array, after: Array, subset: int) -> list[int]:
    order: list[int] = []
    while subset != len(into) - 1:
        outside = [k for k in range(into.shape[1]) if not subset >> k & 1]
        k = min(outside, key=lambda k: into[subset, k] + after[subset | 1 << k])
        order.append(k)
        subset |= 1 << k
    return order
