"""A method tried on one batch: its products, its speed, and how far they are from what they should be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import torch

from commute_verify.criterion.finite_difference import Step, choose_step
from commute_verify.criterion.hessian_products import METHODS, Method, hessian_vector_products
from commute_verify.criterion.objective import Batch, Objective
from commute_verify.criterion.vectors import Vector, dot, norm, relative_gap
from commute_verify.errors import CommuteError

TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2, torch.bfloat16: 0.5, torch.float16: 0.5}
"""How far two methods, or ⟨u, Hv⟩ and ⟨v, Hu⟩, may differ, relative to their size."""
NEGLIGIBLE = {torch.float64: 1e-7, torch.float32: 2e-2, torch.bfloat16: 0.5, torch.float16: 0.5}
"""A curvature ‖H v̂‖ / ‖g‖ below this is as good as 0 when methods are compared: differences end there."""


class Directions(NamedTuple):
    """u, the gradient unless it is 0, a random v, ‖g‖, and whether both go through one pass."""

    u: Vector
    v: Vector
    slope: float
    together: bool


class Trial(NamedTuple):
    """A method's H u and H v, the seconds of one product, and its step for finite differences."""

    hu: Vector
    hv: Vector
    seconds: float
    step: Step | None

    @property
    def own_error(self) -> float:
        """The error that finite differences estimate for themselves."""
        return self.step.relative_error if self.step else 0.0


class Verdict(NamedTuple):
    """How unsymmetric a method is, its own error, and how far it is from another, where one could tell."""

    symmetry: float
    own_error: float
    other: Method | None
    gap: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.symmetry, self.own_error, self.gap)

    @property
    def words(self) -> str:
        """What was compared, and the relative differences found."""
        parts = [f"⟨u, Hv⟩ and ⟨v, Hu⟩ differ by {self.symmetry:.1e}"]
        if self.own_error:
            parts.append(f"two steps by {self.own_error:.1e}")
        if self.other:
            parts.append(f"the products and {self.other}'s by {self.gap:.1e}")
        return ", ".join(parts)


def trial(
    objective: Objective, batch: Batch, directions: Directions, method: Method, near: Step | None = None
) -> Trial:
    """Both products by one method, timed; finite differences choose their step along u."""
    u, v, _, together = directions
    step = choose_step(objective, batch, u, near) if method == "finite-difference" else None
    products: list[Vector] = []
    seconds: list[float] = []
    for part in [[u, v]] if together else [[u], [v]]:
        started = time.perf_counter()
        products += hessian_vector_products(objective, batch, part, method, step).products
        if objective.device.type == "cuda":
            torch.cuda.synchronize(objective.device)
        seconds.append((time.perf_counter() - started) / len(part))
    return Trial(products[0], products[1], min(seconds), step)


def tried(
    objective: Objective, batch: Batch, directions: Directions, method: Method | None
) -> tuple[dict[Method, Trial], dict[Method, str]]:
    """Each method's trial or why it has none; beside a method asked for, only what can judge it."""
    trials: dict[Method, Trial] = {}
    refused: dict[Method, str] = {}
    for candidate in sorted(METHODS, key=lambda m: (m != method, m != "finite-difference")):
        if method == "finite-difference" != candidate:
            break
        known = judge(trials, directions, objective.precision)
        if method not in (None, "finite-difference", candidate) and known:
            break
        try:
            trials[candidate] = trial(objective, batch, directions, candidate)
        except CommuteError as error:
            refused[candidate] = str(error)
            if candidate == method:
                raise
    return trials, refused


def judge(trials: Mapping[Method, Trial], directions: Directions, precision: torch.dtype) -> Method | None:
    """Central differences, where they found a symmetric curvature with an error far below the tolerance."""
    found, allowed = trials.get("finite-difference"), TOLERANCE[precision]
    if found is None or found.own_error > allowed / 10 or norm(found.hu) == 0:
        return None
    return "finite-difference" if _asymmetry(found, directions, precision) <= allowed else None


def _asymmetry(found: Trial, directions: Directions, precision: torch.dtype) -> float:
    """|⟨u, Hv⟩ − ⟨v, Hu⟩| relative to their size."""
    u, v, slope, _ = directions
    least = NEGLIGIBLE[precision] * slope
    size = norm(u) * norm(found.hv) + norm(v) * norm(found.hu) + 2 * least * norm(u) * norm(v)
    return float((dot(u, found.hv) - dot(v, found.hu)).abs()) / size if size else 0.0


def verdict(
    method: Method, trials: Mapping[Method, Trial], directions: Directions, precision: torch.dtype
) -> Verdict:
    """One method held against its own symmetry, its own error, and the judge or the nearest other method."""
    mine, chosen = trials[method], judge(trials, directions, precision)
    least = NEGLIGIBLE[precision] * directions.slope * norm(directions.u)
    others = [m for m in trials if m != method and chosen in (None, m)] if method != chosen else []
    gaps = {other: relative_gap(mine.hu, trials[other].hu, least) for other in others}
    nearest = min(gaps, key=lambda other: gaps[other], default=None)
    symmetry = _asymmetry(mine, directions, precision)
    return Verdict(symmetry, mine.own_error, nearest, gaps[nearest] if nearest else 0.0)


def held(
    objective: Objective,
    batch: Batch,
    directions: Directions,
    method: Method,
    other: Method | None,
    near: Step | None,
) -> tuple[Trial, Verdict]:
    """A method's trial on a further batch, held along u against the other that it was held against before.

    The step found ``near`` by serves where it shows no difference; else the step is chosen here.
    """
    mine = trial(objective, batch, directions, method, near)
    alone = verdict(method, {method: mine}, directions, objective.precision)
    if other is None:
        return mine, alone
    allowed, least = TOLERANCE[objective.precision], NEGLIGIBLE[objective.precision] * directions.slope
    for step in (near, None):
        if other == "finite-difference" and step is None:
            step = choose_step(objective, batch, directions.u, near)
            if step.relative_error > allowed / 10:
                return mine, alone
        product = hessian_vector_products(objective, batch, [directions.u], other, step).products[0]
        gap = relative_gap(mine.hu, product, least * norm(directions.u))
        if gap <= allowed:
            break
    return mine, alone._replace(other=other, gap=gap)
