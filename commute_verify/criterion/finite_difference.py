"""Central differences of gradients: (g(θ + h v̂) − g(θ − h v̂)) ‖v‖ / 2h, and the choice of h."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import torch

from commute_verify.criterion.explain import FAILURES, explained
from commute_verify.criterion.gradient import Products, gradient_at
from commute_verify.criterion.objective import Batch, NotFiniteError, Objective
from commute_verify.criterion.vectors import Vector, norm, relative_gap
from commute_verify.errors import CommuteError


class Step(NamedTuple):
    """A finite-difference step along a unit vector, and the relative error that it leaves."""

    size: float
    relative_error: float


_LADDER = {
    torch.float64: range(3, 10),
    torch.float32: range(2, 9),
    torch.bfloat16: range(-3, 6),
    torch.float16: range(0, 7),
}
UNSETTLED = 0.5
"""A relative error above which the difference says nothing."""
POOR = 0.1
"""A relative error above which longer steps are tried, too."""
KINDRED = 10
"""How many times larger the error of a step may be on another domain than where it was chosen."""


def choose_step(objective: Objective, batch: Batch, direction: Vector, near: Step | None = None) -> Step:
    """The step whose central difference changes least when it is cut to a quarter.

    Cutting a step that is too long removes truncation error, cutting one that is too short adds roundoff;
    the difference between neighbours estimates the error of the coarser one. Steps that leave the region
    where the loss is finite are passed over. Where parameters are so large that the longest step of the
    ladder is lost in their rounding, or is still the best, longer ones are tried, up to ‖θ‖. A step that was
    found ``near`` by is tried first, and taken if its error is not much larger here. An error of 0 says that
    no step, however long, found any curvature.
    """
    objective.look(batch)
    if near is not None:
        power = round(-math.log(near.size, 4))
        with suppress(NotFiniteError):
            found = _Search(objective, batch, direction).shorter([power - 1, power])
            if found.relative_error <= KINDRED * near.relative_error:
                return found
    ladder = _LADDER[objective.precision]
    search = _Search(objective, batch, direction)
    found = search.shorter(ladder)
    coarsest = found.size == 4.0 ** -(ladder[0] + 1)
    settled = torch.finfo(objective.precision).eps ** 0.5
    if found.relative_error > (settled if coarsest else POOR):
        found = search.longer(ladder[0], norm(objective.parameters))
    if search.blank:
        return Step(4.0 ** -ladder[0], 0.0)
    if search.refusal and found.relative_error == float("inf"):
        raise search.refusal
    return found


class _Search:
    """The best step so far, and what the steps tried have shown."""

    def __init__(self, objective: Objective, batch: Batch, direction: Vector) -> None:
        self.objective, self.batch, self.direction = objective, batch, direction
        self.length = norm(direction)
        self.best = Step(1.0, float("inf"))
        self.blank = True
        """Whether every difference was 0: no curvature, or steps lost in the rounding of the parameters."""
        self.refusal: NotFiniteError | None = None

    def shorter(self, powers: Sequence[int]) -> Step:
        """Steps 4^-power from long to short, until roundoff has taken over or two are lost at once."""
        before: Vector | None = None
        for power in powers:
            now = self._difference(power)
            if before is not None and now is not None:
                gap = self._gap(now, before, 4.0**-power)
                if gap > 30 * self.best.relative_error or self.blank:
                    break
            before = now
        return self.best

    def longer(self, power: int, limit: float) -> Step:
        """Steps from 4^-power to longer ones, within the limit, while that makes them better."""
        before = self._difference(power)
        while before is not None and 4.0 ** (1 - power) <= limit:
            now = self._difference(power - 1)
            if now is None or self._gap(before, now, 4.0**-power) > self.best.relative_error <= POOR:
                break
            before, power = now, power - 1
        return self.best

    def _difference(self, power: int) -> Vector | None:
        """The central difference with this step, unless the loss is not finite there."""
        try:
            found = _central(self.objective, self.batch, self.direction, self.length, 4.0**-power)[0]
        except NotFiniteError as error:
            self.refusal = error
            return None
        except FAILURES as error:
            raise explained(error, "finite-difference", "Check that loss_fn takes this batch") from error
        self.blank = self.blank and norm(found) == 0
        return found

    def _gap(self, finer: Vector, coarser: Vector, size: float) -> float:
        """How far two neighbours differ; a difference of 0 is a step that is lost, and not a small error."""
        gap = relative_gap(finer, coarser) if norm(finer) else float("inf")
        if gap < self.best.relative_error:
            self.best = Step(size, gap)
        return gap


def central_differences(
    objective: Objective, batch: Batch, directions: Sequence[Vector], step: Step | None
) -> Products:
    """H v for each direction, and the mean of the last one's gradients; ``step=None`` chooses one each."""
    products: list[Vector] = []
    mean: Vector = {}
    weight = 0.0
    for direction in directions:
        length = norm(direction)
        if length == 0:
            mean, weight, _ = gradient_at(objective, objective.leaves(), batch)
            products.append({name: torch.zeros_like(g) for name, g in mean.items()})
            continue
        chosen = step or choose_step(objective, batch, direction)
        if step is None and chosen.relative_error > UNSETTLED:
            raise CommuteError(
                f"differences of gradients settle at no step (relative error {chosen.relative_error:.1g}); "
                "call model.eval(), keep randomness out of loss_fn, or give float32"
            )
        product, mean, weight = _central(objective, batch, direction, length, chosen.size)
        products.append(product)
    return Products(mean, products, weight)


def _central(
    objective: Objective, batch: Batch, direction: Vector, length: float, size: float
) -> tuple[Vector, Vector, float]:
    """The central difference along a direction of this length, and the mean of its two gradients."""
    reach = size / length
    ahead, weight, _ = gradient_at(objective, objective.leaves(direction, reach), batch)
    behind, _, _ = gradient_at(objective, objective.leaves(direction, -reach), batch)
    for name, g in ahead.items():
        ahead[name] = torch.sub(g, behind[name]).div_(2 * reach)
        behind[name] = torch.lerp(behind[name], g, 0.5)
    return ahead, behind, weight
