"""What an effect answers with: a preference, a tilt, a violation, an excess loss, a cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Preference(NamedTuple):
    """Which of two domains to train first for a target.

    ``p_value`` is two-sided, corrected by Holm over all pairs and targets of the effect (and for repeated
    looks); ``resolved`` says that it is below alpha, and P above what arithmetic alone could make.
    ``excess_per_area`` is |P|: what the better order gains over constant weights for each unit of area, in
    loss per (flow time)²; the other order loses as much. ``words`` says all this in a sentence, with the
    1 − alpha Student interval of this pair alone.
    """

    first: str
    p_value: float
    resolved: bool
    excess_per_area: float
    words: str


class Violation(NamedTuple):
    """A pair, both active, whose tilt would lower the target: move ``later`` later, ``earlier`` earlier.

    ``value``, with its standard error, is what a tilt of δ for ε gains, in units of δ ε²; ``words`` gives
    its 1 − alpha Student interval.
    """

    target: str
    earlier: str
    later: str
    value: float
    stderr: float
    p_value: float
    words: str


class Tilt(NamedTuple):
    """P(L_i − L_j, Σ w_k L_k; L) for each target as (K, K), and its standard errors."""

    values: dict[str, Array]
    stderr: dict[str, Array]


@dataclass(frozen=True)
class ExcessLoss:
    """A predicted change of a target's loss; unpacks as (value, stderr).

    ``first_order`` and ``second_order`` are its parts, each (value, stderr): −Σ ΔW_k ⟨g_k, ∇L⟩ from a
    learning rate that varies, and the area's Σ A_ij P_ij over i < j.
    """

    value: float
    stderr: float
    first_order: tuple[float, float]
    second_order: tuple[float, float]

    def __iter__(self) -> Iterator[float]:
        """Value, then standard error."""
        return iter((self.value, self.stderr))


@dataclass(frozen=True)
class Cost:
    """What the estimate took. Passes count one batch each; ``hvps_per_estimate`` counts whole domains.

    ``evaluations``, ``seconds`` and ``peak_bytes`` include the start-up probe, which took
    ``start_up_seconds`` of them. ``peak_bytes`` is the peak of the process on a CPU and of the allocator on a
    GPU.
    """

    gradient_passes: int
    hvp_passes: int
    hvps_per_estimate: int
    evaluations: int
    seconds: float
    peak_bytes: int
    start_up_seconds: float = 0.0


def preference(
    first: str, later: str, target: str, p: float, size: tuple[float, float], alpha: float, resolved: bool
) -> Preference:
    """The preference in words; ``size`` is |P| and half the width of its 1 − alpha interval."""
    value, interval = f"{size[0]:.3g}", _interval(size, alpha)
    if resolved:
        words = (
            f"Train {first} first and {later} after it: {target} loss ends {value} lower ({interval}) than "
            f"with constant weights, for each unit of area (flow time²) between them (p = {p:.2g})."
        )
    else:
        words = (
            f"The order of {first} and {later} is not resolved for {target} loss (p = {p:.2g}): {first} "
            f"first gains {value} ({interval}) for each unit of area (flow time²). Give more batches, or "
            "leave the order."
        )
    return Preference(first, p, resolved, size[0], words)


def violation(
    target: str,
    earlier: str,
    later: str,
    size: tuple[float, float],
    stderr: float,
    p: float,
    alpha: float,
) -> Violation:
    """The violation in words; ``size`` is the value and half the width of its 1 − alpha interval."""
    words = (
        f"For {target} loss, move {later} later and {earlier} earlier: a tilt of δ for ε gains "
        f"{size[0]:.3g} δε² ({_interval(size, alpha)}; p = {p:.2g})."
    )
    return Violation(target, earlier, later, size[0], stderr, p, words)


def _interval(size: tuple[float, float], alpha: float) -> str:
    """The interval of a value and half its width, with its level: "95%: 0.819 to 1.09"."""
    value, half = size
    return f"{100 * (1 - alpha):.4g}%: {value - half:.3g} to {value + half:.3g}"
