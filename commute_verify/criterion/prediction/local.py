"""The local predictors: the series in the window's length to order 2 and 3, by the generated kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.prediction.answer import Verdict, decisive, verdict
from commute_verify.criterion.prediction.coordinates import PROBES, Coordinates
from commute_verify.criterion.prediction.iterated import signature
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Found, Replicated, together
from commute_verify.criterion.prediction.surface import PRODUCT
from commute_verify.kernels.torch_kernels import excess_loss_2, excess_loss_3
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

REACH = 0.3
"""The longest window, as flow time · λ_max, that order 2 is relied on for."""
REACH_3 = 0.6
"""The same for order 3, which can be far off beyond and differ little from order 2."""
ROUNDING = 1e-9
"""How much may cancel by rounding."""
NOISE = 0.1
"""How much of an excess may be rounding."""
THIRD = 0.3
"""How far orders 2 and 3 may differ, relative to order 3."""


class Series(NamedTuple):
    """One replicate: what it finds, flow time · λ_max, and Σ |term| over the terms of order 2, (T,).

    ``noise`` (T,) is what rounding may leave of terms that cancel: those of order 1 among them.
    """

    found: Found
    reach: float
    sizes: Array
    noise: Array


class Third(NamedTuple):
    """The terms of order 3 for every target (T,), and what their products tell besides.

    ``asymmetry`` is that of the third derivatives; ``kappa`` the largest ‖R_ij‖ / ‖g_i + g_j‖ of two domains.
    """

    excess: Array
    asymmetry: float = 0.0
    kappa: float = 0.0


def local(questions: Sequence[Question]) -> Replicated:
    """Order 2: K gradients and K products for each target's domains, λ_max beside them."""
    return _together([_order_2(question) for question in questions], "flow time · λ_max", 1, REACH)


def local_price(question: Question) -> int:
    """What order 2 takes of one replicate before it is asked, in gradients, at least.

    Clipping that is watched, and a target's own curvature where it counts, come on top.
    """
    fields, trained = question.fields, np.flatnonzero(question.average()).tolist()
    every = fields.passes(range(len(fields.names)))
    products = len(question.asked) * every + PROBES * fields.passes(trained)
    return every + question.held_out.passes(question.asked) + (1 + PRODUCT) * products


def local_3(questions: Sequence[Question]) -> Replicated:
    """Order 3; third derivatives by differences of products.

    Discrete steps are taken as steps to order 2 and as a flow in the terms of order 3.
    """
    every = [_order_3(question) for question in questions]
    return _together(every, "(flow time · λ_max)²", 2, REACH_3**2)


def _together(every: Sequence[Series], name: str, power: int, limit: float) -> Replicated:
    """All replicates; how far the terms of order 2 cancel is judged of the means."""
    told = together([one.found for one in every])
    beyond = max(one.reach for one in every) ** power
    parts = np.abs(told.excess.mean(axis=0)).tolist()
    wholes = np.mean([one.sizes for one in every], axis=0).tolist()
    noises = np.mean([one.noise for one in every], axis=0).tolist()
    verdicts = [
        decisive([judged, *_left(name, beyond, "terms of order 2", part, whole, limit), *_heard(noise, part)])
        for judged, part, whole, noise in zip(told.verdicts, parts, wholes, noises, strict=True)
    ]
    return told._replace(verdicts=verdicts)


def _left(name: str, beyond: float, what: str, part: float, whole: float, limit: float) -> list[Verdict]:
    """Whether the next order, ``beyond`` times the whole, is small beside the part that is left of it."""
    if part >= whole * (1 - ROUNDING):
        return []
    ratio = beyond * whole / part if part else math.inf
    return [verdict(f"{name} over what is left of the {what}", ratio, limit, "for this order at most")]


def _heard(noise: float, part: float) -> list[Verdict]:
    """Whether the excess stands out of rounding, where there is any."""
    if not noise:
        return []
    ratio = noise / part if part else math.inf
    return [verdict("rounding over the excess", ratio, NOISE, "allowed")]


