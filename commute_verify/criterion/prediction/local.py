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

from commute_verify.criterion.objective import NotFiniteError
from commute_verify.criterion.prediction.answer import Verdict, decisive, verdict
from commute_verify.criterion.prediction.coordinates import PROBES, Coordinates
from commute_verify.criterion.prediction.iterated import Sums, changes, sums
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
BENT = 0.3
"""How much order 2 may change where it is taken along the window."""


class Series(NamedTuple):
    """One replicate: what it finds, flow time · λ_max, and Σ |term| over the terms of order 2, (T,).

    ``noise`` (T,) is what rounding may leave of terms that cancel: those of order 1 among them. ``change``
    (T,) is how much order 2 changes along the window, 0 where it is too long, or order 3 has seen it.
    """

    found: Found
    reach: float
    sizes: Array
    noise: Array
    change: Array


class Terms(NamedTuple):
    """Order 2 at one point, for every target (T,).

    ``bent`` is the largest ‖H_w u‖ / ‖u‖ of all targets, which λ_max is at least; ``sizes`` is Σ |term| over
    the terms of order 2, and ``noise`` what rounding is.
    """

    excess: Array
    bent: float
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
    """Order 2: K gradients and K products for each target's domains, λ_max beside them.

    The same again along the window, unless it is too long.
    """
    return _together([_order_2(question) for question in questions], "flow time · λ_max", 1, REACH)


def local_price(question: Question) -> int:
    """What order 2 takes of one replicate before it is asked, in gradients, for more than 5 parameters.

    Half of it where the window is too long by λ_max already. The steps that differences of gradients look
    for come on top.
    """
    fields, kept = question.fields, question.held_out
    every = fields.passes(range(len(fields.names)))
    products = len(question.asked) * every
    if sums(question, coordinates(question).decays).displaced:
        products += len(fields.names) * kept.passes(question.asked)
    once = every + kept.passes(question.asked) + (1 + PRODUCT) * products
    probes = sum(fields.passes(np.flatnonzero(w).tolist()) for w in question.averages())
    watched = 0
    if question.optimizer.clip is not None:
        for schedule in (question.window.schedule, question.window.reference):
            watched += sum(2 * fields.passes(np.flatnonzero(w).tolist()) for w in schedule.weights)
    return 2 * once + (1 + PRODUCT) * PROBES * probes + watched


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
    turns = np.abs(np.mean([one.change for one in every], axis=0)).tolist()
    verdicts = [
        decisive(
            [
                judged,
                *_left(name, beyond, "terms of order 2", part, whole, limit),
                *_beside_it("rounding", noise, part, NOISE),
                *_beside_it("the change of order 2 along the window,", change, part, BENT),
            ]
        )
        for judged, part, whole, noise, change in zip(
            told.verdicts, parts, wholes, noises, turns, strict=True
        )
    ]
    return told._replace(verdicts=verdicts)


def _left(name: str, beyond: float, what: str, part: float, whole: float, limit: float) -> list[Verdict]:
    """Whether the next order, ``beyond`` times the whole, is small beside the part that is left of it."""
    if part >= whole * (1 - ROUNDING):
        return []
    ratio = beyond * whole / part if part else math.inf
    return [verdict(f"{name} over what is left of the {what}", ratio, limit, "for this order at most")]


def _beside_it(what: str, size: float, part: float, limit: float) -> list[Verdict]:
    """Whether something is small beside the excess, where there is any of it."""
    if not size:
        return []
    return [verdict(f"{what} over the excess", size / part if part else math.inf, limit, "allowed")]


def _order_2(question: Question) -> Series:
    at, g = _start(question)
    moved = sums(question, at.decays)
    here = _terms(question, at, moved, g)
    reach = _reach(question, at, g, here.bent)
    near = verdict("flow time · λ_max", reach, REACH, "for order 2 at most")
    judged = decisive([near, *_left("flow time · λ_max", reach, "area", question.window.kept(), 1.0, REACH)])
    _watch(question, at, g)
    notes = (f"order 2 of the series; flow time · λ_max = {reach:.3g}",)
    found = Found(here.excess, [judged] * len(here.excess), notes)
    along = _along(question, at, moved, g) if judged.valid else here.excess
    return Series(found, reach, here.sizes, here.noise, along - here.excess)


