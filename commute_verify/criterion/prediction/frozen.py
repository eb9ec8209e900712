r"""Frozen curvature: the exact descent of the domains' quadratic models at θ, whatever its length.

    d' = −D (g_w + H_w d) − λ(θ + d),     g_w = Σ_k w_k g_k,  H_w = Σ_k w_k H_k

on each stage of a schedule, by Lanczos. With a preconditioner D the descent runs in x = D^{-1/2} d, where its
matrix √D H √D + λ is symmetric. Weight decay λ is a drift common to all domains, per flow time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.prediction.clock import Clock
from commute_verify.criterion.prediction.coordinates import outward
from commute_verify.criterion.prediction.krylov import descend
from commute_verify.criterion.prediction.optimizer import Scale
from commute_verify.criterion.prediction.surface import Surface

Array = NDArray[np.float64]


class Stage(NamedTuple):
    """Weights (K,) in the surface's order, and how long they hold."""

    weights: Array
    clock: Clock


class Reached(NamedTuple):
    """Where a schedule ends: d (n,), a bound on its error, products over domains, and what was seen of H.

    ``error`` bounds the error of D^{-1/2} d, roundoff of the way included, and ``length`` is that of the way
    there. ``products`` counts Hessian-vector products of a mixture, those that start a stage included.
    """

    displacement: Tensor
    error: float
    length: float
    products: tuple[int, ...]
    lowest: float
    highest: float
    growth: float


@dataclass(frozen=True, eq=False)
class QuadraticModel:
    """The domains' quadratic models: their gradients g at θ (K, n), H by products, D (n,) or None, and λ.

    H is the Hessian ``at`` (n,) another point, or at θ.
    """

    surface: Surface
    g: Tensor
    D: Tensor | None = None
    decay: Scale = 0.0
    tolerance: float = 2e-4
    max_products: int = 100
    at: Tensor | None = None

    def moved(self, d: Tensor, trained: Sequence[int]) -> QuadraticModel:
        """The quadratic models at θ + d (n,), told from θ: their gradients there are ∇L_k(θ + d) − H_k d.

        Those of domains that are not ``trained`` are left at 0.
        """
        at = self.surface.theta + d
        g = torch.zeros_like(self.g)
        for k in trained:
            alone = np.eye(len(g))[k].tolist()
            g[k] = self.surface.loss_and_gradient(k, at)[1] - self.surface.product(alone, d, at)
        return replace(self, g=g, at=at)

    def run(self, stages: Sequence[Stage], visit: Callable[[Array, Tensor], None] | None = None) -> Reached:
        """The displacement after all stages, earliest first.

        An error made in a stage is carried on by the later ones: it grows only by negative curvature, or by
        steps that are too long. ``visit`` is called with the weights of each stage and d at its two ends.
        """
        root = None if self.D is None else self.D.sqrt()
        x = torch.zeros_like(self.surface.theta)
        eps = torch.finfo(x.dtype).eps
        error, length, growth, lowest, highest = 0.0, 0.0, 1.0, 0.0, 0.0
        products = []
        for stage in stages:
            w = stage.weights

            def operator(v: Tensor, w: Array = w) -> Tensor:
                inner = v if root is None else root * v
                product = self.surface.product(w.tolist(), inner, self.at)
                return (product if root is None else root * product) + self.decay * v

            b = self.g.new_tensor(w.tolist()) @ self.g
            if root is not None:
                b = root * b
            b = b + self.decay * outward(self.surface.theta, root)
            moved = bool(x.any())
            if moved:
                b = b + operator(x)
            found = descend(
                operator, b, stage.clock, tolerance=self.tolerance, max_products=self.max_products
            )
            if visit is not None:
                for end in (x, x + found.displacement):
                    visit(w, end if root is None else root * end)
            x = x + found.displacement
            way = float(torch.linalg.vector_norm(found.displacement))
            length += way
            error = error * found.growth + found.error + eps * way
            growth *= found.growth
            lowest, highest = min(lowest, found.lowest), max(highest, found.highest)
            products.append(found.products + moved)
        d = x if root is None else root * x
        return Reached(d, error, length, tuple(products), lowest, highest, growth)
