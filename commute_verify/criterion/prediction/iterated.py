r"""Iterated sums and integrals of weights over steps: what schedules are to local predictions.

    flow    S_i = Σ_m x_i(m),  S_ij = Σ_{m<n} x_i(m) x_j(n) + ½ Σ_m x_i x_j,  and so on (Chen's identity)
    steps   the same over m < n alone: a step does not see itself

with x_i(m) = η_m w_i(m), and the letter that stands first trained earliest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.question import Question
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


class Sums(NamedTuple):
    """What a schedule's sums are less its reference's: d1 (K,), d2 (K, K), and d2 for squares.

    A step does not see itself, so that H_j acts on d2; the target's own curvature acts on the square of the
    displacement, whose coefficients S_i S_j are those of the flow whatever the steps are.
    """

    d1: Array
    d2: Array
    squares: Array

    @property
    def displaced(self) -> bool:
        """Whether the schedule moves parameters otherwise than its reference, to first order."""
        return bool(np.abs(self.squares + self.squares.T).max() > 1e-12 * np.abs(self.squares).max())


def sums(question: Question, decays: bool) -> Sums:
    """Of a question, weight decay as one more letter where there is any."""
    d1, d2, _ = changes(question, decays, discrete=question.dynamics == "steps")
    return Sums(d1, d2, changes(question, decays, discrete=False)[1] if question.window.whole else d2)


def changes(question: Question, decays: bool, *, discrete: bool) -> list[Array]:
    """d1, d2 and d3: the schedule's iterated sums less the reference's."""
    both = [
        signature(_pieces(question, schedule, decays, discrete), discrete=discrete)
        for schedule in (question.window.schedule, question.window.reference)
    ]
    return [one - other for one, other in zip(*both, strict=True)]


def _pieces(question: Question, schedule: WeightSchedule, decays: bool, discrete: bool) -> Array:
    window = question.window
    if discrete or window.rates.size > 1:
        by_schedule = window.per_step()
        weights = by_schedule[0] if schedule is window.schedule else by_schedule[1]
        times = by_schedule[2]
    else:
        weights, times = schedule.weights, schedule.durations * window.rates[0]
    x: Array = times[:, None] * weights
    return np.hstack([x, times[:, None]]) if decays else x


def signature(x: Array, *, discrete: bool) -> tuple[Array, Array, Array]:
    """S_i (K,), S_ij (K, K) and S_ijk (K, K, K) of the pieces x (N, K).

    >>> one, two, _ = signature(np.array([[1.0, 0.0], [0.0, 1.0]]), discrete=True)
    >>> two.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    K = x.shape[1]
    one, two, three = np.zeros(K), np.zeros((K, K)), np.zeros((K, K, K))
    own = 0.0 if discrete else 1.0
    for piece in x:
        pair = own * np.multiply.outer(piece, piece) / 2
        three += np.multiply.outer(two, piece) + np.multiply.outer(one, pair)
        three += np.multiply.outer(pair, piece) / 3
        two += np.multiply.outer(one, piece) + pair
        one += piece
    return one, two, three