def _along(question: Question, at: Coordinates, moved: Sums, g: Tensor) -> Array:
    """Order 2 with domains in the middle of the window and targets at its end; inf where that is no number.

    To first order the way there is straight.
    """
    times = _staged(question, question.window.schedule, at.decays)[1].sum(axis=0)
    way = -at.inward(g.new_tensor(times.tolist()) @ g)
    middle, end = question.fields.theta + way / 2, question.fields.theta + way
    try:
        return _terms(question, at, moved, at.gradients(question.fields, middle), middle, end).excess
    except NotFiniteError:
        return np.full(len(question.mixing), math.inf)


def _order_3(question: Question) -> Series:
    at, g = _start(question)
    here = _terms(question, at, sums(question, at.decays), g)
    third = _third(question, at, g)
    excess = here.excess + third.excess
    reach = _reach(question, at, g, here.bent)
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
    return Series(Found(excess, verdicts, notes), reach, here.sizes, here.noise, np.zeros_like(excess))


def coordinates(question: Question) -> Coordinates:
    """Where the question's descent is plain."""
    D = question.optimizer.preconditioner(question.fields.theta)
    return Coordinates(None if D is None else D.sqrt(), question.optimizer.shrinkage(D))


def _start(question: Question) -> tuple[Coordinates, Tensor]:
    at = coordinates(question)
    return at, at.gradients(question.fields)


def _reach(question: Question, at: Coordinates, g: Tensor, bent: float) -> float:
    curvature = np.max([bent, *(at.curvature(question.fields, w, g) for w in question.averages())])
    return question.window.flow_time() * float(curvature)


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


def _terms(
    question: Question,
    at: Coordinates,
    moved: Sums,
    g: Tensor,
    middle: Tensor | None = None,
    end: Tensor | None = None,
) -> Terms:
    """Order 2 for every target at the start, or with domains in the ``middle`` and targets at the ``end``.

    ``g`` are the domains' gradients there.
    """
    d1, d2, squares = moved
    nothing, none = torch.zeros_like(g).double(), np.zeros_like(d1)
    found, sizes, noise = np.zeros((3, question.mixing.shape[1]))
    bent, time = 0.0, question.window.flow_time()
    held_out = question.held_out
    for c in question.asked:
        u = at.inward(held_out.loss_and_gradient(c, held_out.theta if end is None else end)[1])
        Hu = torch.stack([at.product(question.fields, k, u, middle) for k in range(len(g))])
        sizes[c] = _size(d2, g @ Hu.T)
        if bool(u.any()):
            mixed = [torch.linalg.vector_norm(at.mixed(w, Hu)) for w in question.averages()]
            bent = max(bent, float(max(mixed) / torch.linalg.vector_norm(u)))
        excess = excess_loss_2(_beside(g, d1), _beside(g, d2), g.double(), u.double(), Hu.double(), nothing)
        if moved.displaced:
            HLg = torch.stack([at.product(held_out, c, row, end) for row in g])
            excess = excess + excess_loss_2(
                _beside(g, none), _beside(g, squares), g.double(), u.double(), nothing, HLg.double()
            )
            sizes[c] += _size(squares, g @ HLg.T)
        found[c] = float(excess)
        noise[c] = np.finfo(np.float64).eps * time * float(torch.abs(g @ u).sum())
    noise += torch.finfo(g.dtype).eps * sizes
    return Terms(question.mixing @ found, bent, question.mixing @ sizes, question.mixing @ noise)


def _size(signatures: Array, products: Tensor) -> float:
    return float(np.abs(signatures * products.double().cpu().numpy()).sum())


def _third(question: Question, at: Coordinates, g: Tensor) -> Third:
    """What is of order 3; domains that neither schedule trains are in no term."""
    _, _, d3 = changes(question, at.decays, discrete=False)
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
