"""The trajectory predictor: the first variation along the real run, integrated between two schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.costate import Sweep, Training
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Replicated

Array = NDArray[np.float64]

UNEXPLAINED = 0.1
"""How far the slopes may miss the change of loss from the first point to the last."""
POINTS = 3
"""Gauss and Legendre points, unless others are asked for: with two or more, the losses check the slopes."""


class Path(NamedTuple):
    """∂L_t/∂x and L_t (P, T) at Gauss points x of the way from the reference (0) to the schedule (1).

    ``places`` and ``shares`` (P,) are the points and their weights, which sum to 1.
    """

    places: Array
    shares: Array
    slopes: Array
    losses: Array

    @property
    def excess(self) -> Array:
        """∫₀¹ ∂L_t/∂x dx, (T,)."""
        found: Array = self.shares @ self.slopes
        return found


def swept(question: Question, weights: Array) -> Sweep:
    """The sweep along ``weights`` (N, K), or the mean of two with batches in both orders.

    Where there are more targets than domains in them, the domains' losses are swept and then mixed.
    """
    rates, mixing, asked = question.window.per_step()[2], question.mixing, question.asked
    alone = len(asked) < len(mixing)
    found = [
        Training(question.fields, question.optimizer, rates, question.seed, exchange=steps).sweep(
            weights, question.held_out, np.eye(mixing.shape[1])[asked] if alone else mixing
        )
        for steps in ((0, question.exchange) if question.exchange else (0,))
    ]
    sensitivity = np.mean([one.sensitivity for one in found], axis=0)
    losses = np.mean([one.losses for one in found], axis=0)
    if alone:
        sensitivity = np.einsum("tc,csk->tsk", mixing[:, asked], sensitivity)
        losses = mixing[:, asked] @ losses
    return Sweep(sensitivity, losses)


def path(question: Question) -> Path:
    """One replicate: sweeps at Gauss points between the reference and the schedule."""
    weights, reference, _ = question.window.per_step()
    change = weights - reference
    nodes, shares = np.polynomial.legendre.leggauss(question.points or POINTS)
    places = (nodes + 1) / 2
    slopes, losses = np.zeros((2, len(places), len(question.mixing)))
    for i, place in enumerate(places):
        found = swept(question, reference + place * change)
        slopes[i] = np.einsum("tsk,sk->t", found.sensitivity, change)
        losses[i] = found.losses
    return Path(places, shares / 2, slopes, losses)


def trajectory(questions: Sequence[Question]) -> Replicated:
    """The excess of every replicate, judged by their mean, which is what is reported."""
    weights, reference, rates = questions[0].window.per_step()
    paths = [path(question) for question in questions]
    points = len(paths[0].places)
    notes = (
        f"the first variation along the run, over {len(rates)} steps, at {points} "
        f"point{'s' * (points > 1)} between the reference and the schedule (largest change of a weight "
        f"{float(np.abs(weights - reference).max()):.2g})",
    )
    return Replicated(np.stack([one.excess for one in paths]), judged(paths), notes)


def judged(paths: Sequence[Path]) -> list[Verdict]:
    """Whether the replicates' mean slopes explain their mean losses; a single sweep has none to explain."""
    first = paths[0]
    mean = first._replace(
        slopes=np.mean([one.slopes for one in paths], axis=0),
        losses=np.mean([one.losses for one in paths], axis=0),
    )
    if len(first.places) == 1:
        alone = verdict("the number of further points that a single sweep needs", 1.0, 0.0, "allowed")
        return [alone] * mean.slopes.shape[1]
    return [
        _explained(mean.places, *columns)
        for columns in zip(mean.slopes.T, mean.losses.T, mean.excess.tolist(), strict=True)
    ]


def _explained(places: Array, slopes: Array, losses: Array, integral: float) -> Verdict:
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
