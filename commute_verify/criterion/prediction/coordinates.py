r"""Local derivatives in the coordinates where a preconditioned descent is plain: x = D^{-1/2}(θ − θ₀).

There gradients are √D g, Hessians √D H √D, and weight decay λ is the gradient λ(x₀ + x) of one more loss,
which every step trains with weight 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.lanczos import AsymmetryError, grown
from commute_verify.criterion.prediction.optimizer import Scale
from commute_verify.criterion.prediction.surface import Surface

Array = NDArray[np.float64]

PROBES = 5
"""Products that λ_max along the mixture's gradient is read from."""
CANCELLED = 0.1
"""A mixture's gradient this short beside the longest domain's does not point to where the domains go."""


def outward(theta: Tensor, root: Tensor | None) -> Tensor:
    """D^{-1/2} θ, and 0 where D = 0: what does not learn stays where it is."""
    return theta if root is None else torch.where(root > 0, theta / root, 0.0)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """√D (n,) or None, and λ."""

    root: Tensor | None
    decay: Scale

    @property
    def decays(self) -> bool:
        """Whether weight decay is one more loss."""
        return isinstance(self.decay, Tensor) or self.decay != 0

    def inward(self, vector: Tensor) -> Tensor:
        """√D v: a gradient, or a direction that a Hessian is to act on."""
        return vector if self.root is None else self.root * vector

    def gradients(self, surface: Surface, at: Tensor | None = None) -> Tensor:
        """Of every domain, and of weight decay if there is any: (K or K + 1, n)."""
        g = self.inward(surface.gradients(at))
        if not self.decays:
            return g
        theta = surface.theta if at is None else at
        return torch.cat([g, (self.decay * outward(theta, self.root))[None]])

    def mixed(self, weights: Array, rows: Tensor) -> Tensor:
        """Σ_k w_k of a row for every domain, and of weight decay's with weight 1."""
        return rows.new_tensor(weights.tolist() + [1.0] * self.decays) @ rows

    def product(self, surface: Surface, domain: int, v: Tensor, at: Tensor | None = None) -> Tensor:
        """H_k v of one domain, or of weight decay, which comes last."""
        if domain == len(surface.names):
            return self.decay * v
        alone = np.eye(len(surface.names))[domain].tolist()
        return self.inward(surface.product(alone, self.inward(v), at))

    def third(self, surface: Surface, domain: int, v: Tensor, along: Tensor) -> Tensor:
        """D³L_k(v, along), by a central difference of products; 0 for weight decay."""
        length = float(torch.linalg.vector_norm(self.inward(along)))
        if domain == len(surface.names) or not length:
            return torch.zeros_like(v)
        reach = torch.finfo(v.dtype).eps ** 0.25 / length
        step = reach * self.inward(along)
        ahead, behind = (self.product(surface, domain, v, surface.theta + sign * step) for sign in (1, -1))
        found: Tensor = (ahead - behind) / (2 * reach)
        return found

    def curvature(self, surface: Surface, weights: Array, g: Tensor) -> float:
        """The largest Ritz value of the mixture's Hessian along its gradient, from a few products.

        Where the domains' gradients cancel in the mixture, along the longest of them. nan where products are
        too noisy, as differences of float32 gradients across the kinks of a ReLU are.
        """
        start = self.mixed(weights, g)
        lengths = torch.linalg.vector_norm(g, dim=1)
        if float(torch.linalg.vector_norm(start)) <= CANCELLED * float(lengths.max()):
            start = g[int(lengths.argmax())]
        if not bool(start.any()):
            return 0.0

        def operator(v: Tensor) -> Tensor:
            inner = surface.product(weights.tolist(), self.inward(v))
            return self.inward(inner) + self.decay * v

        try:
            found = list(grown(operator, start, PROBES))[-1]
        except AsymmetryError:
            return math.nan
        return float(torch.linalg.eigvalsh(found.matrix()).abs().max())
