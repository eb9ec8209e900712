"""The frozen-curvature predictor: where the quadratic models end, and what that does to the targets."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.objective import NotFiniteError
from commute_verify.criterion.prediction.answer import Verdict, decisive, verdict
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found

Array = NDArray[np.float64]

DRIFT = 1.0
"""How far the real gradient at the end may be from the model's, relative to the model's change of it."""
DISAGREEMENT = 0.3
"""How far the target's quadratic model and the target itself may differ, relative to the larger."""
ACCURACY = 0.02
"""How large the bound on the displacements' error, roundoff included, may be, relative to their gap."""
GROWTH = 10.0
"""How much negative curvature may amplify."""
NODES = 3
"""Gauss and Legendre points on the way between the two ends."""


def frozen_curvature(question: Question) -> Found:
    """One replicate: two affine descents, and the targets at their ends."""
    fields, window, optimizer = question.fields, question.window, question.optimizer
    D = optimizer.preconditioner(fields.theta)
    decay = optimizer.shrinkage(D)
    model = QuadraticModel(fields, fields.gradients(), D, decay, question.tolerance, question.max_products)
    visit = None if optimizer.clip is None else lambda w, d: fields.watch(w, fields.theta + d)
    ends = [
        model.run(window.stages(s, question.dynamics), visit) for s in (window.schedule, window.reference)
    ]
    with_schedule, with_reference = (end.displacement for end in ends)
    gap, middle = with_schedule - with_reference, (with_schedule + with_reference) / 2
    quadratic = _quadratic(question, gap, middle)
    evaluated = _evaluated(question, gap, with_reference)
    excess = evaluated if question.target_model == "evaluated" else quadratic
    drift = _drift(question, model, ends)
    verdicts = [
        _judged(ends, gap, drift, float(q), float(e)) for q, e in zip(quadratic, evaluated, strict=True)
    ]
    notes = [
        f"frozen curvature took {ends[0].products} products of the mixture for the schedule's stages, "
        f"{ends[1].products} for the reference; flow time · λ_max = {_reach(question, ends):.3g}; the target "
        f"is {'its quadratic model' if excess is quadratic else 'evaluated at the predicted point'}"
    ]
    lowest = min(end.lowest for end in ends)
    if lowest * window.flow_time() < -0.1:
        notes.append(
            f"negative curvature {lowest:.3g} makes displacements grow by up to "
            f"{max(end.growth for end in ends):.3g} on a window this long"
        )
    return Found(excess, verdicts, tuple(notes))


def _quadratic(question: Question, gap: Tensor, middle: Tensor) -> Array:
    """⟨∇L_t, gap⟩ + ⟨middle, H_t gap⟩ for every target."""
    found = np.zeros(question.mixing.shape[1])
    for k in question.asked:
        alone = np.eye(len(found))[k].tolist()
        slope = question.held_out.gradient(alone, question.held_out.theta)
        found[k] = float(_dot(slope, gap) + _dot(question.held_out.product(alone, gap), middle))
    return question.mixing @ found


def _evaluated(question: Question, gap: Tensor, start: Tensor) -> Array:
    """∫₀¹ ⟨∇L_t(θ + start + s gap), gap⟩ ds, no difference of losses; nan where L_t is no number."""
    points, widths = np.polynomial.legendre.leggauss(NODES)
    found = np.zeros(question.mixing.shape[1])
    for s, width in zip((points + 1) / 2, widths / 2, strict=True):
        at = question.held_out.theta + start + float(s) * gap
        for k in question.asked:
            alone = np.eye(len(found))[k].tolist()
            try:
                slope = question.held_out.gradient(alone, at)
            except NotFiniteError:
                found[k] = np.nan
            else:
                found[k] += width * float(_dot(slope, gap))
    weighed = np.where(question.mixing == 0, 0.0, question.mixing * found)
    total: Array = weighed.sum(axis=1)
    return total


def _drift(question: Question, model: QuadraticModel, ends: list[Reached]) -> float:
    """‖∇L_w(θ + d) − g_w − H_w d‖ / ‖H_w d‖ at both ends, w the reference's average weights."""
    w = question.average()
    worst = 0.0
    for end in ends:
        d = end.displacement
        curved = model.surface.product(w.tolist(), d)
        expected = model.g.new_tensor(w.tolist()) @ model.g + curved
        try:
            real = model.surface.gradient(w.tolist(), model.surface.theta + d)
        except NotFiniteError:
            return math.inf
        size = float(torch.linalg.vector_norm(curved))
        off = float(torch.linalg.vector_norm(real - expected))
        rounding = 64 * torch.finfo(d.dtype).eps * float(torch.linalg.vector_norm(real))
        worst = max(worst, off / size if off > rounding else 0.0)
    return worst


def _judged(ends: list[Reached], gap: Tensor, drift: float, quadratic: float, evaluated: float) -> Verdict:
    """The first quantity that speaks against the prediction, or the one that comes nearest."""
    size = float(torch.linalg.vector_norm(gap))
    eps = torch.finfo(gap.dtype).eps
    bound = sum(end.error + eps * float(torch.linalg.vector_norm(end.displacement)) for end in ends)
    largest = max(abs(quadratic), abs(evaluated))
    return decisive(
        [
            verdict(
                "the bound on the displacements' error over their gap",
                bound / size if size else float(bound > 0),
                ACCURACY,
                "by tolerance= and max_products= to be at most",
            ),
            verdict("amplification by negative curvature", max(e.growth for e in ends), GROWTH, "allowed"),
            verdict("the drift of the curvature on the way", drift, DRIFT, "allowed"),
            verdict(
                "the disagreement of the target with its quadratic model",
                abs(quadratic - evaluated) / largest if largest != 0 else 0.0,
                DISAGREEMENT,
                "allowed",
            ),
        ]
    )


def _reach(question: Question, ends: list[Reached]) -> float:
    return question.window.flow_time() * max(end.highest for end in ends)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return torch.dot(x.double(), y.double())
