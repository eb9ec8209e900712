r"""Affine descent by Lanczos: x = −f(A) b from products with A alone, and a bound on its error.

In the Krylov space of b, A Qᵀ = Qᵀ T + β q_{m+1} e_mᵀ, the descent has the exact solution −‖b‖ Qᵀ f(T) e_1.
Seen from the whole space it leaves a residual β |e_mᵀ x_m(s)| along q_{m+1} at every time s, and the error is
that residual carried on by the descent itself:

    ‖x(t) − x_m(t)‖ ≤ β ∫₀ᵗ e^{ν(t − s)} |e_mᵀ x_m(s)| ds,     ν = max(0, −λ_min).

No convergence theory is needed, and nothing is estimated but λ_min, which is read off T.
Source: the residual of the projected ODE, as in Celledoni and Moret (1997) and Botchev et al. (2013).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.lanczos import Operator, Tridiagonal, grown
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.clock import Clock


class Descent(NamedTuple):
    """A displacement x (n,), a bound on its error, and the products and extreme Ritz values behind it.

    ``growth`` is the factor by which an error made before would grow.
    """

    displacement: Tensor
    error: float
    products: int
    lowest: float
    highest: float
    growth: float


def descend(
    operator: Operator,
    b: Tensor,
    clock: Clock,
    *,
    tolerance: float,
    max_products: int,
    device: torch.device | None = None,
) -> Descent:
    """−f(A) b, to ``tolerance`` relative to its own length, or as near as ``max_products`` products come.

    ``error`` says how near that is. The basis lies on ``device``, by default where b does. Raises
    DivergenceError where the descent overflows, and as ``lanczos``.

    >>> from commute_verify.criterion.prediction.clock import Flow
    >>> a = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> found = descend(lambda v: a * v, torch.ones(2, dtype=torch.float64), Flow(50.0),
    ...                 tolerance=1e-9, max_products=9)
    >>> [round(x, 9) for x in found.displacement.tolist()], found.products
    ([-1.0, -0.5], 2)
    """
    length = float(torch.linalg.vector_norm(b))
    if length == 0:
        return Descent(torch.zeros_like(b), 0.0, 0, 0.0, 0.0, 1.0)
    if not math.isfinite(length):
        raise DivergenceError(
            f"the descent overflows: a stage of flow time {clock.time:.3g} starts from a gradient of length "
            f"{length:.3g}; shorten the window, or lower the learning rate"
        )
    for found in grown(operator, b, max_products, device):
        values, vectors = _eigen(found)
        lowest, highest = min(0.0, float(values[0])), max(0.0, float(values[-1]))
        with np.errstate(over="ignore", invalid="ignore"):
            coefficients = -length * (vectors @ (clock.filter(values) * vectors[0]))
            size = float(np.linalg.norm(coefficients))
            left = clock.error(values, vectors[-1] * vectors[0], lowest, highest)
        error = found.residual * length * left
        if error <= tolerance * size or not np.isfinite(size):
            break
    x = found.basis.combined(torch.from_numpy(coefficients))
    if not (np.isfinite(size) and bool(x.isfinite().all())):
        raise DivergenceError(
            f"the descent overflows: curvature from {lowest:.3g} to {highest:.3g} for a flow time of "
            f"{clock.time:.3g}; shorten the window, or lower the learning rate"
        )
    return Descent(x, error, len(values), lowest, highest, clock.growth(lowest, highest))


def _eigen(found: Tridiagonal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, vectors = torch.linalg.eigh(found.matrix())
    return values.numpy(), vectors.numpy()
