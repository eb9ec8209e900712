"""The frozen-curvature predictor: where the quadratic models end, and what that does to the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.objective import NotFiniteError
from commute_verify.criterion.prediction.answer import Verdict, decisive, verdict
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]
Visit = Callable[[Array, Tensor], None]

DRIFT = 1.0
"""How far the real gradient at the end may be from the model's, relative to the model's change of it."""
DISAGREEMENT = 0.3
"""How far the target's quadratic model and the target itself may differ, relative to the larger."""
HALF_WAY = "the disagreement with curvature half-way"
ACCURACY = 0.3
"""How large the bound on the error of a target's excess may be, roundoff included, relative to the excess."""
GROWTH = 10.0
"""How much negative curvature may amplify."""
NODES = 3
"""Gauss and Legendre points on the way between the two ends."""
REFINED = 2
"""How often the descents are made again, nearer, where a target's excess needs it."""
SAFETY = 0.5
"""How much nearer than the excess says, as the excess itself is only as good as the descents."""


FAILURES = (CommuteError, NotFiniteError)
"""What a further descent may end with: it makes targets abstain, and loses no answer found before."""


@dataclass(frozen=True, eq=False)
class Descended:
    """Both descents of the quadratic models, and the targets at their ends.

    ``evaluated`` (T,) is the excess of the targets themselves, ``quadratic`` that of their quadratic models;
    ``slopes`` (T,) are the largest ‖√D ∇L_t‖ met between the ends, by which an error of theirs is multiplied.
    """

    model: QuadraticModel
    ends: list[Reached]
    quadratic: Array
    evaluated: Array
    slopes: Array
    drift: float

    @property
    def error(self) -> Array:
        """The bound on the error of every target's excess (T,), of first order in that of the ends."""
        found: Array = self.slopes * sum(end.error for end in self.ends)
        return found


def frozen_curvature(question: Question) -> Found:
    """One replicate: descents of both schedules, and the targets at their ends.

    They are made again, nearer, where a target needs it, and once with the curvature half-way.
    """
    fields, optimizer = question.fields, question.optimizer
    D = optimizer.preconditioner(fields.theta)
    decay = optimizer.shrinkage(D)
    model = QuadraticModel(fields, fields.gradients(), D, decay, question.tolerance, question.max_products)
    found = _near_enough(question, model)
    return Found(_excess(question, found), _judged(question, found), _notes(question, found))


def _near_enough(question: Question, model: QuadraticModel) -> Descended:
    """Descended to the tolerance that the targets ask for, or as near as it goes."""
    found = _descended(question, model)
    for _ in range(REFINED):
        nearer = _nearer(question, found)
        if nearer is None:
            break
        try:
            found = _descended(question, replace(model, tolerance=nearer))
        except FAILURES:
            break
    return found


def _descended(question: Question, model: QuadraticModel) -> Descended:
    fields = question.fields
    visit = None if question.optimizer.clip is None else lambda w, d: fields.watch(w, fields.theta + d)
    ends = _ends(question, model, visit)
    with_schedule, with_reference = (end.displacement for end in ends)
    gap, middle = with_schedule - with_reference, (with_schedule + with_reference) / 2
    evaluated, slopes = _evaluated(question, gap, with_reference, model.D)
    quadratic = _quadratic(question, gap, middle)
    return Descended(model, ends, quadratic, evaluated, slopes, _drift(question, model, ends))


def _ends(question: Question, model: QuadraticModel, visit: Visit | None = None) -> list[Reached]:
    window = question.window
    return [
        model.run(window.stages(s, question.dynamics), visit) for s in (window.schedule, window.reference)
    ]


def _half_way(question: Question, found: Descended) -> Array:
    """The excess of the targets themselves by curvature half-way along the reference."""
    window = question.window
    trained = np.flatnonzero((window.schedule.weights + window.reference.weights).any(axis=0)).tolist()
    model = found.model.moved(found.ends[1].displacement / 2, trained)
    schedule, reference = (end.displacement for end in _ends(question, model))
    return _evaluated(question, schedule - reference, reference, model.D)[0]


def _excess(question: Question, found: Descended) -> Array:
    return found.evaluated if question.target_model == "evaluated" else found.quadratic


def _nearer(question: Question, found: Descended) -> float | None:
    """The tolerance that every excess asks for; None where it is kept, out of reach, or would not decide.

    It is out of reach where a stage took as many products as it may, the one that starts it counted.
    """
    if max(max(end.products) for end in found.ends) >= question.max_products:
        return None
    eps = torch.finfo(question.fields.theta.dtype).eps
    way = sum(end.length * end.growth for end in found.ends)
    allowed = ACCURACY * np.abs(_excess(question, found))
    hopeful = np.array([all(check.valid for check in checks) for checks in _frozen(found)])
    far = hopeful & (found.error > allowed) & (SAFETY * allowed > eps * way * found.slopes)
    if not far.any():
        return None
    wanted = SAFETY * float(np.min(allowed[far] / found.slopes[far])) / way
    return max(eps, min(wanted, SAFETY * found.model.tolerance))


