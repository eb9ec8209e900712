"""Every way to one Hessian-vector product of the summed loss of one batch: ours, the paper's, the peers'.

A way is prepared once, outside the clock, and then called; it returns H v in the order of the parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from benchmarks.gpt2 import FUSED, PLAIN, Batch, Logits, TokenLoss, loss_fn
from commute_verify.criterion.finite_difference import Step, choose_step
from commute_verify.criterion.gradient import gradient
from commute_verify.criterion.hessian_products import Method, hessian_vector_products
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.vectors import Vector

Call = Callable[[], list[Tensor]]
Prepare = Callable[[GPT2LMHeadModel, Batch, Vector], Call]
OURS, PAPER, PEER = "commute_verify", "paper", "peer"


@dataclass(frozen=True)
class Way:
    """Who offers it, under which attention it runs, whether it is exact, and how it is prepared."""

    owner: str
    attention: str
    exact: bool
    prepare: Prepare


STEP = Step(4.0**-6, float("nan"))
"""What ``choose_step`` finds for these models in float32; its own cost is measured apart."""


def ours(method: Method) -> Prepare:
    """One pass of the criterion, which returns the gradient as well; the step has been chosen before."""

    def prepare(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Call:
        objective = Objective.of(model, loss_fn)
        step = STEP if method == "finite-difference" else None
        return lambda: list(hessian_vector_products(objective, batch, [v], method, step).products[0].values())

    return prepare


def step_choice(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Callable[[], object]:
    """What precedes finite differences, once."""
    objective = Objective.of(model, loss_fn)
    return lambda: choose_step(objective, batch, v)


def paper(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Call:
    """Reverse over reverse, as the paper computes each product of each pair."""
    parameters = list(model.parameters())

    def call() -> list[Tensor]:
        g = torch.autograd.grad(loss_fn(model, batch)[0], parameters, create_graph=True)
        return list(torch.autograd.grad(g, parameters, list(v.values())))

    return call


def curvlinops(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Call:
    """``HessianLinearOperator @ v``: forward over reverse."""
    from curvlinops import HessianLinearOperator

    operator = HessianLinearOperator(
        Logits(model),
        TokenLoss(),
        list(model.parameters()),
        [batch],
        check_deterministic=False,
        num_data=len(batch[0]),
    )
    vector = list(v.values())
    return lambda: list(operator @ vector)


def eigenthings(method: str) -> Prepare:
    """``HessianOperator.matvec`` by either of its methods."""

    def prepare(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Call:
        from hessian_eigenthings import HessianOperator

        operator = HessianOperator(model, [batch], lambda m, b: loss_fn(m, b)[0], method=method)
        flat = torch.cat([t.flatten() for t in v.values()])
        shapes = [t.shape for t in v.values()]
        sizes = [t.numel() for t in v.values()]

        def call() -> list[Tensor]:
            return [
                t.view(shape) for t, shape in zip(operator.matvec(flat).split(sizes), shapes, strict=True)
            ]

        return call

    return prepare


def pyhessian(model: GPT2LMHeadModel, batch: Batch, v: Vector) -> Call:
    """``hessian`` keeps the gradient's graph, ``hessian_vector_product`` differentiates it again."""
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    logits, loss, vector = Logits(model), TokenLoss(), list(v.values())

    def call() -> list[Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # of the cycle that backward(create_graph=True) makes
            computed = hessian(logits, loss, data=batch, cuda=False)
        product = list(hessian_vector_product(computed.gradsH, computed.params, vector))
        model.zero_grad(set_to_none=True)  # breaks the cycle
        return product

    return call


WAYS: dict[str, Way] = {
    "finite-difference": Way(OURS, FUSED, False, ours("finite-difference")),
    "double-backward": Way(OURS, PLAIN, True, ours("double-backward")),
    "forward-over-reverse": Way(OURS, PLAIN, True, ours("forward-over-reverse")),
    "paper, reverse over reverse": Way(PAPER, PLAIN, True, paper),
    "curvlinops": Way(PEER, PLAIN, True, curvlinops),
    "hessian-eigenthings, autograd": Way(PEER, PLAIN, True, eigenthings("autograd")),
    "hessian-eigenthings, finite difference": Way(PEER, FUSED, False, eigenthings("finite_difference")),
    "PyHessian": Way(PEER, PLAIN, True, pyhessian),
}


def unit_gradient(model: GPT2LMHeadModel, batch: Batch) -> Vector:
    """A direction as the criterion uses them, a gradient, of length 1 (fixed-step peers expect that)."""
    g = gradient(Objective.of(model, loss_fn), batch).vector
    length = torch.stack([t.norm() for t in g.values()]).norm()
    return {name: t / length for name, t in g.items()}
