r"""Hessian-vector products by three methods that were found to agree with dense autograd.

    double-backward       ∂⟨g, v⟩/∂θ, reverse over reverse; one graph serves several directions
    forward-over-reverse  the tangent of g along v
    finite-difference     central differences of g, with fused attention too; h by its own error estimate

Reverse over forward is not offered: PyTorch's second derivative of layer_norm is wrong there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Literal, get_args

import torch
from torch.autograd import forward_ad

from commute_verify.criterion import checked
from commute_verify.criterion.explain import FAILURES, explained
from commute_verify.criterion.finite_difference import Step, central_differences
from commute_verify.criterion.gradient import Products, derivatives, gradient_at
from commute_verify.criterion.objective import Batch, Evaluation, Objective
from commute_verify.criterion.vectors import Vector
from commute_verify.errors import CommuteError

Method = Literal["double-backward", "forward-over-reverse", "finite-difference"]
METHODS: tuple[Method, ...] = get_args(Method)


def check_method(method: str) -> None:
    """Refuse a name that is no method."""
    if not isinstance(method, str) or method not in METHODS:
        raise CommuteError(f"{checked.shown('method', method)}; give one of {', '.join(METHODS)}")


def hessian_vector_products(
    objective: Objective, batch: Batch, directions: Sequence[Vector], method: Method, step: Step | None = None
) -> Products:
    """H v for each direction v, with the gradient beside them; ``step`` is for finite differences."""
    try:
        if method == "double-backward":
            return _double_backward(objective, batch, directions)
        if method == "forward-over-reverse":
            return _forward_over_reverse(objective, batch, directions)
        return central_differences(objective, batch, directions, step)
    except FAILURES as error:
        others = f"Give another of {', '.join(m for m in METHODS if m != method)}"
        raise explained(error, method, others) from error


def _double_backward(objective: Objective, batch: Batch, directions: Sequence[Vector]) -> Products:
    leaves = objective.leaves()

    def twice(evaluation: Evaluation) -> Products:
        g = derivatives(evaluation.loss, leaves)
        curved = {name: entry for name, entry in g.items() if entry.requires_grad}
        products = []
        for number, direction in enumerate(directions, start=1):
            if not curved:
                products.append({name: torch.zeros_like(p) for name, p in leaves.items()})
                continue
            product = torch.autograd.grad(
                list(curved.values()),
                list(leaves.values()),
                [direction[name].to(entry.dtype) for name, entry in curved.items()],
                retain_graph=number < len(directions),
                allow_unused=True,
                materialize_grads=True,
            )
            products.append(dict(zip(leaves, product, strict=True)))
        return Products({name: entry.detach() for name, entry in g.items()}, products, evaluation.weight)

    return objective.evaluate(leaves, batch, twice)


def _forward_over_reverse(objective: Objective, batch: Batch, directions: Sequence[Vector]) -> Products:
    products: list[Vector] = []
    primal: Vector = {}
    weight = 0.0
    _load_forward_rules()
    for direction in directions:
        with forward_ad.dual_level():
            leaves = {
                name: forward_ad.make_dual(p, direction[name].to(p.dtype))  # type: ignore[no-untyped-call]
                for name, p in objective.leaves().items()
            }
            g, weight, _ = gradient_at(objective, leaves, batch)
            pairs = {name: forward_ad.unpack_dual(entry) for name, entry in g.items()}  # type: ignore[no-untyped-call]
            primal = {name: pair.primal for name, pair in pairs.items()}
            products.append(
                {
                    name: torch.zeros_like(pair.primal) if pair.tangent is None else pair.tangent
                    for name, pair in pairs.items()
                }
            )
    return Products(primal, products, weight)


@cache
def _load_forward_rules() -> None:
    """Let PyTorch load its forward-mode rules once, without its own deprecation warning."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))  # type: ignore[no-untyped-call]
