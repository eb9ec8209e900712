"""A gradient that comes out the same twice, changes nothing, and is large enough to be multiplied."""

from __future__ import annotations

import torch
from torch import Tensor

from commute_verify.criterion.gradient import gradient
from commute_verify.criterion.objective import Batch, Objective
from commute_verify.criterion.vectors import Vector, norm
from commute_verify.errors import CommuteError

REPEATABLE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""How far two gradients of one batch may differ, relative to their size: the order of sums on a GPU."""


def repeatable_gradient(objective: Objective, batch: Batch) -> Vector:
    """The gradient of a batch, twice the same, without a change to any buffer; its precision is noted."""
    buffers = {name: buffer.clone() for name, buffer in objective.buffers().items()}
    with objective.watched():
        g, weight, loss = gradient(objective, batch)
    again, weight_again, loss_again = gradient(objective, batch)
    changed = [name for name, b in objective.buffers().items() if not _same(b, buffers.get(name))]
    if changed:
        raise CommuteError(
            f"the loss changes the buffer {changed[0]}, as batch normalisation does in train mode; call "
            "model.eval()"
        )
    gap, size = norm({name: g[name] - again[name] for name in g}), norm(g)
    allowed = REPEATABLE[objective.precision]
    if weight != weight_again or gap > allowed * size or abs(loss - loss_again) > allowed * abs(loss):
        raise CommuteError(
            f"the same batch gives two answers (losses {loss:.9g} and {loss_again:.9g}, gradients {gap:.1e} "
            "apart); call model.eval(), which stops dropout, and keep randomness out of loss_fn"
        )
    if 0 < size**2 < torch.finfo(objective.dtype).tiny:
        raise CommuteError(
            f"the gradient's norm is {size:.1e}, whose square {objective.dtype} does not hold; multiply the "
            "loss by a constant c (P then grows by c³), or give the model in float64"
        )
    return g


def _same(buffer: Tensor, before: Tensor | None) -> bool:
    return before is not None and torch.equal(buffer, before)