def _notes(question: Question, found: Descended) -> tuple[str, ...]:
    ends = found.ends
    reach = question.window.flow_time() * max(end.highest for end in ends)
    again = (
        ""
        if found.model.tolerance == question.tolerance
        else f", to a tolerance of {found.model.tolerance:.1g}"
    )
    what = (
        "evaluated at the predicted point" if question.target_model == "evaluated" else "its quadratic model"
    )
    said = (
        f"frozen curvature took {ends[0].products} products of the mixture for the schedule's stages, "
        f"{ends[1].products} for the reference{again}; flow time · λ_max = {reach:.3g}; the target is {what}"
    )
    lowest = min(end.lowest for end in ends)
    if lowest * question.window.flow_time() >= -0.1:
        return (said,)
    return (
        said,
        f"negative curvature {lowest:.3g} makes displacements grow by up to "
        f"{max(end.growth for end in ends):.3g} on a window this long",
    )


def _quadratic(question: Question, gap: Tensor, middle: Tensor) -> Array:
    """⟨∇L_t, gap⟩ + ⟨middle, H_t gap⟩ for every target."""
    found = np.zeros(question.mixing.shape[1])
    for k in question.asked:
        alone = np.eye(len(found))[k].tolist()
        slope = question.held_out.gradient(alone, question.held_out.theta)
        found[k] = float(_dot(slope, gap) + _dot(question.held_out.product(alone, gap), middle))
    return question.mixing @ found


def _evaluated(question: Question, gap: Tensor, start: Tensor, D: Tensor | None) -> tuple[Array, Array]:
    """∫₀¹ ⟨∇L_t(θ + start + s gap), gap⟩ ds, no difference of losses, and the largest ‖√D ∇L_t‖ met, (T,).

    Both are nan where L_t is no number.
    """
    points, widths = np.polynomial.legendre.leggauss(NODES)
    root = None if D is None else D.sqrt()
    found, longest = np.zeros(len(question.mixing)), np.zeros(len(question.mixing))
    for s, width in zip((points + 1) / 2, widths / 2, strict=True):
        at = question.held_out.theta + start + float(s) * gap
        alone = {k: _slope(question.held_out, k, at) for k in question.asked}
        for t, mix in enumerate(question.mixing):
            slope = torch.stack([float(mix[k]) * alone[k] for k in np.flatnonzero(mix).tolist()]).sum(dim=0)
            found[t] += width * float(_dot(slope, gap))
            scaled = slope if root is None else root * slope
            longest[t] = np.maximum(longest[t], float(torch.linalg.vector_norm(scaled)))
    return found, longest


def _slope(surface: Surface, domain: int, at: Tensor) -> Tensor:
    """∇L_k (n,), nan where it is no number."""
    try:
        return surface.loss_and_gradient(domain, at)[1]
    except NotFiniteError:
        return torch.full_like(at, math.nan)


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


def _judged(question: Question, found: Descended) -> list[Verdict]:
    """For every target the first quantity that speaks against it, or the one that comes nearest."""
    size = np.abs(_excess(question, found)).tolist()
    near = [
        verdict(
            "the bound on the excess's error over the excess",
            _over(error, value),
            ACCURACY,
            "by tolerance= and max_products= to be at most",
        )
        for error, value in zip(found.error.tolist(), size, strict=True)
    ]
    checks = [[first, *rest] for first, rest in zip(near, _frozen(found), strict=True)]
    if any(check.valid for check in map(decisive, checks)):
        for every, last in zip(checks, _moved(question, found), strict=True):
            every.append(last)
    return [decisive(every) for every in checks]


def _moved(question: Question, found: Descended) -> list[Verdict]:
    """For every target how far the excess by curvature half-way is from the one that is said."""
    try:
        other = _half_way(question, found)
    except FAILURES as error:
        lost = Verdict(False, HALF_WAY, math.nan, DISAGREEMENT, f"abstains: {HALF_WAY} is not known: {error}")
        return [lost] * len(found.evaluated)
    return [
        verdict(HALF_WAY, _over(abs(value - moved), max(abs(value), abs(moved))), DISAGREEMENT, "allowed")
        for value, moved in zip(_excess(question, found).tolist(), other.tolist(), strict=True)
    ]


def _frozen(found: Descended) -> list[list[Verdict]]:
    """For every target what speaks for and against curvature that stays, however near the descents are."""
    common = [
        verdict(
            "amplification by negative curvature", max(end.growth for end in found.ends), GROWTH, "allowed"
        ),
        verdict("the drift of the curvature on the way", found.drift, DRIFT, "allowed"),
    ]
    return [
        [
            *common,
            verdict(
                "the disagreement of the target with its quadratic model",
                _over(abs(q - e), max(abs(q), abs(e))),
                DISAGREEMENT,
                "allowed",
            ),
        ]
        for q, e in zip(found.quadratic.tolist(), found.evaluated.tolist(), strict=True)
    ]


def _over(part: float, whole: float) -> float:
    """part / whole; of nothing, 0 where the part is nothing too, and else infinity."""
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return torch.dot(x.double(), y.double())
