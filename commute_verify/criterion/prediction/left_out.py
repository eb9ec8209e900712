"""What rungs leave out of their predictions, judged beside them: clipping, memory, and what torch skips."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.memory import memory
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.skipping import reach, tested_on_training

AFFECTED = ("local", "local-3", "frozen-curvature")
"""Rungs that know nothing of clipping, nor of an optimizer's memory more than its lag."""
MEMORY = 0.1
"""How large memory's own effect may be beside a prediction that leaves it out."""


REMEMBERED = 0.1
"""How many steps an optimizer may remember for each of the shortest stage."""


def against_clipping(questions: list[Question], clip: float, verdicts: list[Verdict]) -> list[Verdict]:
    """Abstain where the gradient of some batch is so long, at the start or on the way, that it is clipped."""
    longest = max(question.fields.longest for question in questions)
    kept = verdict("the longest gradient of a batch over clip_norm", longest / clip, 1.0, "unclipped up to")
    return [judged if kept.valid or not judged.valid else kept for judged in verdicts]


def against_memory(
    questions: list[Question],
    mean: NDArray[np.float64],
    verdicts: list[Verdict],
) -> tuple[list[Verdict], str]:
    """Abstain where the optimizer's memory outlasts a stage, or would alone do much beside what is predicted.

    A prediction without memory takes the first moment for what it settles to, after 1 / (1 − β₁) steps.
    Frozen curvature knows of it to first order in the learning rate, and of second moments nothing.
    """
    window, optimizer = questions[0].window, questions[0].optimizer
    if not window.whole:
        off = verdict("the optimizer's memory over the prediction", math.nan, MEMORY, "known on whole steps;")
        return [off] * len(verdicts), "the optimizer's memory is not known on broken steps"
    own = np.mean([memory(question).excess for question in questions], axis=0)
    shortest = min(float(s.durations.min()) for s in (window.schedule, window.reference))
    lasting = verdict(
        "steps that the optimizer remembers over those of the shortest stage",
        1 / (1 - optimizer.fading) / shortest,
        REMEMBERED,
        "allowed",
    )
    checked = []
    for judged, value, effect in zip(verdicts, mean, own, strict=True):
        share = abs(effect) / abs(value) if value else math.inf
        beside = verdict("the optimizer's memory over the prediction", float(share), MEMORY, "allowed")
        checked.append(next((v for v in (judged, lasting, beside) if not v.valid), judged))
    return checked, "what the optimizer's memory does by itself is judged beside the prediction"


def against_skipping(question: Question, verdicts: list[Verdict]) -> tuple[list[Verdict], tuple[str, ...]]:
    """Abstain where a step reaches not all parameters: torch skips the others, decay and memory included.

    Rungs step them with a gradient of 0. It is one thing where nothing moves a parameter at rest.
    """
    rows = np.vstack([question.window.schedule.weights, question.window.reference.weights])
    all_the_time = (rows > 0).all() and tested_on_training(question)
    known = None if all_the_time else reach(question)
    if known is None:
        return verdicts, ()
    judged = [
        old if not old.valid else next((new for new in [known.verdict(rows, name)] if not new.valid), old)
        for name, old in zip(question.targets, verdicts, strict=True)
    ]
    skipped = sorted({each for name in question.targets for each in known.skipped(rows, name)})
    if not skipped:
        return verdicts, ()
    note = (
        f"{', '.join(skipped[:3])}{' …' * (len(skipped) > 3)}: torch skips a parameter in steps that do not "
        "reach it; what is predicted steps it with a gradient of 0, as after zero_grad(set_to_none=False)"
    )
    return judged, (note,)
