"""The frozen-curvature predictor: curvature frozen at the start, and on the way until more changes little."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

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

SETTLED = 0.1
"""How far an excess may be from that of half as many freezings, relative to the larger."""
AGAIN = "what freezing the curvature more often changes"

Tried = Sequence[Descended | Exception]
"""What came of each number of freezings: 0, 1, 2, 4 and so on."""


def frozen_curvature(question: Question) -> Found:
    """One replicate: the curvature of θ, then of the middle of the window, of its halves, of its quarters …

    The last that came to an end is the value; what it changed is part of the verdict.
    """
    fields, optimizer = question.fields, question.optimizer
    D = optimizer.preconditioner(fields.theta)
    decay = optimizer.shrinkage(D)
    model = QuadraticModel(fields, fields.gradients(), D, decay, question.tolerance, question.max_products)
    tried: list[Descended | Exception] = []
    for parts in _doubled(question.freezings):
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
        raise next(one for one in tried if isinstance(one, Exception))
    return Found(ended[-1].excess, _judged(ended[-1], tried), _notes(question, ended[-1]))


def _doubled(most: int) -> list[int]:
    """0, 1, 2, 4 … up to ``most``.

    >>> _doubled(0), _doubled(6)
    ([0], [0, 1, 2, 4])
    """
    return [0, *(2**n for n in range(most.bit_length()))]


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
    return [decisive([first, *rest, last]) for first, rest, last in judged]


def _settled(found: Descended, tried: Tried) -> list[Verdict]:
    """For every target how far the excess is from that of half as many freezings."""
    before, last = tried[-2:] if len(tried) > 1 else (None, tried[-1])
    if isinstance(before, Descended) and last is found:
        return [
            verdict(AGAIN, apart(value, other), SETTLED, "allowed")
            for value, other in zip(found.excess.tolist(), before.excess.tolist(), strict=True)
        ]
    lost = last if isinstance(last, Exception) else before
    why = "it was frozen once, at the start" if lost is None else str(lost)
    unknown = Verdict(False, AGAIN, math.nan, SETTLED, f"abstains: {AGAIN} is not known: {why}")
    return [unknown] * len(found.excess)


def _notes(question: Question, found: Descended) -> tuple[str, ...]:
    ends, window = found.ends, question.window
    reach = window.flow_time() * max(end.highest for end in ends)
    where = {0: "at the start", 1: "once on the way"}.get(found.parts, f"{found.parts} times on the way")
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
