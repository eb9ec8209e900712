"""The verdict on an effect in words: what to train last, what that gains over a window, how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from commute_verify.cli import MOST_STEPS
from commute_verify.cli.curvature import REACH, Curvature
from commute_verify.criterion.statistics import half_width
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

if TYPE_CHECKING:
    from commute_verify.criterion import OrderEffect, Prediction

ALPHA = 0.05


@dataclass(frozen=True)
class Window:
    """``steps`` of training at ``lr``: half of them tilted one way, half the other."""

    steps: int
    lr: float

    def __post_init__(self) -> None:
        """Refuse what cannot be halved."""
        if self.steps % 2:
            raise CommuteError(
                f"--window {self.steps}; give an even number of steps, half of them for each domain"
            )
        if self.steps > MOST_STEPS:
            raise CommuteError(f"--window of more than {MOST_STEPS:g} steps; give fewer")

    def tilt(self, first: str, later: str, weights: Mapping[str, float]) -> WeightSchedule:
        """As much of ``first``, then of ``later``, as the weights allow at equal totals."""
        delta = min(weights[first], weights[later])
        return WeightSchedule.tilt(weights, first, later, delta, self.steps // 2)


@dataclass(frozen=True)
class Said:
    """The verdict on one target: a sentence for the screen, and whether it is a resolved one."""

    target: str
    first: str
    later: str
    words: str
    resolved: bool


def pair_weights(
    effect: OrderEffect, weights: Mapping[str, float] | None, one: str, other: str
) -> dict[str, float]:
    """The run's weights; without them one half for each of the pair, and nothing for the others."""
    if weights is not None:
        return {name: weights[name] for name in effect.domains}
    return {name: 0.5 * (name in (one, other)) for name in effect.domains}


def clearest(effect: OrderEffect, target: str) -> tuple[str, str]:
    """The pair of the smallest p-value, in the order to train it: (first, later)."""
    one, other = min(
        combinations(effect.domains, 2),
        key=lambda pair: effect.prefer_first(pair[0], pair[1], target).p_value,
    )
    first = effect.prefer_first(one, other, target).first
    return first, other if first == one else one


def said(
    effect: OrderEffect, target: str, weights: Mapping[str, float] | None, window: Window | None
) -> Said:
    """The verdict on a target from its clearest pair."""
    first, later = clearest(effect, target)
    answer = effect.prefer_first(first, later, target)
    gain = "" if window is None else gained(effect, target, first, later, weights, window)
    if answer.resolved:
        words = (
            f"Train {later} last, after {first}, for the {target} loss (p = {answer.p_value:.2g}, resolved)."
        )
    else:
        words = (
            f"Not resolved for the {target} loss: training {later} after {first} looks better, and may be "
            f"chance (p = {answer.p_value:.2g}). Give more {needed(effect, target, first, later)}, or leave "
            "the order as it is."
        )
    return Said(target, first, later, f"{words}{gain}{in_full(effect, target)}", answer.resolved)


def in_full(effect: OrderEffect, target: str) -> str:
    """With more than two domains: the order that all pairs agree on, or how many of them are resolved."""
    pairs = list(combinations(effect.domains, 2))
    if len(pairs) == 1:
        return ""
    answers = [effect.prefer_first(one, other, target) for one, other in pairs]
    resolved = sum(answer.resolved for answer in answers)
    wins = {name: sum(answer.first == name for answer in answers) for name in effect.domains}
    order = sorted(effect.domains, key=lambda name: -wins[name])
    if resolved == len(pairs) and len(set(wins.values())) == len(order):
        return f" All {len(pairs)} pairs agree: {', then '.join(order)}."
    if resolved == len(pairs):
        return f" All {len(pairs)} pairs are resolved, and go round in a circle: no order suits every pair."
    return f" Of {len(pairs)} pairs {resolved} are resolved; this is the clearest."


