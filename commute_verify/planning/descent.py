"""Descent on schedules along a first variation, with what each step promised and what it brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commute_verify.errors import CommuteError
from commute_verify.planning.given import positive
from commute_verify.planning.projection import project
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DescentStep:
    """One trial: the change of the loss that the first variation predicts, and the one observed.

    ``moved`` is the greatest change of a weight; a trial that is not ``accepted`` is tried again, smaller.
    """

    predicted: float
    observed: float
    moved: float
    accepted: bool

    def __str__(self) -> str:
        """The two changes, in words."""
        ratio = f", {self.observed / self.predicted:.2f} of it" if self.predicted else ""
        end = "" if self.accepted else "; taken back"
        return (
            f"Weights moved by at most {self.moved:.3g}: predicted {self.predicted:.3g}, observed "
            f"{self.observed:.3g}{ratio}{end}."
        )


@dataclass(frozen=True, eq=False)
class Descent:
    """The schedule found, from which loss to which, by which steps, and why it stopped."""

    start: WeightSchedule
    schedule: WeightSchedule
    start_loss: float
    loss: float
    steps: tuple[DescentStep, ...]
    stopped: str

    @property
    def gain(self) -> float:
        """How much lower the loss ends than with the schedule started from, observed."""
        return self.start_loss - self.loss

    def __str__(self) -> str:
        """The outcome, and a line for each step."""
        taken = sum(step.accepted for step in self.steps)
        head = (
            f"The loss fell by {self.gain:.4g}, from {self.start_loss:.6g} to {self.loss:.6g}, in {taken} "
            f"steps ({len(self.steps) - taken} more taken back); stopped because {self.stopped}."
        )
        return "\n".join([head, *map(str, self.steps)])


def descend(
    schedule: WeightSchedule,
    loss: Callable[[WeightSchedule], float],
    first_variation: Callable[[WeightSchedule], ArrayLike],
    *,
    steps: int = 20,
    first_move: float = 0.1,
    max_tilt: float = 1.0,
    limits: Mapping[str, tuple[float, float]] | None = None,
    tolerance: float = 1e-3,
) -> Descent:
    """Projected descent on the weights of a schedule, its stages and totals fixed.

        w ← the nearest schedule to w − rate · G,   G_sk = the mean of ∂L(θ_T)/∂w_k(t) over stage s

    ``first_variation`` returns G (S, K): to first order L changes by Σ_s duration_s Σ_k G_sk Δw_sk. ``loss``
    is the loss at the end of a schedule, run for real. Weights stay within ``max_tilt`` of those given and
    within the ``limits`` of their domain. The first trial moves a weight by at most ``first_move``; a step
    that brings less than a quarter of what it promised is taken back and tried at half the rate, one that
    keeps its promise doubles it. Stops after ``steps`` trials, or where a step promises less than
    ``tolerance`` of the first. Raises CommuteError for a G of another shape, and names a bound that the
    schedule breaks already.

    >>> start = WeightSchedule.piecewise([(1.0, {"a": 0.5, "b": 0.5}), (1.0, {"a": 0.5, "b": 0.5})])
    >>> found = descend(start, lambda s: float(s.weights[0, 0]), lambda s: [[1.0, 0.0], [0.0, 0.0]])
    >>> found.schedule.weights.round(9).tolist(), round(found.gain, 9)
    ([[0.0, 1.0], [1.0, 0.0]], 0.5)
    """
    low, high = _box(schedule, positive(max_tilt, "max_tilt"), dict(limits or {}))
    durations, totals = schedule.durations, schedule.durations @ schedule.weights
    start_loss = now = _finite(loss(schedule))
    trials: list[DescentStep] = []
    at, rate, promised, stopped = schedule, 0.0, 0.0, f"all {steps} trials are used"
    G = _slope(first_variation(at), at)
    for _ in range(steps):
        if not trials:
            spread = float(np.abs(G - G.mean(axis=1, keepdims=True)).max())
            rate = positive(first_move, "first_move") / spread if spread > 0 else 0.0
        wanted = project(at.weights - rate * G, durations, totals, low, high)
        predicted = float(durations @ (G * (wanted - at.weights)).sum(axis=1))
        promised = promised or predicted
        if predicted >= 0 or predicted > tolerance * promised:
            stopped = "no step within the bounds promises more"
            break
        tried = WeightSchedule(at.domains, durations, wanted)
        observed = _finite(loss(tried)) - now
        moved = float(np.abs(wanted - at.weights).max())
        trials.append(DescentStep(predicted, observed, moved, observed <= 0.25 * predicted))
        if not trials[-1].accepted:
            rate /= 2
            continue
        at, now = tried, now + observed
        G = _slope(first_variation(at), at)
        rate *= 2 if observed <= 0.75 * predicted else 1
    return Descent(schedule, at, start_loss, now, tuple(trials), stopped)


def _box(
    schedule: WeightSchedule, max_tilt: float, limits: dict[str, tuple[float, float]]
) -> tuple[Array, Array]:
    unknown = sorted(set(limits) - set(schedule.domains))
    if unknown:
        raise CommuteError(f"limits for {', '.join(unknown)}; the domains are {', '.join(schedule.domains)}")
    least, most = np.array([limits.get(name, (0.0, 1.0)) for name in schedule.domains], dtype=np.float64).T
    for s, k in np.argwhere((schedule.weights < least) | (schedule.weights > most)).tolist():
        raise CommuteError(
            f"the weight {schedule.weights[s, k]:g} of {schedule.domains[k]} on stage {s} is not within its "
            f"limits [{least[k]:g}, {most[k]:g}]; start from a schedule within them"
        )
    return np.maximum(least, schedule.weights - max_tilt), np.minimum(most, schedule.weights + max_tilt)


def _slope(given: ArrayLike, schedule: WeightSchedule) -> Array:
    G = np.array(given, dtype=np.float64)
    if G.shape != schedule.weights.shape or not np.isfinite(G).all():
        raise CommuteError(
            f"a first variation of shape {G.shape}; give finite numbers of shape {schedule.weights.shape}, "
            "one for each stage and domain"
        )
    return G


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise CommuteError(f"the loss of a schedule is {value}; start from one that trains, or move less")
    return float(value)
