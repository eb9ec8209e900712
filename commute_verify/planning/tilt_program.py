"""The best bounded tilt, a linear program solved exactly: which domains move, how far, when to switch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commute_verify.errors import CommuteError
from commute_verify.planning.given import positive

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TiltBounds:
    """How far the weights of a window may move: up by at most ``up`` (K,), down by at most ``down`` (K,).

    A window of T steps at weights w trains w + D/a for a steps and w − D/(T − a) after them, which keeps
    every total. D (K,), ΣD = 0, is what is trained earlier, and the bounds hold in both stages:

        −min(a·down, (T − a)·up) ≤ D ≤ min(a·up, (T − a)·down)
    """

    up: Array
    down: Array

    @classmethod
    def around(
        cls, names: tuple[str, ...], weights: Array, max_tilt: float, limits: dict[str, tuple[float, float]]
    ) -> TiltBounds:
        """Weights move by at most ``max_tilt`` and stay in [0, 1] and within the limits of their domain.

        Raises CommuteError, which names the bound, for weights that are outside of it already.

        >>> TiltBounds.around(("en", "ru"), np.array([0.75, 0.25]), 0.5, {"en": (0.5, 1.0)}).down.tolist()
        [0.25, 0.25]
        """
        if positive(max_tilt, "max_tilt") > 1:
            raise CommuteError(f"max_tilt is {max_tilt:g}, and a weight moves by at most 1; give a share")
        unknown = sorted(set(limits) - set(names))
        if unknown:
            raise CommuteError(f"limits for {', '.join(unknown)}; the domains are {', '.join(names)}")
        low, high = np.array([limits.get(name, (0.0, 1.0)) for name in names], dtype=np.float64).T
        for name, w, least, most in zip(names, weights, low, high, strict=True):
            if not 0 <= least <= w <= most <= 1:
                raise CommuteError(
                    f"the weight {w:g} of {name} is not within its limits [{least:g}, {most:g}]; give limits "
                    "within [0, 1] that hold it, or start from other weights"
                )
        return cls(np.minimum(max_tilt, high - weights), np.minimum(max_tilt, weights - low))

    def only(self, free: NDArray[np.bool_]) -> TiltBounds:
        """The same for the free domains (K,), and no room for the others."""
        return TiltBounds(np.where(free, self.up, 0.0), np.where(free, self.down, 0.0))

    def box(self, a: ArrayLike, T: int) -> tuple[Array, Array]:
        """How far D may go below and above 0, each (…, K), for a switch after a (…) of T steps."""
        first, rest = np.asarray(a, np.float64)[..., None], T - np.asarray(a, np.float64)[..., None]
        below = np.minimum(first * self.down, rest * self.up)
        above = np.minimum(first * self.up, rest * self.down)
        return below, above


def best_shift(gain: Array, below: Array, above: Array) -> Array:
    """D (…, K) with ΣD = 0 and −below ≤ D ≤ above that makes Σ gain·D greatest: greedy, and exact.

    Start from −below and fill up the domains in the order of their gain until ΣD = 0: one domain stops in
    between, and its gain is the multiplier of ΣD = 0 (Dantzig, 1957).

    >>> best_shift(np.array([3.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0]), np.array([0.5, 1.0, 1.0])).tolist()
    [0.5, 0.5, -1.0]
    """
    shape = np.broadcast_shapes(gain.shape, below.shape, above.shape)
    order = np.argsort(np.broadcast_to(-gain, shape), axis=-1, kind="stable")
    room = np.take_along_axis(np.broadcast_to(below + above, shape), order, axis=-1)
    left = np.broadcast_to(below, shape).sum(axis=-1, keepdims=True)
    filled = np.clip(left - (np.cumsum(room, axis=-1) - room), 0.0, room)
    shift = np.empty(shape)
    np.put_along_axis(shift, order, filled, axis=-1)
    return shift - below


def worth(gain: Array, shift: Array) -> Array:
    """Σ_k gain_k D_k over the last axis."""
    total: Array = np.einsum("...k,...k->...", gain, shift)
    return total


def best_switch(gain: Array, bounds: TiltBounds, T: int) -> NDArray[np.int64]:
    """The number of steps a (…) before the switch that allows the greatest Σ gain·D, for gain (…, K).

    The greatest gain is concave in a, the value of a linear program in its right-hand side, so that
    bisection on its differences finds the best whole number.

    >>> int(best_switch(np.array([1.0, -1.0]), TiltBounds(np.array([0.1, 0.9]), np.array([0.9, 0.1])), 10))
    9
    """

    def value(a: NDArray[np.int64]) -> Array:
        return worth(gain, best_shift(gain, *bounds.box(a, T)))

    low, high = np.ones(gain.shape[:-1], np.int64), np.full(gain.shape[:-1], T - 1)
    while np.any(low < high):
        middle = (low + high) // 2
        rising = value(np.minimum(middle + 1, T - 1)) > value(middle)
        low, high = np.where(rising & (low < high), middle + 1, low), np.where(rising, high, middle)
    return low
