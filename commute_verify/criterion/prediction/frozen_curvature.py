"""The frozen-curvature predictor: curvature frozen on the way, more often until every target is answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, decisive, verdict
from commute_verify.criterion.prediction.descended import (
    ACCURACY,
    FAILURES,
    Descended,
    apart,
    near_enough,
    share,
)
from commute_verify.criterion.prediction.frozen import QuadraticModel
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found
from commute_verify.criterion.prediction.window import START, Part, Window

Array = NDArray[np.float64]

SETTLED = 0.1
"""How far an excess may be from that of the number of freezings before, relative to the larger."""
AGAIN = "what freezing the curvature more often changes"
DISCRETE = 0.3
"""How far an excess may be from that of a flow that is not late, and this from one that is not bent."""
STEPS = "what discrete steps change of the flow's excess"

Tried = Sequence[Descended | Exception]
"""What came of each number of freezings: 1, 2, 4 and so on."""


def frozen_curvature(question: Question) -> Found:
    """One replicate: the curvature of the middle of the window, of its halves, of its quarters …

    The last that came to an end is the value, or the curvature of the start where none does; what it changed
    is part of the verdict.
    """
    fields, optimizer = question.fields, question.optimizer
    D = optimizer.preconditioner(fields.theta)
    decay = optimizer.shrinkage(D)
    model = QuadraticModel(
        fields,
        fields.gradients(),
        D,
        decay,
        question.tolerance,
        question.max_products,
        basis_device=question.basis_device,
    )
    at_start = fields.longest
    tried: list[Descended | Exception] = []
    for parts in _finer(question):
        fields.longest = at_start
        try:
            found = near_enough(question, model, parts)
        except FAILURES as error:
            tried.append(error)
            continue
        tried.append(found)
        model = replace(model, tolerance=found.tolerance)
        if all(one.valid for one in _judged(found, tried)):
            break
    ended = [one for one in tried if isinstance(one, Descended)]
    if not ended:
        fields.longest = at_start
        ended = [near_enough(question, model, [START])]
    last = ended[-1]
    judged = _judged(last, tried)
    if question.window.bend and any(one.valid for one in judged):
        as_steps = _as_steps(question, model, last)
        judged = [decisive([one, *more]) for one, more in zip(judged, as_steps, strict=True)]
    fields.longest = last.longest
    return Found(last.excess, judged, _notes(question, last))


def _finer(question: Question) -> Iterator[list[Part]]:
    """The window in one part, two, four … up to ``freezings``, or in steps; for 0 by the start's models."""
    if not question.freezings:
        yield [START]
    last = 0
    for halvings in range(question.freezings.bit_length()):
        parts = question.window.parts(halvings, question.dynamics)
        if len(parts) == last:
            return
        last = len(parts)
        yield parts


def _judged(found: Descended, tried: Tried) -> list[Verdict]:
    """For every target the first quantity that speaks against it, or the one that comes nearest."""
    near = [
        verdict(
            "the bound on the excess's error over the excess",
            share(error, abs(value)),
            ACCURACY,
            "by tolerance= and max_products= to be at most",
        )
        for error, value in zip(found.error.tolist(), found.excess.tolist(), strict=True)
    ]
    judged = zip(near, found.checks(), _settled(found, tried), strict=True)
    return [decisive([grown, first, *rest, last]) for first, (grown, *rest), last in judged]


def _as_steps(question: Question, model: QuadraticModel, found: Descended) -> list[list[Verdict]]:
    """For every target whether a flow, bent and late, may stand for discrete steps."""
    window, optimizer = question.window, question.optimizer
    steep = float(window.rates.max()) * max(end.highest for end in found.ends)
    bears = verdict(
        "learning rate · λ_max", steep, optimizer.bears, "which steps bear without overshooting up to"
    )
    model = replace(model, tolerance=found.tolerance)

    def along(plainer: Window) -> Array:
        try:
            return near_enough(replace(question, window=plainer), model, found.parts).excess
        except FAILURES:
            return np.full(len(question.targets), math.nan)

    bent = along(replace(window, lag=0.0)) if window.lag else found.excess
    straight = along(replace(window, lag=0.0, bend=0.0))
    every = zip(found.excess.tolist(), bent.tolist(), straight.tolist(), strict=True)
    changed = [float(np.maximum(apart(one, other), apart(other, last))) for one, other, last in every]
    return [[bears, verdict(STEPS, size, DISCRETE, "allowed")] for size in changed]


def _settled(found: Descended, tried: Tried) -> list[Verdict]:
    """For every target how far the excess is from that of the number of freezings before; steps need none."""
    before, last = tried[-2:] if len(tried) > 1 else (None, tried[-1])
    if found.exact and last is found:
        return [verdict(AGAIN, 0.0, SETTLED, "allowed")] * len(found.excess)
    if isinstance(before, Descended) and last is found:
        return [
            verdict(AGAIN, apart(value, other), SETTLED, "allowed")
            for value, other in zip(found.excess.tolist(), before.excess.tolist(), strict=True)
        ]
    lost = last if isinstance(last, Exception) else before
    why = "there is nothing beside; give freezings= of at least 2" if lost is None else str(lost)
    unknown = Verdict(False, AGAIN, math.nan, SETTLED, f"abstains: {AGAIN} is not known: {why}")
    return [unknown] * len(found.excess)


def _notes(question: Question, found: Descended) -> tuple[str, ...]:
    ends, window = found.ends, question.window
    reach = window.flow_time() * max(end.highest for end in ends)
    times = "once" if len(found.parts) == 1 else f"{len(found.parts)} times"
    where = "at the start" if found.ways[0].model.centre is None else f"{times} on the way"
    again = "" if found.tolerance == question.tolerance else f", to a tolerance of {found.tolerance:.1g}"
    what = (
        "evaluated at the predicted point" if question.target_model == "evaluated" else "its quadratic model"
    )
    most = max(max(end.products) for end in ends)
    said = (
        f"frozen curvature, frozen {where}, took at most {most} products of the mixture for a stage{again}; "
        f"flow time · λ_max = {reach:.3g}; the target is {what}"
    )
    lowest = min(end.lowest for end in ends)
    if lowest * window.flow_time() >= -0.1:
        return (said,)
    return (
        said,
        f"negative curvature {lowest:.3g} makes displacements grow by up to "
        f"{max(end.growth for end in ends):.3g} on a window this long",
    )
