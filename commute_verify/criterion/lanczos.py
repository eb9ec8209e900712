r"""Lanczos tridiagonalisation of a symmetric operator that is given by its products alone.

    A Qᵀ = Qᵀ T + r e_mᵀ,   Q Qᵀ = I,   T = tridiag(β, α, β)

Every new direction is orthogonalised against all earlier ones, twice, so that Q is orthonormal to roundoff
and no eigenvalue is found more often than it is there; m vectors are kept for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from commute_verify.criterion.basis import Basis
from commute_verify.errors import CommuteError

Operator = Callable[[Tensor], Tensor]


class AsymmetryError(CommuteError):
    """Products that are no symmetric operator's, or too noisy to tell."""


ASYMMETRY = 0.1
"""A part of A q outside the recurrence, relative to ‖T‖, that noise of products does not explain."""


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """What m steps found: the compression T = Q A Qᵀ of A to a Krylov space.

    ``basis`` Q (m, n), rows orthonormal, in the dtype of the start, which grows where Lanczos goes on;
    ``diagonal`` α (m,) and ``off_diagonal`` β (m − 1,) float64 on the CPU; ``residual`` = ‖r‖, the β that
    would come next, 0 where the space is invariant and T's eigenvalues are A's.
    """

    basis: Basis
    diagonal: Tensor
    off_diagonal: Tensor
    residual: float

    def matrix(self) -> Tensor:
        """T as a dense (m, m) float64 tensor."""
        beta = self.off_diagonal
        return torch.diag(self.diagonal) + torch.diag(beta, 1) + torch.diag(beta, -1)


class Ritz(NamedTuple):
    """An approximate eigenvalue; an exact one of A lies within ``error`` of it, after ``steps`` products."""

    value: float
    error: float
    steps: int


def lanczos(operator: Operator, start: Tensor, steps: int) -> Tridiagonal:
    """At most ``steps`` products of the operator, from ``start`` (n,), flat and real.

    Fewer where the space is exhausted before (``residual`` 0). Work beside the products: O(n·steps²); memory
    n·steps. Raises CommuteError for a start that is zero, not finite or not a flat real tensor, for products
    of another shape or not finite, and for an operator that is plainly not symmetric.
    Source: Lanczos (1950); full reorthogonalisation, twice: Parlett (1998).

    >>> a = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    >>> found = lanczos(lambda v: a * v, torch.ones(3, dtype=torch.float64), 3)
    >>> [round(x, 12) for x in torch.linalg.eigvalsh(found.matrix()).tolist()]
    [1.0, 2.0, 4.0]
    """
    if steps < 1:
        raise CommuteError(f"steps={steps}; give at least 1")
    return list(grown(operator, start, steps))[-1]


def largest_eigenvalue(
    operator: Operator, start: Tensor, *, tolerance: float = 1e-6, max_steps: int = 200
) -> Ritz:
    """λ_max (algebraically largest) of a symmetric operator, to a relative ``tolerance``.

    Stops when the residual of the largest Ritz pair, ‖A y − λ y‖ = ‖r‖ |s_m|, is at most tolerance·|λ|; a
    start that has no part along the eigenvector finds another, so give a random one.
    Raises CommuteError where ``max_steps`` products do not suffice, and as :func:`lanczos` does.

    >>> a = torch.tensor([-9.0, 1.0, 4.0], dtype=torch.float64)
    >>> round(largest_eigenvalue(lambda v: a * v, torch.ones(3, dtype=torch.float64)).value, 6)
    4.0
    """
    if max_steps < 1 or not tolerance > 0:
        raise CommuteError(f"tolerance={tolerance}, max_steps={max_steps}; give positive ones")
    ritz = Ritz(float("nan"), float("inf"), 0)
    for found in grown(operator, start, max_steps):
        values, vectors = torch.linalg.eigh(found.matrix())
        error = found.residual * abs(float(vectors[-1, -1]))
        ritz = Ritz(float(values[-1]), error, len(values))
        if error <= tolerance * abs(ritz.value):
            return ritz
    if ritz.error == 0:
        return ritz
    raise CommuteError(
        f"λ_max = {ritz.value:.6g} ± {ritz.error:.1g} after {ritz.steps} products, not within "
        f"{tolerance:g} of itself; give a larger max_steps or tolerance"
    )


def grown(
    operator: Operator, start: Tensor, steps: int, device: torch.device | None = None
) -> Iterator[Tridiagonal]:
    """``lanczos`` step by step: what is found after each product, until the space is exhausted.

    The basis lies on ``device``, by default where the start does.
    """
    if start.ndim != 1 or not start.is_floating_point() or not start.isfinite().all():
        raise CommuteError(
            f"start of shape {tuple(start.shape)}, {start.dtype}; give a flat, finite real tensor"
        )
    length = torch.linalg.vector_norm(start)
    if not length > 0:
        raise CommuteError("start is the zero vector; give a random one")
    basis = Basis(start, device)
    w, residual = start, float(length)
    alpha: list[float] = []
    beta: list[float] = []
    scale, eps = 0.0, torch.finfo(start.dtype).eps
    for _ in range(min(steps, start.numel())):
        if len(basis):
            beta.append(residual)
        basis.append(w / residual)
        w = operator(basis.last).detach()
        if w.shape != start.shape or not w.isfinite().all():
            raise CommuteError(
                f"the operator gave shape {tuple(w.shape)} or numbers that are not finite; expected finite "
                f"ones of shape {tuple(start.shape)}"
            )
        w, parts = basis.orthogonalised(w.to(start.dtype))
        alpha.append(float(parts[-1]))
        residual = float(torch.linalg.vector_norm(w))
        scale = max(scale, abs(alpha[-1]), residual, *beta[-1:])
        stray = float(parts[:-2].abs().max()) if len(parts) > 2 else 0.0
        if stray > ASYMMETRY * scale:
            raise AsymmetryError(
                f"the operator is not symmetric (⟨q, A q'⟩ = {stray:.2g} where 0 is due, ‖A‖ ≥ {scale:.2g}); "
                "give Hessian-vector products of one loss on one batch, by double backward or in float64 "
                "where differences of gradients are too noisy"
            )
        exhausted = residual <= 16 * eps * start.numel() ** 0.5 * scale
        residual = 0.0 if exhausted or len(basis) == start.numel() else residual
        yield Tridiagonal(
            basis,
            torch.tensor(alpha, dtype=torch.float64),
            torch.tensor(beta, dtype=torch.float64),
            residual,
        )
        if not residual:
            return