def gained(
    effect: OrderEffect,
    target: str,
    first: str,
    later: str,
    weights: Mapping[str, float] | None,
    window: Window,
) -> str:
    """What the tilt gains over the window by order 2, with its interval, in a sentence."""
    used = pair_weights(effect, weights, first, later)
    value, stderr = effect.excess_loss(window.tilt(first, later, used), window.lr)[target]
    half = float(half_width(np.array(stderr), len(effect.P_replicates), ALPHA))
    gain = 0.0 - value
    return (
        f" Over {window.steps} steps at lr {window.lr:g}, {way(used, first, later, window)}, it ends "
        f"{gain:.3g} lower than with constant weights (95%: {gain - half:.3g} to {gain + half:.3g}), "
        f"and {2 * gain:.3g} lower than the other way round."
    )


def way(used: Mapping[str, float], first: str, later: str, window: Window) -> str:
    """The tilt in words."""
    half, delta = window.steps // 2, min(used[first], used[later])
    if used[first] == used[later] == 0.5:
        return f"{half} of {first} and then {half} of {later}"
    return (
        f"{delta:g} of the weight moved from {later} to {first} for {half} steps and back from {first} to "
        f"{later} for {half}"
    )


def needed(effect: OrderEffect, target: str, first: str, later: str) -> str:
    """How many times the batches would resolve an effect of this size, at Holm's first level."""
    i, j = effect.domains.index(first), effect.domains.index(later)
    size, error = abs(effect.P[target][i, j]), effect.stderr[target][i, j]
    if not size:
        return "batches"
    asked = len(list(combinations(effect.domains, 2))) * len(effect.P)
    times = (float(half_width(error, len(effect.P_replicates), ALPHA / asked)) / size) ** 2
    return (
        f"batches (about {max(2, times):.0f} times as many if P is what it looks like)"
        if times < 200
        else "batches"
    )


def reach_words(curvature: Curvature | None, uncurved: str, window: Window) -> tuple[bool | None, str]:
    """Whether the window lies in the local regime (None: not known), and the sentence that says so."""
    if curvature is None:
        return (
            None,
            f"Validity: not known, λ_max was not measured ({uncurved}). Trust order 2 on short windows "
            "alone.",
        )
    reach = curvature.reach(window.steps, window.lr)
    told = f"{window.steps} steps × lr {window.lr:g} × λ_max {curvature.value:.3g} = {reach:.2g}"
    if reach <= 0:
        return True, f"Validity: {told}; no direction curves upwards, so that the local regime is not left."
    if reach <= REACH:
        return True, f"Validity: {told}, within the local regime ({REACH} at most)."
    longest = int(REACH / (window.lr * curvature.value)) // 2 * 2
    shorter = f"--window {longest}, or " if longest >= 2 else ""
    one = "" if longest >= 2 else " Even two steps are."
    return False, (
        f"Validity: {told}, outside the local regime ({REACH} at most).{one} Order 2 is no "
        f"prediction there, and even its sign may be wrong: try {shorter}--predictor auto."
    )


def predicted(
    prediction: Prediction, one: Said, asked: Said, window: Window, used: Mapping[str, float]
) -> tuple[bool, str]:
    """What a predictor says of the tilt that was asked about, and whether it stands by it."""
    found = prediction[one.target]
    error = "" if found.stderr != found.stderr else f" ± {found.stderr:.2g}"
    told = (
        f"Over {window.steps} steps at lr {window.lr:g}, {way(used, asked.first, asked.later, window)}: the "
        f"{one.target} loss ends {abs(found.value):.3g}{error} {'lower' if found.value < 0 else 'higher'} "
        f"than with constant weights, by {found.predictor}"
    )
    if not found.answered:
        return (
            False,
            f"No verdict on the {one.target} loss over this window: {found.predictor} {found.verdict.words}.",
        )
    last = asked.later if found.value < 0 else asked.first
    return True, f"Train {last} last over this window. {told} ({found.verdict.words})."