def _order_2(question: Question) -> Series:
    at, g = _start(question)
    excess, bent, sizes, noise = _excess(question, at, g)
    reach = _reach(question, at, g, bent)
    near = verdict("flow time · λ_max", reach, REACH, "for order 2 at most")
    checks = [near, *_left("flow time · λ_max", reach, "area", question.window.kept(), 1.0, REACH)]
    _watch(question, at, g)
    notes = (f"order 2 of the series; flow time · λ_max = {reach:.3g}",)
    return Series(Found(excess, [decisive(checks)] * len(excess), notes), reach, sizes, noise)


def _order_3(question: Question) -> Series:
    at, g = _start(question)
    second, bent, sizes, noise = _excess(question, at, g)
    third = _third(question, at, g)
    excess = second + third.excess
    reach = _reach(question, at, g, bent)
    _watch(question, at, g)
    near = verdict("flow time · λ_max", reach, REACH_3, "for order 3 at most")
    shares = [
        abs(beyond) / abs(size) if size else 0.0 for beyond, size in zip(third.excess, excess, strict=True)
    ]
    verdicts = [
        decisive([near, verdict("the third order over the sum", float(share), THIRD, "allowed")])
        for share in shares
    ]
    notes = (
        f"order 3 of the series; flow time · λ_max = {reach:.3g}, flow time · κ = "
        f"{question.window.flow_time() * third.kappa:.3g}; D³L(a, b) and D³L(b, a) differ by "
        f"{third.asymmetry:.1e}",
    )
    return Series(Found(excess, verdicts, notes), reach, sizes, noise)


def coordinates(question: Question) -> Coordinates:
    """Where the question's descent is plain."""
    D = question.optimizer.preconditioner(question.fields.theta)
    return Coordinates(None if D is None else D.sqrt(), question.optimizer.shrinkage(D))


def _start(question: Question) -> tuple[Coordinates, Tensor]:
    at = coordinates(question)
    return at, at.gradients(question.fields)


def _reach(question: Question, at: Coordinates, g: Tensor, bent: float) -> float:
    curvature = at.curvature(question.fields, question.average(), g)
    return question.window.flow_time() * float(np.maximum(curvature, bent))


def _watch(question: Question, at: Coordinates, g: Tensor) -> None:
    """Where gradients may be clipped: look at them at the stages' ends as well, to first order."""
    if question.optimizer.clip is None:
        return
    for schedule in (question.window.schedule, question.window.reference):
        x = torch.zeros_like(g[0])
        for w, piece in zip(*_staged(question, schedule, at.decays), strict=True):
            for moved in (x, x - g.new_tensor(piece.tolist()) @ g):
                question.fields.watch(w.tolist(), question.fields.theta + at.inward(moved))
            x = moved


def _staged(question: Question, schedule: WeightSchedule, decays: bool) -> tuple[Array, Array]:
    """Weights (S, K) of the stages, and what the letters come to in each, in flow time."""
    times = np.array([stage.clock.time for stage in question.window.stages(schedule, "flow")])[:, None]
    x: Array = times * schedule.weights
    return schedule.weights, np.hstack([x, times]) if decays else x


