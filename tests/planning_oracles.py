"""Oracles for the tests of planning: permutations, vertices and SciPy's flows, none of them from planning."""

from itertools import combinations, permutations, product

import numpy as np
from scipy.linalg import expm

from commute_verify.criterion import Cost, OrderEffect

NAMES = ("en", "ru", "code", "web", "books", "math", "law", "news", "talk", "wiki", "mail", "code2", "chat")


def antisymmetric(rng, *shape, whole=False):
    drawn = rng.integers(-4, 5, size=shape).astype(float) if whole else rng.normal(size=shape)
    return drawn - drawn.swapaxes(-1, -2)


def effect_of(P, spread=0.05, replicates=8, seed=0, **fields):
    """An effect whose mean P (T, K, K) is the one given, with replicates that spread around it."""
    T, K, _ = P.shape
    rng = np.random.default_rng(seed)
    noise = spread * antisymmetric(rng, replicates, T, K, K)
    noise -= noise.mean(axis=0)
    values = P + noise
    values = (values - values.swapaxes(-1, -2)) / 2
    mixing = {f"to {NAMES[t]}": {NAMES[t % K]: 1.0} for t in range(T)}
    cost, slopes = Cost(1, 1, 1, 1, 1.0, 1), np.zeros((replicates, T, K))
    return OrderEffect(NAMES[:K], mixing, values, slopes, cost, "given", **fields)


def cost_of(C, order):
    return sum(C[i, j] for i, j in combinations(order, 2))


def all_costs(C):
    """Every order with its cost, cheapest first, equal costs in the order of the items."""
    costs = {order: cost_of(C, order) for order in permutations(range(len(C)))}
    return sorted(((round(cost, 9), order) for order, cost in costs.items()))


def vertices(below, above):
    """Every vertex of −below ≤ D ≤ above, ΣD = 0: all domains but one are at a bound."""
    K = len(below)
    for free in range(K):
        rest = [k for k in range(K) if k != free]
        for ends in product((0, 1), repeat=K - 1):
            D = np.zeros(K)
            for k, end in zip(rest, ends, strict=True):
                D[k] = above[k] if end else -below[k]
            D[free] = -D.sum()
            if -below[free] - 1e-12 <= D[free] <= above[free] + 1e-12:
                yield D


def flow(hessians, centers, weights, durations, theta):
    """The end of θ' = −Σ w_k A_k (θ − b_k), by matrix exponentials of the affine field."""
    n = len(theta)
    for w, time in zip(weights, durations, strict=True):
        field = np.zeros((n + 1, n + 1))
        field[:n, :n] = -np.einsum("k,kij->ij", w, hessians)
        field[:n, n] = np.einsum("k,kij,kj->i", w, hessians, centers)
        theta = (expm(time * field) @ np.append(theta, 1.0))[:n]
    return theta


def quadratics(rng, K, n=4):
    """Hessians, centres and a starting point."""
    roots = rng.normal(size=(K, n, n))
    return roots @ roots.swapaxes(1, 2) / n, rng.normal(size=(K, n)), rng.normal(size=n)


def loss(hessians, centers, k, theta):
    return 0.5 * (theta - centers[k]) @ hessians[k] @ (theta - centers[k])


def criterion(hessians, centers, k, theta):
    """P (K, K) for the loss of domain k, written out: ⟨H_j g_i − H_i g_j, ∇L⟩."""
    g = [A @ (theta - b) for A, b in zip(hessians, centers, strict=True)]
    K = len(g)
    return np.array([[(hessians[j] @ g[i] - hessians[i] @ g[j]) @ g[k] for j in range(K)] for i in range(K)])
