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
from commute_verify.criterion.prediction.surface import PRODUCT

Array = NDArray[np.float64]

UNEXPLAINED = 0.1
"""How far the integral may miss the change of loss between its ends."""
POINTS = 3
"""Gauss and Legendre points, unless others are asked for: a single one is a sweep, and not judged."""


class Path(NamedTuple):
    """∂L_t/∂x (P, T) at Gauss points x of the way from the reference (0) to the schedule (1).

    ``shares`` (P,) are the points' weights, which sum to 1; ``ends`` (2, T) are L_t after the reference and
    after the schedule, on the same batches, nan beside a single point, which is not held against them.
    """

    shares: Array
    slopes: Array
    ends: Array

    @property
    def excess(self) -> Array:
        """∫₀¹ ∂L_t/∂x dx, (T,)."""
        found: Array = self.shares @ self.slopes
        return found


def trajectory_price(question: Question) -> int:
    """What one replicate takes before it is asked, in gradients; states that are run again come on top."""
    weights, reference, _ = question.window.per_step()
    places, alone = _gauss(question)[0], question.points == 1
    active = [np.count_nonzero(reference + place * (weights - reference)) for place in places]
    directions = min(len(question.asked), len(question.mixing))
    sweeps = sum((1 + PRODUCT * directions) * trained + weights.size for trained in active)
    runs = 0 if alone else np.count_nonzero(reference) + np.count_nonzero(weights)
    targets = (len(places) + 2 * (not alone)) * question.held_out.passes(question.asked)
    return (2 if question.exchange else 1) * int(sweeps + runs + targets)


def swept(question: Question, weights: Array) -> Sweep:
    """The sweep along ``weights`` (N, K), or the mean of two with batches in both orders.

    Where there are more targets than domains in them, the domains' losses are swept and then mixed.
    """
    asked, size = question.asked, question.mixing.shape
    if len(asked) >= size[0]:
        return _swept(question, weights, question.mixing)
    alone, mixing = np.eye(size[1])[asked], question.mixing[:, asked]
    found = _swept(question, weights, alone)
    return Sweep(np.einsum("tc,csk->tsk", mixing, found.sensitivity), mixing @ found.losses)


def _swept(question: Question, weights: Array, mixing: Array) -> Sweep:
    found = [training.sweep(weights, question.held_out, mixing) for training in _trainings(question)]
    return Sweep(
        np.mean([one.sensitivity for one in found], axis=0), np.mean([one.losses for one in found], axis=0)
    )


def _trainings(question: Question) -> list[Training]:
    """The run to come, and the same with the batches of two stages exchanged."""
    rates = question.window.per_step()[2]
    return [
        Training(
            question.fields,
            question.optimizer,
            rates,
            question.seed,
            exchange=steps,
            folder=question.states,
        )
        for steps in ((0, question.exchange) if question.exchange else (0,))
    ]


def path(question: Question) -> Path:
    """One replicate: sweeps at Gauss points between the reference and the schedule, and runs of both."""
    weights, reference, _ = question.window.per_step()
    change = weights - reference
    places, shares = _gauss(question)
    slopes = [
        np.einsum("tsk,sk->t", swept(question, reference + place * change).sensitivity, change)
        for place in places
    ]
    alone = len(shares) == 1
    seen = np.full((2, len(question.mixing)), np.nan) if alone else ends(question)
    return Path(shares, np.stack(slopes), seen)


def _gauss(question: Question) -> tuple[Array, Array]:
    """Places between the reference (0) and the schedule (1), and their shares, which sum to 1."""
    nodes, shares = np.polynomial.legendre.leggauss(question.points or POINTS)
    return (nodes + 1) / 2, shares / 2


def ends(question: Question) -> Array:
    """L_t (2, T) after the reference and after the schedule, forward alone."""
    weights, reference, _ = question.window.per_step()
    found = [
        [training.losses(w, question.held_out, question.mixing) for w in (reference, weights)]
        for training in _trainings(question)
    ]
    return np.asarray(np.mean(found, axis=0))


def trajectory(questions: Sequence[Question]) -> Replicated:
    """The excess of every replicate, judged by their mean, which is what is reported."""
    weights, reference, rates = questions[0].window.per_step()
    paths = [path(question) for question in questions]
    points = len(paths[0].shares)
    notes: tuple[str, ...] = (
        f"the first variation along the run, over {len(rates)} steps, at {points} "
        f"point{'s' * (points > 1)} between the reference and the schedule (largest change of a weight "
        f"{float(np.abs(weights - reference).max()):.2g})",
    )
    if len(questions) == 1 and any(len(batches) > 1 for batches in questions[0].fields.batches.values()):
        notes += ("one replicate: this is of these very batches; of others, ask with replicates=",)
    return Replicated(np.stack([one.excess for one in paths]), judged(paths), notes)


def judged(paths: Sequence[Path]) -> list[Verdict]:
    """Whether the mean integral over replicates is the mean change of loss between the ends."""
    if len(paths[0].shares) == 1:
        alone = verdict("the number of further points that a single sweep needs", 1.0, 0.0, "allowed")
        return [alone] * len(paths[0].excess)
    integrals = np.mean([one.excess for one in paths], axis=0)
    changes = np.mean([one.ends[1] - one.ends[0] for one in paths], axis=0)
    return [_explained(*pair) for pair in zip(integrals.tolist(), changes.tolist(), strict=True)]


def _explained(integral: float, change: float) -> Verdict:
    size = max(abs(integral), abs(change))
    return verdict(
        "what the integral leaves unexplained of the losses at its ends, over the excess",
        abs(integral - change) / size if size else 0.0,
        UNEXPLAINED,
        "by more points= to be at most",
    )
