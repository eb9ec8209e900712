r"""Frozen curvature: the exact descent of the domains' quadratic models at θ + c, whatever its length.

    d' = −D (g_w + H_w (d − c)) − λ(θ + d),     g_w = Σ_k w_k g_k,  H_w = Σ_k w_k H_k  at θ + c

on each stage of a schedule, by Lanczos. With a preconditioner D the descent runs in x = D^{-1/2} (d − c),
where its matrix √D H √D + λ is symmetric. Weight decay λ is a drift common to all domains, per flow time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.clock import Clock
from commute_verify.criterion.prediction.coordinates import outward
from commute_verify.criterion.prediction.krylov import descend
from commute_verify.criterion.prediction.optimizer import Scale
from commute_verify.criterion.prediction.surface import Surface

Array = NDArray[np.float64]


class Stage(NamedTuple):
    """Weights (K,) in the surface's order, and how long they hold; they take hold ``late``, in flow time."""

    weights: Array
    clock: Clock
    late: float = 0.0


class Reached(NamedTuple):
    """How far a schedule has come: d (n,) from θ, a bound on its error, products, and what was seen of H.

    ``error`` bounds the error of D^{-1/2} d, roundoff included, and ``length`` is that of the way there.
    ``products`` counts a mixture's Hessian-vector products in each stage, those that start it included.
    ``moment`` (n,) is the gradient D^{1/2} ∇L that momentum has settled from; None where nobody asks. What
    it takes is not in ``products``.
    """

    displacement: Tensor
    error: float = 0.0
    length: float = 0.0
    products: tuple[int, ...] = ()
    lowest: float = 0.0
    highest: float = 0.0
    growth: float = 1.0
    moment: Tensor | None = None


@dataclass(frozen=True, eq=False)
class QuadraticModel:
    """The domains' quadratic models at θ + c: gradients g (K, n), H by products, D (n,) or None, and λ.

    ``centre`` is c (n,), or None at θ itself.
    """

    surface: Surface
    g: Tensor
    D: Tensor | None = None
    decay: Scale = 0.0
    tolerance: float = 2e-4
    max_products: int = 100
    centre: Tensor | None = None
    basis_device: torch.device | None = None

    @property
    def at(self) -> Tensor:
        """θ + c (n,)."""
        theta = self.surface.theta
        return theta if self.centre is None else theta + self.centre

    def away(self, d: Tensor) -> Tensor:
        """d − c (n,)."""
        return d if self.centre is None else d - self.centre

    def frozen_at(self, d: Tensor, trained: Sequence[int]) -> QuadraticModel:
        """The quadratic models at θ + d (n,); gradients of domains that are not ``trained`` are left at 0."""
        at = self.surface.theta + d
        g = torch.zeros_like(self.g)
        for k in trained:
            g[k] = self.surface.loss_and_gradient(k, at)[1]
        return replace(self, g=g, centre=d)

    def run(
        self,
        stages: Sequence[Stage],
        reached: Reached,
        visit: Callable[[Array, Tensor], None] | None = None,
    ) -> Reached:
        """How far a schedule that has come to ``reached`` comes after all stages, earliest first.

        An error made before a stage is carried on by it: it grows only by negative curvature, or by steps
        that are too long. ``visit`` is called with the weights of each stage and d at its two ends. Raises
        DivergenceError where rounding grows to all there is.
        """
        root = None if self.D is None else self.D.sqrt()
        at = self.at
        eps = torch.finfo(at.dtype).eps
        for stage in stages:
            w = stage.weights

            def operator(v: Tensor, w: Array = w) -> Tensor:
                inner = v if root is None else root * v
                product = self.surface.product(w.tolist(), inner, at)
                return (product if root is None else root * product) + self.decay * v

            b = self.g.new_tensor(w.tolist()) @ self.g
            if root is not None:
                b = root * b
            b = b + self.decay * outward(at, root)
            size = float(torch.linalg.vector_norm(b))
            x = outward(self.away(reached.displacement), root)
            if moved := bool(x.any()):
                turned = operator(x)
                b = b + turned
                size += float(torch.linalg.vector_norm(turned))
            begin, jumped, late = reached.displacement, 0.0, 0.0
            if stage.late and reached.moment is not None:
                late = stage.late
                jump = late * (b - reached.moment)
                begin = begin + (jump if root is None else root * jump)
                turned = operator(jump)
                b = b + turned
                size += float(torch.linalg.vector_norm(turned))
                jumped = float(torch.linalg.vector_norm(jump))
            found = descend(
                operator,
                b,
                stage.clock,
                tolerance=self.tolerance,
                max_products=self.max_products,
                device=self.basis_device,
            )
            grown = reached.growth * found.growth
            if grown * eps > 1:
                raise DivergenceError(
                    f"curvature from {found.lowest:.3g} to {found.highest:.3g} amplifies errors by "
                    f"{grown:.3g} on the way, so that nothing but rounding is left; shorten the window, or "
                    "lower the learning rate"
                )
            step = found.displacement if root is None else root * found.displacement
            d = begin + step
            if visit is not None:
                for end in (reached.displacement, d):
                    visit(w, end)
            moment = None
            if reached.moment is not None:
                moment = b + operator(found.displacement)
            way, left = (float(torch.linalg.vector_norm(v)) for v in (found.displacement, b))
            rounding = eps * (size * (way / left if left else stage.clock.time) + jumped)
            steep = sum(max(seen.highest, -seen.lowest) for seen in (reached, found))
            carried = reached.error * (1 + late * steep)
            reached = Reached(
                d,
                carried * found.growth + found.error + rounding,
                reached.length + way + jumped,
                (*reached.products, found.products + moved),
                min(reached.lowest, found.lowest),
                max(reached.highest, found.highest),
                grown,
                moment,
            )
        return reached
