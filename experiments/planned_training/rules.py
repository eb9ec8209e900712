"""Rankings of domains that know nothing of order effects: a rank for each, the highest trained last."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rankings(gradients: Array, toward: Array, weights: Array, randoms: int, seed: int) -> Mapping[str, Array]:
    """Ranks (K,) from gradients g_k (K, n) of the domains, the target's gradient u (n,) and the weights (K,).

    "cosine" trains the domain with the largest cos(g_k, u) last, "gradient norm" the one with the largest
    |g_k|, "smallest last" the one with the smallest weight; each has its reverse.

    >>> found = rankings(np.eye(2), np.array([1.0, 0.0]), np.array([0.4, 0.6]), 1, seed=0)
    >>> found["cosine"].tolist(), found["smallest last"].tolist(), found["largest last"].tolist()
    ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    """
    norms = np.linalg.norm(gradients, axis=1)
    cosines = gradients @ toward / (norms * np.linalg.norm(toward))
    draw = np.random.default_rng([seed, 7])
    return {
        "cosine": ranks(cosines),
        "cosine, reversed": ranks(-cosines),
        "gradient norm": ranks(norms),
        "gradient norm, reversed": ranks(-norms),
        "smallest last": ranks(-weights),
        "largest last": ranks(weights),
        **{f"random {n + 1}": draw.permutation(len(weights)).astype(np.float64) for n in range(randoms)},
    }


def ranks(scores: Array) -> Array:
    """Places in ascending order, from 0; equal scores keep their order.

    >>> ranks(np.array([0.3, -1.0, 0.5])).tolist()
    [1.0, 0.0, 2.0]
    """
    found = np.empty(len(scores))
    found[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return found