def _signatures(question: Question, at: Coordinates, discrete: bool) -> list[Array]:
    """d1, d2 and d3: the schedule's iterated sums less the reference's, weight decay as one more letter."""
    both = [
        signature(_pieces(question, schedule, at.decays, discrete), discrete=discrete)
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


def _excess(question: Question, at: Coordinates, g: Tensor) -> tuple[Array, float, Array, Array]:
    """Order 2 for every target, ‖H_w u‖ / ‖u‖, Σ |term| over the terms of order 2, and what rounding is.

    ‖H_w u‖ / ‖u‖ is the largest of all targets; λ_max is at least that.

    A step does not see itself, so that H_j acts on iterated sums; the target's own curvature acts on the
    square of the displacement, whose coefficients S_i S_j are those of the flow whatever the steps are.
    """
    d1, d2, _ = _signatures(question, at, question.dynamics == "steps")
    squares = _signatures(question, at, False)[1] if question.window.whole else d2
    symmetric = squares + squares.T
    nothing, none = torch.zeros_like(g).double(), np.zeros_like(d1)
    found, sizes, noise = np.zeros((3, question.mixing.shape[1]))
    bent, time = 0.0, question.window.flow_time()
    for c in question.asked:
        u = at.inward(question.held_out.loss_and_gradient(c, question.held_out.theta)[1])
        Hu = torch.stack([at.product(question.fields, k, u) for k in range(len(g))])
        sizes[c] = _size(d2, g @ Hu.T)
        if bool(u.any()):
            mixed = at.mixed(question.average(), Hu)
            bent = max(bent, float(torch.linalg.vector_norm(mixed) / torch.linalg.vector_norm(u)))
        excess = excess_loss_2(_beside(g, d1), _beside(g, d2), g.double(), u.double(), Hu.double(), nothing)
        if np.abs(symmetric).max() > 1e-12 * np.abs(squares).max():
            HLg = torch.stack([at.product(question.held_out, c, row) for row in g])
            excess = excess + excess_loss_2(
                _beside(g, none), _beside(g, squares), g.double(), u.double(), nothing, HLg.double()
            )
            sizes[c] += _size(squares, g @ HLg.T)
        found[c] = float(excess)
        noise[c] = np.finfo(np.float64).eps * time * float(torch.abs(g @ u).sum())
    noise += torch.finfo(g.dtype).eps * sizes
    return question.mixing @ found, bent, question.mixing @ sizes, question.mixing @ noise


def _size(signatures: Array, products: Tensor) -> float:
    return float(np.abs(signatures * products.double().cpu().numpy()).sum())


def _third(question: Question, at: Coordinates, g: Tensor) -> Third:
    """What is of order 3; domains that neither schedule trains are in no term."""
    _, _, d3 = _signatures(question, at, False)
    letters = [k for k in range(len(g)) if any(d3.take(k, axis).any() for axis in range(3))]
    if not letters:
        return Third(np.zeros(len(question.mixing)))
    g, d3 = g[letters], d3[np.ix_(letters, letters, letters)]
    Hg = torch.stack([torch.stack([at.product(question.fields, i, v) for v in g]) for i in letters])
    d1, d2 = np.zeros(len(g)), np.zeros((len(g), len(g)))
    found, asymmetry = np.zeros(question.mixing.shape[1]), 0.0
    for c in question.asked:
        held_out = question.held_out
        u = at.inward(held_out.loss_and_gradient(c, held_out.theta)[1])
        Hu = torch.stack([at.product(question.fields, k, u) for k in letters])
        HLg = torch.stack([at.product(held_out, c, row) for row in g])
        Tu_g = torch.stack([torch.stack([at.third(question.fields, i, u, v) for v in g]) for i in letters])
        TL = torch.stack([torch.stack([at.third(held_out, c, v, w) for w in g]) for v in g])
        gap = torch.linalg.vector_norm(TL - TL.transpose(0, 1))
        size = torch.linalg.vector_norm(TL)
        asymmetry = max(asymmetry, float(gap / size) if size else 0.0)
        arguments = (t.double() for t in (g, u, Hu, Hg, HLg, Tu_g, TL))
        found[c] = float(excess_loss_3(*(_beside(g, d) for d in (d1, d2, d3)), *arguments))
    domains = sum(k < len(question.fields.names) for k in letters)
    return Third(question.mixing @ found, asymmetry, _kappa(g[:domains], Hg))


def _kappa(g: Tensor, Hg: Tensor) -> float:
    """max ‖H_j g_i − H_i g_j‖ / ‖g_i + g_j‖ over pairs, infinite where two gradients cancel.

    Where η κ passes about 0.1, steps of size η were seen to leave the bracket (Piontkovskaia and Nikolenko,
    2026). No verdict rests on it: near the mixture's minimum it is infinite, and predictions hold.
    """
    found = 0.0
    for i, j in combinations(range(len(g)), 2):
        bracket, both = (float(torch.linalg.vector_norm(v)) for v in (Hg[j, i] - Hg[i, j], g[i] + g[j]))
        found = max(found, bracket / both if both else math.inf)
    return found


def _beside(g: Tensor, array: Array) -> Tensor:
    """In float64, where ``g`` is."""
    return torch.tensor(array.tolist(), dtype=torch.float64, device=g.device)
