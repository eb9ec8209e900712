"""The domains' losses as functions of one flat vector of parameters, with derivatives that are counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from commute_verify.criterion.explain import FAILURES, explained
from commute_verify.criterion.finite_difference import UNSETTLED, choose_step
from commute_verify.criterion.objective import Batch, Evaluation, NotFiniteError, Objective, located
from commute_verify.criterion.repeatable import REPEATABLE
from commute_verify.criterion.vectors import Vector
from commute_verify.errors import CommuteError

ProductMethod = Literal["double-backward", "finite-difference"]
METHODS: tuple[ProductMethod, ...] = get_args(ProductMethod)
PRODUCT = 2
"""Gradients that a product is worth, beside the one that it comes with."""


class Derivatives(NamedTuple):
    """Of one batch's mean loss: its value, the batch's weight, g (n,), and H v (n,) for each direction."""

    loss: float
    weight: float
    gradient: Tensor
    products: list[Tensor]


class Tally:
    """Passes over one batch: gradients, and Hessian-vector products."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.gradients = 0
        self.products = 0


class Surface:
    """Mean losses L_k of the domains' batches, as functions of a flat θ (n,).

    A domain's loss is Σ loss / Σ weight over its batches. ``tally`` counts what was run.
    """

    def __init__(
        self,
        objective: Objective,
        batches: Mapping[str, Sequence[Batch]],
        method: ProductMethod = "double-backward",
        tally: Tally | None = None,
    ) -> None:
        """Take the objective's parameters as θ."""
        if method not in METHODS:
            raise CommuteError(f"method={method!r}; give one of {', '.join(METHODS)}")
        self.objective, self.batches, self.method = objective, batches, method
        self.names = tuple(batches)
        self.tally = tally or Tally()
        self.theta = self.flat(objective.parameters)
        """Where the window starts: a loss that is no number there is bad input, elsewhere it diverged."""
        self.longest = 0.0
        """The largest norm of a batch's gradient that was met at ``theta``, or where it was watched."""
        self._steps: dict[str, float] = {}

    def flat(self, vector: Mapping[str, Tensor]) -> Tensor:
        """A vector by names as one tensor (n,)."""
        return torch.cat([vector[name].reshape(-1) for name in self.objective.parameters])

    def named(self, flat: Tensor) -> Vector:
        """Views of a flat tensor by parameter name."""
        shapes = {name: p.shape for name, p in self.objective.parameters.items()}
        parts = torch.split(flat, [shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def passes(self, domains: Iterable[int]) -> int:
        """Passes that one gradient of each of these domains' losses takes: their batches."""
        return sum(len(self.batches[self.names[k]]) for k in domains)

    def repeats(self) -> bool:
        """Whether each domain's first batch has one loss, by forward passes: not so under dropout."""
        for name, batches in self.batches.items():
            with located(f"domain {name!r}, batch 1"):
                try:
                    (one, _), (other, _) = (self.objective.look_at(batches[0]) for _ in range(2))
                except NotFiniteError as error:
                    raise CommuteError(str(error)) from error
                except FAILURES as error:
                    raise explained(error, "gradient", "Check that loss_fn takes this batch") from error
            if abs(one - other) > REPEATABLE[self.objective.dtype] * abs(one):
                return False
        return True

    def reached(self, name: str) -> frozenset[str]:
        """The parameters that the loss of a domain's first batch depends on; the others get no gradient."""
        leaves = self.objective.leaves()
        self.tally.gradients += 1
        with located(f"domain {name!r}, batch 1"):
            found = self.objective.evaluate(
                leaves,
                self.batches[name][0],
                lambda evaluation: self.objective.gradients(evaluation.loss, leaves),
            )
        return frozenset(each for each, g in zip(leaves, found, strict=True) if g is not None)

    def derivatives(
        self, at: Tensor, batch: Batch, directions: Sequence[Tensor] = (), domain: str = ""
    ) -> Derivatives:
        """Of the mean loss of one batch at ``at``; ``domain`` says whose step central differences take."""
        if directions and self.method == "finite-difference":
            return self._differences(at, batch, directions, domain)
        leaf = at.detach().requires_grad_()
        self.tally.gradients += 1
        self.tally.products += len(directions)

        def both(evaluation: Evaluation) -> Derivatives:
            loss = evaluation.loss / evaluation.weight
            (g,) = torch.autograd.grad(loss, leaf, create_graph=bool(directions))
            products = [torch.zeros_like(leaf)] * len(directions)
            if g.requires_grad:
                products = [
                    torch.autograd.grad(
                        g, leaf, v, retain_graph=number < len(directions), materialize_grads=True
                    )[0]
                    for number, v in enumerate(directions, start=1)
                ]
            return Derivatives(float(loss.detach()), evaluation.weight, g.detach(), products)

        try:
            return self.objective.evaluate(self.named(leaf), batch, both)
        except NotFiniteError as error:
            raise (CommuteError if at is self.theta else NotFiniteError)(str(error)) from error
        except FAILURES as error:
            task = "double-backward" if directions else "gradient"
            raise explained(error, task, "Check that loss_fn takes this batch") from error

    def _differences(
        self, at: Tensor, batch: Batch, directions: Sequence[Tensor], domain: str
    ) -> Derivatives:
        """H v by central differences of gradients, with a step that is chosen once for each domain."""
        here = self.derivatives(at, batch)
        if domain not in self._steps:
            along = self.named(here.gradient if bool(here.gradient.any()) else directions[0])
            before = self.objective.evaluations
            step = choose_step(self.objective, batch, along)
            self.tally.gradients += self.objective.evaluations - before
            if step.relative_error > UNSETTLED:
                raise CommuteError(
                    f"differences of gradients settle at no step (relative error {step.relative_error:.1g}); "
                    'give float32, or method="double-backward"'
                )
            self._steps[domain] = step.size
        products = []
        for v in directions:
            length = float(torch.linalg.vector_norm(v))
            if not length:
                products.append(torch.zeros_like(v))
                continue
            reach = self._steps[domain] / length
            ahead, behind = (self.derivatives(at + sign * reach * v, batch).gradient for sign in (1, -1))
            products.append((ahead - behind) / (2 * reach))
        return here._replace(products=products)

    def gradients(self, at: Tensor | None = None) -> Tensor:
        """∇L_k of every domain, (K, n)."""
        return torch.stack([self._mean(name, self.theta if at is None else at)[1] for name in self.names])

    def gradient(self, weights: Sequence[float], at: Tensor) -> Tensor:
        """Σ_k w_k ∇L_k (n,); domains of weight 0 are not run."""
        total = torch.zeros_like(self.theta)
        for name, w in zip(self.names, weights, strict=True):
            if w:
                total.add_(self._mean(name, at)[1], alpha=float(w))
        return total

    def product(self, weights: Sequence[float], v: Tensor, at: Tensor | None = None) -> Tensor:
        """Σ_k w_k H_k v (n,) at θ, or at another point; domains of weight 0 are not run."""
        total = torch.zeros_like(self.theta)
        for name, w in zip(self.names, weights, strict=True):
            if w:
                total.add_(self._mean(name, self.theta if at is None else at, v)[2], alpha=float(w))
        return total

    def loss_and_gradient(self, domain: int, at: Tensor) -> tuple[float, Tensor]:
        """L_k and ∇L_k of one domain by number."""
        return self._mean(self.names[domain], at)[:2]

    def watch(self, weights: Sequence[float], at: Tensor) -> None:
        """Let ``longest`` count the domains that weights train at another point; inf for no number."""
        for name, w in zip(self.names, weights, strict=True):
            if w:
                try:
                    self._mean(name, at, watched=True)
                except NotFiniteError:
                    self.longest = math.inf

    def _mean(
        self, name: str, at: Tensor, v: Tensor | None = None, watched: bool = False
    ) -> tuple[float, Tensor, Tensor]:
        """Loss, g and H v of a domain over all its batches."""
        total, weights = 0.0, 0.0
        g, hv = torch.zeros_like(self.theta), torch.zeros_like(self.theta)
        for number, batch in enumerate(self.batches[name], start=1):
            with located(f"domain {name!r}, batch {number}"):
                found = self.derivatives(at, batch, [] if v is None else [v], name)
                if not bool(found.gradient.isfinite().all()):
                    kind = CommuteError if at is self.theta else NotFiniteError
                    raise kind("a gradient that is not finite; leave the batch out, or give float32")
            if at is self.theta or watched:
                self.longest = max(self.longest, float(torch.linalg.vector_norm(found.gradient)))
            total += found.weight * found.loss
            weights += found.weight
            g.add_(found.gradient, alpha=found.weight)
            if v is not None:
                hv.add_(found.products[0], alpha=found.weight)
        return total / weights, g / weights, hv / weights
