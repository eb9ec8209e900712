"""The linear ordering problem by branch and bound, for more items than dynamic programming holds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError
from commute_verify.planning.ordering import Array, Ordering, cost_of, roundoff


def by_branch_and_bound(C: Array, seconds: float) -> Ordering:
    """The best order for the antisymmetric cost C (K, K) by scipy's HiGHS, with the bound that it proved.

    x_ij = 1 where i comes before j, for i < j, with 0 ≤ x_ij + x_jk − x_ik ≤ 1 for i < j < k. The second
    best order is found with one more row, which the best one breaks.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise CommuteError(f"seconds={seconds!r}; give the solver a time above 0")
    order, bound = _solve(C, seconds, None)
    if order is None:
        balance = C.sum(axis=1)
        order = tuple(int(k) for k in np.argsort(balance, kind="stable"))
    other, _ = _solve(C, seconds, order)
    best, second = cost_of(C, order), cost_of(C, other) if other else np.inf
    if other and second < best:  # the time ran out before the first was proved best
        order, other, best, second = other, order, second, best
    return Ordering(order, best, min(bound, best), other, second, None, roundoff(C))


def _solve(
    C: Array, seconds: float, apart_from: tuple[int, ...] | None
) -> tuple[tuple[int, ...] | None, float]:
    """An order, if one was found, and a cost that none lies below; ``apart_from`` one order, if given."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    K = len(C)
    pairs = list(combinations(range(K), 2))
    upper = np.array([C[pair] for pair in pairs])
    scale = float(np.abs(upper).max()) or 1.0
    rules = [LinearConstraint(_triangles(K), 0, 1)]
    if apart_from is not None:
        x = np.array([float(apart_from.index(i) < apart_from.index(j)) for i, j in pairs])
        rules.append(LinearConstraint((2 * x - 1)[None], -np.inf, x.sum() - 1))
    found = milp(
        2 * upper / scale,
        integrality=np.ones(len(pairs)),
        bounds=Bounds(0, 1),
        constraints=rules,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    bound = -float(np.abs(upper).sum())
    if found.mip_dual_bound is not None:
        bound = max(bound, scale * found.mip_dual_bound - float(upper.sum()))
    if found.x is None:
        return None, bound
    ahead = np.zeros((K, K))
    for (i, j), value in zip(pairs, np.rint(found.x), strict=True):
        ahead[i, j], ahead[j, i] = value, 1 - value
    return tuple(int(k) for k in np.argsort(-ahead.sum(axis=1), kind="stable")), bound


def _triangles(K: int) -> NDArray[np.float64]:
    from scipy.sparse import csr_array

    number = {pair: at for at, pair in enumerate(combinations(range(K), 2))}
    triples = list(combinations(range(K), 3))
    rows = np.repeat(np.arange(len(triples)), 3)
    columns = [number[pair] for i, j, k in triples for pair in ((i, j), (j, k), (i, k))]
    matrix: NDArray[np.float64] = csr_array(
        (np.tile([1.0, 1.0, -1.0], len(triples)), (rows, columns)), shape=(len(triples), len(number))
    )
    return matrix
