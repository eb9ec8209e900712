"""Both descents of the domains' quadratic models, the targets at their ends, and what speaks against them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.objective import NotFiniteError
from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached
from commute_verify.criterion.prediction.passage import Passage, passage
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.window import Part
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

FAILURES = (CommuteError, NotFiniteError)
"""What a further descent may end with: it loses no answer found before."""
DRIFT = 1.0
"""How far the real gradient at the end may be from the last model's, relative to the model's change of it."""
DISAGREEMENT = 0.3
"""How far the target's quadratic model and the target itself may differ, relative to the larger."""
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


@dataclass(frozen=True, eq=False)
class Descended:
    """Both descents of the quadratic models, and the targets at their ends.

    ``ways`` are the schedule's and the reference's, in ``parts``; ``exact`` says that each part is a step.
    ``evaluated`` (T,) is the excess of the targets themselves, ``quadratic`` that of their quadratic models,
    taken between where the last parts' models are; ``excess`` is the one that was asked for. ``slopes`` (T,)
    are the largest ‖√D ∇L_t‖ met between the ends, by which an error of theirs is multiplied. ``longest`` is
    the longest gradient of a batch that clipping would meet.
    """

    parts: Sequence[Part]
    exact: bool
    ways: tuple[Passage, Passage]
    quadratic: Array
    evaluated: Array
    excess: Array
    slopes: Array
    drift: float
    longest: float

    @property
    def ends(self) -> list[Reached]:
        """Of the schedule and of the reference."""
        return [way.end for way in self.ways]

    @property
    def tolerance(self) -> float:
        """What Lanczos was made to."""
        return self.ways[0].model.tolerance

    @property
    def error(self) -> Array:
        """The bound on the error of every excess (T,), to first order in that of the models' descents."""
        found: Array = self.slopes * sum(end.error for end in self.ends)
        return found

    def checks(self) -> list[list[Verdict]]:
        """For every target what speaks for and against the models, however near the descents are."""
        amplified = max(end.growth for end in self.ends)
        common = [
            verdict("amplification by negative curvature", amplified, GROWTH, "allowed"),
            verdict("the drift of gradients from the last models", self.drift, DRIFT, "allowed"),
        ]
        return [
            [
                *common,
                verdict(
                    "the disagreement of the target with its quadratic model",
                    apart(q, e),
                    DISAGREEMENT,
                    "allowed",
                ),
            ]
            for q, e in zip(self.quadratic.tolist(), self.evaluated.tolist(), strict=True)
        ]


def near_enough(question: Question, model: QuadraticModel, parts: Sequence[Part]) -> Descended:
    """Descended to the tolerance that the targets ask for, or as near as it goes; ``model`` is that of θ."""
    found = _descended(question, model, parts)
    for _ in range(REFINED):
        nearer = _nearer(question, found)
        if nearer is None:
            break
        try:
            found = _descended(question, replace(model, tolerance=nearer), parts)
        except FAILURES:
            break
    return found


def _descended(question: Question, model: QuadraticModel, parts: Sequence[Part]) -> Descended:
    window = question.window
    ways = (
        passage(question, window.schedule, model, parts),
        passage(question, window.reference, model, parts),
    )
    start, gap = ways[1].end.displacement, ways[0].end.displacement - ways[1].end.displacement
    evaluated, slopes = _evaluated(question, gap, start, model.D)
    quadratic = _quadratic(question, ways, gap)
    excess = evaluated if question.target_model == "evaluated" else quadratic
    exact = question.dynamics == "steps" and len(parts) == window.length
    drift = max(map(_drift, ways))
    return Descended(parts, exact, ways, quadratic, evaluated, excess, slopes, drift, question.fields.longest)


def _nearer(question: Question, found: Descended) -> float | None:
    """The tolerance that every excess asks for; None where it is kept, out of reach, or would not decide.

    It is out of reach where a stage took as many products as it may, the one that starts it counted.
    """
    if max(max(end.products) for end in found.ends) >= question.max_products:
        return None
    eps = torch.finfo(question.fields.theta.dtype).eps
    way = sum(end.length * end.growth for end in found.ends)
    allowed = ACCURACY * np.abs(found.excess)
    hopeful = np.array([all(check.valid for check in checks) for checks in found.checks()])
    far = hopeful & (found.error > allowed) & (SAFETY * allowed > eps * way * found.slopes)
    if not far.any():
        return None
    wanted = SAFETY * float(np.min(allowed[far] / found.slopes[far])) / way
    return max(eps, min(wanted, SAFETY * found.tolerance))


def _quadratic(question: Question, ways: tuple[Passage, Passage], gap: Tensor) -> Array:
    """⟨∇L_t, gap⟩ + ⟨d − c, H_t gap⟩ at θ + c, with d between the ends and c between the last models."""
    held_out = question.held_out
    middle = (ways[0].end.displacement + ways[1].end.displacement) / 2
    centres = [way.model.centre for way in ways if way.model.centre is not None]
    at, away = held_out.theta, middle
    if centres:
        centre = torch.stack(centres).mean(dim=0)
        at, away = at + centre, middle - centre
    found = np.zeros(question.mixing.shape[1])
    for k in question.asked:
        alone = np.eye(len(found))[k].tolist()
        try:
            slope, curved = held_out.gradient(alone, at), held_out.product(alone, gap, at)
        except NotFiniteError:
            found[k] = math.nan
            continue
        found[k] = float(_dot(slope, gap) + _dot(curved, away))
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


def _drift(way: Passage) -> float:
    """‖∇L_w(θ + d) − g_w − H_w (d − c)‖ / ‖H_w (d − c)‖ at the end, w the last part's average weights."""
    model, w = way.model, way.weights.tolist()
    away = model.away(way.end.displacement)
    try:
        curved = model.surface.product(w, away, model.at)
        real = model.surface.gradient(w, model.surface.theta + way.end.displacement)
    except NotFiniteError:
        return math.inf
    size = float(torch.linalg.vector_norm(curved))
    off = float(torch.linalg.vector_norm(real - model.g.new_tensor(w) @ model.g - curved))
    rounding = 64 * torch.finfo(away.dtype).eps * float(torch.linalg.vector_norm(real))
    return share(off, size) if off > rounding else 0.0


def apart(one: float, other: float) -> float:
    """|one − other| / the larger of the two in size; 0 where both are nothing."""
    return share(abs(one - other), max(abs(one), abs(other)))


def share(part: float, whole: float) -> float:
    """part / whole; of nothing, 0 where the part is nothing too, and else infinity."""
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return torch.dot(x.double(), y.double())
