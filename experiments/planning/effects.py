"""Order effects made of numbers: the exact P of a problem, or a true P under noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import Cost, OrderEffect

Array = NDArray[np.float64]

NO_COST = Cost(0, 0, 0, 0, 0.0, 0)


def effect_of(P: Array, noise: Array) -> OrderEffect:
    """One target, P (K, K), whose replicates are P plus noise (R, K, K), both antisymmetric."""
    K = len(P)
    domains = tuple(str(k + 1) for k in range(K))
    replicates = P + noise
    slopes = np.zeros((len(noise), 1, K))
    return OrderEffect(domains, {"target": {"1": 1.0}}, replicates[:, None], slopes, NO_COST, "given")


def exact(P: Array) -> OrderEffect:
    """P without an error."""
    return effect_of(P, np.zeros((2, *P.shape)))


def antisymmetric(rng: np.random.Generator, *shape: int) -> Array:
    """Gaussian antisymmetric matrices (…, K, K), entries of variance 1."""
    drawn = rng.normal(size=shape)
    upper = np.triu(drawn, k=1)
    return np.asarray(upper - upper.swapaxes(-1, -2))
