"""D³L(z, z) by second differences of gradients: (g(θ + hẑ) − 2g(θ) + g(θ − hẑ)) ‖z‖²/h².

Not by nested reverse mode, whose third derivatives are wrong in PyTorch's own ``layer_norm``.
"""

from __future__ import annotations

import torch

from commute_verify.criterion.finite_difference import Step
from commute_verify.criterion.gradient import gradient_at
from commute_verify.criterion.objective import Batch, NotFiniteError, Objective
from commute_verify.criterion.vectors import Vector, norm

_LADDER = {torch.float64: range(1, 9), torch.float32: range(0, 7)}


def second_difference(
    objective: Objective, batch: Batch, direction: Vector, centre: Vector, size: float
) -> Vector:
    """D³(summed loss)(z, z) of a batch; ``centre`` is its gradient, ``size`` the step along ẑ."""
    length = norm(direction)
    if length == 0:
        return {name: torch.zeros_like(g) for name, g in centre.items()}
    reach = size / length
    ahead, _, _ = gradient_at(objective, objective.leaves(direction, reach), batch)
    behind, _, _ = gradient_at(objective, objective.leaves(direction, -reach), batch)
    return {
        name: ((g - centre[name]) + (behind[name] - centre[name])) / reach**2 for name, g in ahead.items()
    }


def choose_third_step(objective: Objective, batch: Batch, direction: Vector, centre: Vector) -> Step:
    """The step, a power of 1/4, whose second difference changes least when it is cut to a quarter.

    ``relative_error`` is that change over the difference itself; it says nothing where there is no third
    derivative, and what is left is rounding.
    """
    best, least, before = Step(4.0 ** -_LADDER[objective.precision][0], float("inf")), float("inf"), None
    for power in _LADDER[objective.precision]:
        try:
            now = second_difference(objective, batch, direction, centre, 4.0**-power)
        except NotFiniteError:
            continue
        if before is not None:
            gap = norm({name: t - before[name] for name, t in now.items()})
            if gap < least:
                size = norm(now)
                best, least = Step(4.0**-power, gap / size if size else 0.0), gap
        before = now
    return best
