"""Bounded tilts over one window or several: the schedule to train, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.planning import given
from commute_verify.planning.resampling import Resampling, Robustness, Turn, robustness
from commute_verify.planning.tilt_program import TiltBounds
from commute_verify.planning.window import Switch, Window
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TiltWindow:
    """One window: ``early`` weights for ``switch`` of its ``steps``, then ``late`` weights for the rest."""

    steps: int
    switch: int
    early: Mapping[str, float]
    late: Mapping[str, float]

    def __str__(self) -> str:
        """What is moved earlier and what later, in words."""
        earlier = [name for name in self.early if self.early[name] > self.late[name] + 1e-9]
        later = [name for name in self.early if self.early[name] < self.late[name] - 1e-9]
        if not earlier:
            return f"for {self.steps} steps, leave the weights as they are"
        return (
            f"for {self.switch} of {self.steps} steps, train more {', '.join(earlier)} "
            f"({_weights(self.early)}), and then more {', '.join(later)} ({_weights(self.late)})"
        )


@dataclass(frozen=True, eq=False)
class TiltPlan:
    """The best tilt within bounds for a target at second order, and whether to use it.

    Gains are losses that end lower than with the constant ``weights``. ``pair`` is the best tilt that moves
    only two domains, the simpler second choice, None for two domains. ``schedule``, in steps, is what to
    do: ``tilted``, or constant weights where ``recommended`` is False.
    """

    target: str
    weights: Mapping[str, float]
    windows: tuple[TiltWindow, ...]
    robustness: Robustness
    pair: tuple[str, str] | None
    pair_gain: float
    turn: Turn | None

    @property
    def gain(self) -> float:
        """The gain of the tilt, predicted."""
        return self.robustness.gain

    @property
    def recommended(self) -> bool:
        """Whether the tilt is better than constant weights, beyond luck; if not, leave it as it is."""
        return self.robustness.resolved

    @property
    def tilted(self) -> WeightSchedule:
        """The tilt as a schedule in steps, recommended or not."""
        stages: list[tuple[float, Mapping[str, float]]] = []
        for window in self.windows:
            stages += [(window.switch, window.early), (window.steps - window.switch, window.late)]
        return WeightSchedule.piecewise(stages)

    @property
    def schedule(self) -> WeightSchedule:
        """The tilt where it is recommended, else constant weights."""
        steps = sum(window.steps for window in self.windows)
        return self.tilted if self.recommended else WeightSchedule.constant(self.weights, steps)

    def __str__(self) -> str:
        """The plan, how sure it is, the second best and what would change it."""
        windows = "; then ".join(map(str, self.windows))
        said = [f"For {self.target} loss: {windows}." if self.recommended else self._leave(windows)]
        said.append(str(self.robustness))
        if self.pair is not None:
            said.append(f"Moving only {self.pair[0]} and {self.pair[1]} gains {self.pair_gain:.3g}.")
        return " ".join([*said, *([str(self.turn)] if self.turn else [])])

    def _leave(self, windows: str) -> str:
        return (
            f"For {self.target} loss, leave the weights as they are: no tilt within the bounds is better "
            f"than that beyond luck (the likeliest: {windows})."
        )


def plan_tilt(
    effect: OrderEffect | Sequence[OrderEffect],
    weights: Mapping[str, float],
    steps: int,
    max_tilt: float,
    target: str | None = None,
    *,
    windows: int | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    lr: float = 1.0,
    switch: Switch = "best",
    resampling: Resampling | None = None,
) -> TiltPlan:
    """The tilt of the weights, at most ``max_tilt``, that ends with the lowest loss of the target.

    In each window of T steps, w + D/a for a steps and w − D/(T − a) after them, with ΣD = 0 so that totals
    stay, change the loss by ½ lr² T Σ_ij D_i w_j P(L_i, L_j; L) at second order: linear in D, so that the
    best D is a linear program. ``switch`` is free, or at "half", where the tilt is w ± δ with the change
    ε² δᵀPw for ε = ½ lr T. ``limits`` keep domains within weights [least, most] beside [0, 1].

    With several ``windows`` each is planned by itself, from the same effect, or from one effect for each, as
    measured at checkpoints along a run. A window twice as long gains four times as much, while the
    prediction holds. Raises CommuteError for bounds that the weights break already, which it names.
    """
    effects = [effect] if isinstance(effect, OrderEffect) else list(effect)
    count = windows or len(effects)
    if not effects or len(effects) not in (1, count) or any(e.domains != effects[0].domains for e in effects):
        raise CommuteError(f"{len(effects)} effects for {count} windows; give one, or one each, of one run")
    if switch not in ("best", "half"):
        raise CommuteError(f"switch={switch!r}; give 'best' or 'half'")
    one, looks = effects[0], max(e.looks for e in effects)
    names, chosen = one.domains, given.target_of(one, target)
    how = (resampling or Resampling()).shared(looks)
    w, rate = given.on_simplex(one, weights), given.positive(lr, "lr")
    bounds = TiltBounds.around(names, w, max_tilt, dict(limits or {}))
    planned = []
    for n, T in enumerate(given.split(steps, count)):
        at = n if len(effects) > 1 else 0
        goal = given.target_of(effects[at], chosen)
        planned.append(Window.of(effects[at], goal, w, T, rate, bounds, switch, how, at))
    switches, shifts = zip(*(window.best(window.gain) for window in planned), strict=True)
    each = list(zip(planned, map(int, switches), shifts, strict=True))
    pair, pair_gain = _best_pair(names, planned)
    turns = [turn for window, a, D in each for turn in window.turns(a, D)]
    return TiltPlan(
        chosen,
        dict(zip(names, w.tolist(), strict=True)),
        tuple(shape(names, w, window.T, a, D) for window, a, D in each),
        _robustness(planned, shifts, how, looks),
        pair,
        pair_gain,
        min(turns, key=lambda turn: turn.stderrs, default=None),
    )


def _robustness(windows: list[Window], shifts: Sequence[Array], how: Resampling, looks: int) -> Robustness:
    each = list(zip(windows, shifts, strict=True))
    gain = sum(float(window.gain @ D) for window, D in each)
    drawn = np.sum([(window.gain + window.errors) @ D for window, D in each], axis=0)
    luck = np.sum([window.greatest(window.errors) for window in windows], axis=0)
    best = np.sum([window.greatest(window.gain + window.errors) for window in windows], axis=0)
    floor = sum(float(window.floor @ np.abs(D)) for window, D in each)
    return robustness(gain, drawn, luck, best, how.alpha, looks=looks, floor=floor, near=0.01)


def shape(domains: tuple[str, ...], w: Array, T: int, a: int, D: Array) -> TiltWindow:
    """The window that shifts D (K,) earlier, from weights w (K,), switching after a of T steps."""
    early, late = (np.where(row > 1e-12, row, 0.0) for row in (w + D / a, w - D / (T - a)))
    rows = (dict(zip(domains, (row / row.sum()).tolist(), strict=True)) for row in (early, late))
    return TiltWindow(T, a, *rows)


def _best_pair(domains: tuple[str, ...], windows: list[Window]) -> tuple[tuple[str, str] | None, float]:
    """The two domains whose tilt alone gains most over all windows."""
    if len(domains) < 3:
        return None, 0.0
    gains = {}
    for i, j in combinations(range(len(domains)), 2):
        both = np.isin(np.arange(len(domains)), (i, j))
        limited = [window._replace(bounds=window.bounds.only(both)) for window in windows]
        gains[domains[i], domains[j]] = sum(float(window.greatest(window.gain)) for window in limited)
    best = max(gains, key=gains.__getitem__)
    return best, gains[best]


def _weights(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items())
