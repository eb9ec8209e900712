"""What rungs leave out of their predictions, judged beside them: clipping, and the optimizer's memory."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.memory import memory
from commute_verify.criterion.prediction.question import Question

AFFECTED = ("local", "local-3", "frozen-curvature")
"""Rungs that know nothing of clipping, nor of an optimizer's memory."""
MEMORY = 0.3
"""How large memory's own effect may be beside a prediction that leaves it out."""


def against_clipping(questions: list[Question], clip: float, verdicts: list[Verdict]) -> list[Verdict]:
    """Abstain where the gradient of some batch is so long at the start that steps may be clipped."""
    longest = max(question.fields.longest for question in questions)
    kept = verdict("the longest gradient of a batch over clip_norm", longest / clip, 1.0, "unclipped up to")
    return [judged if kept.valid or not judged.valid else kept for judged in verdicts]


def against_memory(
    questions: list[Question],
    mean: NDArray[np.float64],
    verdicts: list[Verdict],
) -> tuple[list[Verdict], str]:
    """Abstain where the optimizer's memory alone would do about as much as what is predicted without it."""
    if not questions[0].window.whole:
        off = verdict("the optimizer's memory over the prediction", math.nan, MEMORY, "known on whole steps;")
        return [off] * len(verdicts), "the optimizer's memory is left out, and not known on broken steps"
    own = np.mean([memory(question).excess for question in questions], axis=0)
    checked = []
    for judged, value, effect in zip(verdicts, mean, own, strict=True):
        share = abs(effect) / abs(value) if value else math.inf
        beside = verdict("the optimizer's memory over the prediction", float(share), MEMORY, "allowed")
        checked.append(judged if beside.valid or not judged.valid else beside)
    return checked, "the optimizer's memory is left out of the prediction, and judged beside it"
