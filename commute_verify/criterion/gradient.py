"""The gradient of a batch's summed loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from commute_verify.criterion.explain import FAILURES, explained
from commute_verify.criterion.objective import Batch, Evaluation, Objective
from commute_verify.criterion.vectors import Vector, is_finite
from commute_verify.errors import CommuteError


class Gradient(NamedTuple):
    """The gradient of the summed loss of one batch, the batch's weight, and the loss."""

    vector: Vector
    weight: float
    loss: float


class Products(NamedTuple):
    """Gradient and Hessian-vector products of the summed loss of one batch, and the batch's weight."""

    gradient: Vector
    products: list[Vector]
    weight: float


def gradient(objective: Objective, batch: Batch) -> Gradient:
    """One forward and one backward pass, checked to be finite."""
    try:
        found = gradient_at(objective, objective.leaves(), batch)
    except FAILURES as error:
        raise explained(error, "gradient", "Check that loss_fn takes this batch") from error
    if not is_finite(found.vector):
        odd = next(name for name, g in found.vector.items() if not is_finite({name: g}))
        raise CommuteError(
            f"the loss is {found.loss:.3g} but its gradient in {odd} is not finite; look for a root, "
            "logarithm or quotient at 0, or give float32"
        )
    return found


def gradient_at(objective: Objective, leaves: Vector, batch: Batch) -> Gradient:
    """The same at other parameters, unchecked."""
    return objective.evaluate(leaves, batch, lambda evaluation: _backward(objective, evaluation, leaves))


def _backward(objective: Objective, evaluation: Evaluation, leaves: Vector) -> Gradient:
    found = _whole(objective.gradients(evaluation.loss, leaves), leaves)
    return Gradient(found, evaluation.weight, float(evaluation.loss.detach()))


def derivatives(loss: Tensor, leaves: Vector) -> Vector:
    """∂loss/∂leaf for each leaf, 0 where the loss does not touch it, to be differentiated further."""
    return _whole(
        torch.autograd.grad(loss, list(leaves.values()), create_graph=True, allow_unused=True), leaves
    )


def _whole(found: Sequence[Tensor | None], leaves: Vector) -> Vector:
    if all(g is None for g in found):
        raise CommuteError(
            "the loss does not depend on the chosen parameters; check loss_fn and params=, and checkpoint "
            "with use_reentrant=False"
        )
    pairs = zip(leaves.items(), found, strict=True)
    return {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}
