"""The trajectory predictor: the first variation along the real run, integrated between two schedules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.costate import Sweep, Training
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found

Array = NDArray[np.float64]

UNEXPLAINED = 0.1
"""How far the slopes may miss the change of loss from the first point to the last."""
POINTS = 3
"""Gauss and Legendre points, unless others are asked for: with two or more, the losses check the slopes."""


def swept(question: Question, weights: Array) -> Sweep:
    """The sweep along ``weights`` (N, K), or the mean of two with batches in both orders."""
    rates = question.window.per_step()[2]
    found = [
        Training(question.fields, question.optimizer, rates, question.seed, exchange=steps).sweep(
            weights, question.held_out, question.mixing
        )
        for steps in ((0, question.exchange) if question.exchange else (0,))
    ]
    return Sweep(
        np.mean([one.sensitivity for one in found], axis=0), np.mean([one.losses for one in found], axis=0)
    )


def trajectory(question: Question) -> Found:
    """One replicate: sweeps at Gauss points between the reference and the schedule."""
    weights, reference, rates = question.window.per_step()
    change = weights - reference
    largest = float(np.abs(change).max())
    points = question.points or POINTS
    nodes, shares = np.polynomial.legendre.leggauss(points)
    places, shares = (nodes + 1) / 2, shares / 2
    slopes, losses = np.zeros((2, points, len(question.mixing)))
    for i, place in enumerate(places):
        found = swept(question, reference + place * change)
        slopes[i] = np.einsum("tsk,sk->t", found.sensitivity, change)
        losses[i] = found.losses
    excess = shares @ slopes
    verdicts = [_judged(places, slopes[:, t], losses[:, t], float(excess[t])) for t in range(len(excess))]
    notes = (
        f"the first variation along the run, over {len(rates)} steps, at {points} "
        f"point{'s' * (points > 1)} between the reference and the schedule (largest change of a weight "
        f"{largest:.2g})",
    )
    return Found(excess, verdicts, notes)


def _judged(places: Array, slopes: Array, losses: Array, integral: float) -> Verdict:
    """The slopes must explain the losses that they ended in; a single sweep cannot be held against any."""
    if len(slopes) == 1:
        return verdict("the number of further points that a single sweep needs", 1.0, 0.0, "allowed")
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
