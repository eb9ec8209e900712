"""Central differences of gradients: (g(θ + h v̂) − g(θ − h v̂)) ‖v‖ / 2h, and the choice of h."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import torch

from commute_verify.criterion.explain import explained
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
KINDRED = 10
"""How many times larger the error of a step may be on another domain than where it was chosen."""


def choose_step(objective: Objective, batch: Batch, direction: Vector, near: Step | None = None) -> Step:
    """The step whose central difference changes least when it is cut to a quarter.

    Cutting a step that is too long removes truncation error, cutting one that is too short adds roundoff;
    the difference between neighbours estimates the error of the coarser one. Steps that leave the region
    where the loss is finite are passed over. A step that was found ``near`` by is tried first, and taken if
    its error is not much larger here.
    """
    if near is not None:
        power = round(-math.log(near.size, 4))
        with suppress(NotFiniteError):
            found = _best_step(objective, batch, direction, [power - 1, power])
            if found.relative_error <= KINDRED * near.relative_error:
                return found
    return _best_step(objective, batch, direction, list(_LADDER[objective.dtype]))


def _best_step(objective: Objective, batch: Batch, direction: Vector, powers: Sequence[int]) -> Step:
    """The best of the steps 4^-power, from long to short; the climb ends where roundoff has taken over."""
    length = norm(direction)
    before: Vector | None = None
    refusal: NotFiniteError | None = None
    best = Step(4.0 ** -powers[0], float("inf"))
    for power in powers:
        try:
            now = _central(objective, batch, direction, length, 4.0**-power)[0]
        except NotFiniteError as error:
            before, refusal = None, error
            continue
        except (RuntimeError, MemoryError) as error:
            raise explained(error, "finite-difference", "Check that loss_fn takes this batch") from error
        if before is not None:
            gap = relative_gap(now, before)
            if gap < best.relative_error:
                best = Step(4.0**-power, gap)
            elif gap > 30 * best.relative_error:
                break
        before = now
    if refusal and best.relative_error == float("inf"):
        raise refusal
    return best


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
