r"""How far an affine descent has come: in flow time, or in discrete steps.

With A symmetric and a constant gradient b at the start, both end at −f(A) b:

    flow    x' = −(b + A x) for t              f(λ) = (1 − e^{−tλ}) / λ = t φ₁(−tλ)
    bent    x' = −(1 + κA)(b + A x) for t      f(λ) = (1 − e^{−tλ − tκλ²}) / λ
    steps   x ← x − η_n (b + A x), n = 1 … N   f(λ) = (1 − Π_n (1 − η_n λ)) / λ

A flow is bent to follow discrete steps: it is their modified equation to second order in ηλ.
Source: backward error analysis, as in Hairer, Lubich and Wanner (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NODES = 32
"""Gauss and Legendre points for the error of a flow."""


class Clock(Protocol):
    """A way to advance."""

    @property
    def time(self) -> float:
        """Flow time: t, or Σ η_n."""

    def filter(self, values: Array) -> Array:
        """f(λ) for each eigenvalue."""

    def error(self, values: Array, shares: Array, lowest: float, highest: float) -> float:
        """What a residual leaves: Σ_j shares_j f_s(λ_j) summed in absolute value over the way s, grown.

        Between ``lowest`` and ``highest`` lie the eigenvalues of A, as far as they are known.
        """

    def growth(self, lowest: float, highest: float) -> float:
        """The largest factor by which a displacement can grow on the way."""


@dataclass(frozen=True)
class Flow:
    """Gradient flow for a time t, bent by tκ.

    >>> Flow(2.0).filter(np.array([0.0])).tolist()
    [2.0]
    """

    time: float
    bend: float = 0.0

    def filter(self, values: Array) -> Array:
        """(1 − e^{−tλ − tκλ²}) / λ."""
        return self._risen(1.0, values)

    def error(self, values: Array, shares: Array, lowest: float, highest: float) -> float:
        """∫₀ᵗ e^{ν(t − s)} ((1 + κρ) |Σ_j shares_j f_s(λ_j)| + κ |Σ_j shares_j e_s(λ_j)|) ds.

        ν = max(0, −lowest), ρ is the larger of the two ends in size, and e_s = e^{−sλ − sκλ²} = 1 − λ f_s.
        """
        points, widths = np.polynomial.legendre.leggauss(NODES)
        done = (points + 1) / 2
        size = np.abs(self._risen(done[:, None], values) @ shares)
        if self.bend:
            kappa = self.bend / self.time
            with np.errstate(over="ignore", invalid="ignore"):
                left = np.exp(-done[:, None] * (self.time * values + self.bend * values**2))
                size = (1 + kappa * max(highest, -lowest)) * size + kappa * np.abs(left @ shares)
        with np.errstate(over="ignore"):
            grown = np.exp(max(0.0, -lowest) * self.time * (1 - done))
        return float(np.sum(self.time * widths / 2 * grown * size))

    def growth(self, lowest: float, highest: float) -> float:
        """e^{νt}, at least 1."""
        with np.errstate(over="ignore"):
            return float(np.exp(max(0.0, -lowest) * self.time))

    def _risen(self, done: Array | float, values: Array) -> Array:
        """f(λ) after a share of the way."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            z = np.asarray(done * (self.time * values + self.bend * values**2), dtype=np.float64)
            found: Array = np.where(
                values == 0, done * self.time, -np.expm1(-z) / np.where(values == 0, 1.0, values)
            )
        return found


@dataclass(frozen=True, eq=False)
class Steps:
    """Discrete steps with learning rates η_n.

    >>> Steps(np.array([0.5, 0.5])).filter(np.array([0.0, 1.0])).tolist()
    [1.0, 0.75]
    """

    rates: Array

    @property
    def time(self) -> float:
        """Σ η_n."""
        return float(self.rates.sum())

    def filter(self, values: Array) -> Array:
        """(1 − Π(1 − η_n λ)) / λ, by the recursion f ← f + η_n (1 − λ f)."""
        found = np.zeros_like(values)
        with np.errstate(over="ignore", invalid="ignore"):
            for rate in self.rates:
                found = found + rate * (1 - values * found)
        return found

    def error(self, values: Array, shares: Array, lowest: float, highest: float) -> float:
        """Σ_n η_n Π_{later} ρ |Σ_j shares_j f_n(λ_j)| with ρ = max(1, |1 − ηλ|) at both ends."""
        found, total = np.zeros_like(values), 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for rate in self.rates:
                total = _factor(rate, lowest, highest) * total + rate * abs(float(found @ shares))
                found = found + rate * (1 - values * found)
        return total

    def growth(self, lowest: float, highest: float) -> float:
        """Π_n max(1, |1 − η_n λ|) at both ends."""
        with np.errstate(over="ignore"):
            return float(np.prod([_factor(rate, lowest, highest) for rate in self.rates]))


def _factor(rate: float, lowest: float, highest: float) -> float:
    return max(1.0, abs(1 - rate * lowest), abs(1 - rate * highest))
