"""The largest curvature at a checkpoint: what the length of a window is measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch import Tensor

    from commute_verify.checkpoints import Checkpoint
    from commute_verify.criterion import AdamPreconditioner

REACH = 0.3
"""The most that steps × lr × λ_max may be for order 2, as in ``predict_excess_loss``."""
PRODUCTS = 12
FEWEST = 4
ENTRIES = 1 << 30
"""Most entries of the Krylov vectors that are kept: 4 GiB in float32."""
ENOUGH = 0.02
"""Relative error at which the products end early."""


@dataclass(frozen=True)
class Curvature:
    """λ_max of the mixture's Hessian, from below, by ``products`` products; in units of 1 / flow time."""

    value: float
    products: int

    def reach(self, steps: int, lr: float) -> float:
        """steps × lr × λ_max."""
        return steps * lr * self.value


def largest_curvature(
    checkpoint: Checkpoint,
    batches: Mapping[str, Tensor],
    weights: Mapping[str, float],
    preconditioner: AdamPreconditioner | None,
    seed: int,
) -> Curvature:
    """λ_max of D^{1/2} (Σ_k w_k H_k) D^{1/2}, one batch for each domain.

    A Ritz value lies below it and comes near after a few products; fewer where vectors are long. Raises
    CommuteError where the model has too many parameters, or no second derivatives.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from commute_verify.criterion import hvp
    from commute_verify.criterion.lanczos import grown

    model = checkpoint.model
    held = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sizes = [p.numel() for p in held.values()]
    products = min(PRODUCTS, ENTRIES // sum(sizes) - 1)
    if products < FEWEST:
        raise CommuteError(f"{sum(sizes) / 1e6:.0f} M parameters are too many to keep {FEWEST} vectors of")
    root = None
    if preconditioner is not None:
        diagonal = preconditioner.on(model)
        root = torch.cat([diagonal[name].reshape(-1) for name in held]).sqrt()

    def product(flat: Tensor) -> Tensor:
        moved = flat if root is None else root * flat
        parts = torch.split(moved, sizes)
        vector = {name: part.view_as(p) for (name, p), part in zip(held.items(), parts, strict=True)}
        total = torch.zeros_like(flat)
        for name, batch in batches.items():
            if weights[name]:
                found = hvp(model, checkpoint.loss_fn, batch, vector)
                total += weights[name] * torch.cat([found[key].reshape(-1) for key in held])
        return total if root is None else root * total

    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(sum(sizes), generator=generator).to(checkpoint.device)
    value, count = 0.0, 0
    with sdpa_kernel(SDPBackend.MATH):
        for found in grown(product, start, products):
            values, vectors = torch.linalg.eigh(found.matrix())
            value, count = float(values[-1]), len(values)
            if found.residual * abs(float(vectors[-1, -1])) <= ENOUGH * abs(value):
                break
    return Curvature(value, count)
