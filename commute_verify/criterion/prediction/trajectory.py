"""The trajectory predictor: the first variation along the real run, integrated between two schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.costate import Sweep, Training
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

NEAR = 0.2
"""The largest change of a weight that one sweep half way is relied on for."""
UNEXPLAINED = 0.1
"""How far the slopes may miss the change of loss from the first point to the last."""
ENOUGH = 3
"""Gauss and Legendre points for a change of weights that is larger."""


@dataclass(frozen=True, eq=False)
class FirstVariation:
    """∂L_t(θ_N)/∂w_k(s): what a little more of domain k at step s does to target t at the end.

    ``sensitivity`` maps targets to (N, K) in the order of ``domains``, in units of L for a weight of 1;
    ``weights`` (N, K) is the schedule that it was taken along, and ``losses`` are those at its end.
    """

    domains: tuple[str, ...]
    weights: Array
    sensitivity: Mapping[str, Array]
    losses: Mapping[str, float]

    def excess(self, schedule: WeightSchedule) -> dict[str, float]:
        """Σ_s Σ_k δw_k(s) ∂L_t/∂w_k(s) for a schedule near the one it was taken along, in steps.

        First order in δw. Raises CommuteError for other domains or another number of steps.
        """
        if set(schedule.domains) != set(self.domains):
            raise CommuteError(
                f"a schedule of {', '.join(schedule.domains)}; the first variation is in "
                f"{', '.join(self.domains)}"
            )
        if schedule.duration != len(self.weights) or np.any(schedule.durations % 1):
            raise CommuteError(
                f"durations {schedule.durations.tolist()} for a first variation over {len(self.weights)} "
                "steps; give whole steps that sum to as many"
            )
        order = [schedule.domains.index(name) for name in self.domains]
        other = np.repeat(schedule.weights[:, order], schedule.durations.astype(int), axis=0)
        change = other - self.weights
        return {name: float(np.sum(change * slopes)) for name, slopes in self.sensitivity.items()}


def trajectory(question: Question) -> Found:
    """One replicate: sweeps at Gauss points between the reference and the schedule."""
    weights, reference, rates = question.window.per_step()
    training = Training(question.fields, question.optimizer, rates, question.seed)
    change = weights - reference
    largest = float(np.abs(change).max())
    points = question.points or (1 if largest <= NEAR else ENOUGH)
    nodes, shares = np.polynomial.legendre.leggauss(points)
    places, shares = (nodes + 1) / 2, shares / 2
    slopes, losses = np.zeros((2, points, len(question.mixing)))
    for i, place in enumerate(places):
        found: Sweep = training.sweep(reference + place * change, question.held_out, question.mixing)
        slopes[i] = np.einsum("tsk,sk->t", found.sensitivity, change)
        losses[i] = found.losses
    excess = shares @ slopes
    verdicts = [
        _judged(largest, places, slopes[:, t], losses[:, t], float(excess[t])) for t in range(len(excess))
    ]
    notes = (
        f"the first variation along the run, over {len(rates)} steps, at {points} "
        f"point{'s' * (points > 1)} between the reference and the schedule (largest change of a weight "
        f"{largest:.2g})",
    )
    return Found(excess, verdicts, notes)


def _judged(largest: float, places: Array, slopes: Array, losses: Array, integral: float) -> Verdict:
    """One sweep is relied on for a small change; of several, slopes must explain the losses they ended in."""
    if len(slopes) == 1:
        return verdict("the largest change of a weight", largest, NEAR, "for a single sweep at most")
    antiderivative = np.polynomial.Polynomial.fit(places, slopes, len(slopes) - 1).integ()
    explained = float(antiderivative(places[-1]) - antiderivative(places[0]))
    seen = float(losses[-1] - losses[0])
    size = max(abs(integral), abs(seen))
    return verdict(
        "what the slopes leave unexplained of the losses at their points, over the excess",
        abs(explained - seen) / size if size else 0.0,
        UNEXPLAINED,
        "allowed",
    )
