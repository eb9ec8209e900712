r"""Iterated sums and integrals of weights over steps: what schedules are to local predictions.

    flow    S_i = Σ_m x_i(m),  S_ij = Σ_{m<n} x_i(m) x_j(n) + ½ Σ_m x_i x_j,  and so on (Chen's identity)
    steps   the same over m < n alone: a step does not see itself

with x_i(m) = η_m w_i(m), and the letter that stands first trained earliest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def signature(x: Array, *, discrete: bool) -> tuple[Array, Array, Array]:
    """S_i (K,), S_ij (K, K) and S_ijk (K, K, K) of the pieces x (N, K).

    >>> one, two, _ = signature(np.array([[1.0, 0.0], [0.0, 1.0]]), discrete=True)
    >>> two.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    K = x.shape[1]
    one, two, three = np.zeros(K), np.zeros((K, K)), np.zeros((K, K, K))
    own = 0.0 if discrete else 1.0
    for piece in x:
        pair = own * np.multiply.outer(piece, piece) / 2
        three += np.multiply.outer(two, piece) + np.multiply.outer(one, pair)
        three += np.multiply.outer(pair, piece) / 3
        two += np.multiply.outer(one, piece) + pair
        one += piece
    return one, two, three
