"""What a plan is asked about, held to: a target of the effect, numbers per domain, a learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]


def target_of(effect: OrderEffect, name: str | None) -> str:
    """The target itself, or the only one, or "mixture"."""
    chosen = name or (effect.targets[0] if len(effect.targets) == 1 else "mixture")
    if chosen not in effect.targets:
        raise CommuteError(f"no target {chosen!r}; the targets are {', '.join(effect.targets)}")
    return chosen


def per_domain(effect: OrderEffect, numbers: Mapping[str, float], what: str) -> Array:
    """The numbers (K,) in the effect's order; every domain, and no other."""
    odd = sorted(set(numbers) ^ set(effect.domains))
    if odd:
        raise CommuteError(f"{what} that miss or do not know {', '.join(odd)}; name all of {_named(effect)}")
    values = np.array([numbers[name] for name in effect.domains], dtype=np.float64)
    if not np.isfinite(values).all():
        raise CommuteError(f"{what} are {dict(numbers)}; give finite numbers")
    return values


def positive(value: float, what: str) -> float:
    """The number, if it is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise CommuteError(f"{what} is {value}; give a finite number above 0")
    return float(value)


def scale_of(lr: float, steps: float) -> float:
    """½ lr² ``steps``, of steps or of pairs of them, if float64 can hold it and it is above 0.

    >>> scale_of(0.5, 4)
    0.5
    """
    scale = 0.5 * lr * lr * steps
    if not 0 < scale < math.inf:
        raise CommuteError(
            f"½ lr² · {steps:g} at lr {lr:g} is {scale:g} in float64; give another lr or totals"
        )
    return scale


def of_target(effect: OrderEffect, name: str) -> tuple[Array, Array, Array]:
    """P (K, K), its replicates (R, K, K) and its rounding (K, K) for one target."""
    t = effect.targets.index(name)
    return effect.P[name], effect.P_replicates[:, t], effect.rounding[t]


def unresolved_pairs(effect: OrderEffect, target: str, alpha: float) -> tuple[tuple[str, str], ...]:
    """The pairs of domains whose order has no resolved sign for the target."""
    return tuple(
        pair
        for pair in combinations(effect.domains, 2)
        if not effect.prefer_first(*pair, target, alpha=alpha).resolved
    )


def pairs_in_words(pairs: tuple[tuple[str, str], ...], most: int = 4) -> str:
    """The first few pairs, and how many more there are."""
    shown = ", ".join(f"{one} and {other}" for one, other in pairs[:most])
    return shown if len(pairs) <= most else f"{shown} and {len(pairs) - most} more pairs"


def _named(effect: OrderEffect) -> str:
    return ", ".join(effect.domains)


def on_simplex(effect: OrderEffect, weights: Mapping[str, float]) -> Array:
    """The weights (K,) in the effect's order, if they are at least 0 and sum to 1; their sum made exact."""
    w = per_domain(effect, weights, "weights")
    if w.min() < 0 or not math.isclose(w.sum(), 1.0, abs_tol=1e-9):
        raise CommuteError(f"weights {dict(weights)}; give numbers of at least 0 that sum to 1")
    scaled: Array = w / w.sum()
    return scaled


def split(steps: int, windows: int) -> list[int]:
    """So many windows of whole steps, as equal as can be, each of at least 2.

    >>> split(10, 3)
    [4, 3, 3]
    """
    if steps != int(steps) or windows != int(windows) or windows < 1 or steps < 2 * windows:
        raise CommuteError(
            f"{steps} steps in {windows} windows; a tilt needs whole windows of at least 2 steps each"
        )
    each, more = divmod(int(steps), int(windows))
    return [each + (n < more) for n in range(int(windows))]
