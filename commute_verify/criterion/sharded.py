r"""A model that FSDP2 (``fully_shard``) has spread over ranks: gradients at parameters moved in place.

Each rank holds a shard θ_r of the parameters and evaluates its own part of every batch. FSDP averages
gradients over the W ranks, so that

    Σ_r ∇ℓ_r = W · (gradient that FSDP leaves),      weight = Σ_r w_r,

with ℓ_r and w_r a rank's summed loss and weight: batch n is that of all ranks together. Parameters are
written to (θ ± h v̂) and put back bit for bit; gradients that were there are put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from commute_verify.criterion import checked
from commute_verify.criterion.budget import Budget
from commute_verify.criterion.gradient import gradient_at
from commute_verify.criterion.hessian_products import Method
from commute_verify.criterion.objective import Batch, Evaluation, LossFunction, NotFiniteError, Objective
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.shards import local, over_ranks, sharded_modules
from commute_verify.criterion.vectors import Vector, norm
from commute_verify.errors import CommuteError

T = TypeVar("T")
FAR = 0.3
"""How far a gradient may be from the slope of its loss, relative to it; a wrong factor is 2 or more."""


def objective_of(model: nn.Module, loss_fn: LossFunction, params: Callable[[str], bool] | None) -> Objective:
    """The objective of a module, sharded or not."""
    sharded = isinstance(model, nn.Module) and sharded_modules(model)
    return ShardedObjective(model, loss_fn, params) if sharded else Objective.of(model, loss_fn, params)


def sharded_method(
    method: Literal["auto"] | Method, ranks: Ranks, limit: Budget | None
) -> Literal["finite-difference"]:
    """The one method for sharded models; refuse another, and what would make ranks go separate ways."""
    if method not in ("auto", "finite-difference"):
        raise CommuteError(f"method={method!r} on a sharded model; give finite-difference")
    if ranks.size > 1:
        raise CommuteError(
            "a process_group with a sharded model, whose ranks work together already; leave it out"
        )
    if limit is not None and limit.seconds != float("inf"):
        raise CommuteError("a budget in time on a sharded model, whose ranks' clocks differ; give passes")
    return "finite-difference"


class ShardedObjective(Objective):
    """Summed losses of all ranks' batches as a function of sharded parameters, at which the model is put."""

    def __init__(
        self, model: nn.Module, loss_fn: LossFunction, params: Callable[[str], bool] | None = None
    ) -> None:
        """Reshard, copy the shards, and check that all are spread alike over one axis."""
        checked.model_and_loss(model, loss_fn, params)
        self._modules = sharded_modules(model)
        self._reshard()
        self._model, self._loss_fn = model, loss_fn
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._trained = list(trained.values())
        self._places = {name: p for name, p in trained.items() if params is None or params(name)}
        whole = [name for name, p in self._places.items() if not hasattr(p, "device_mesh")]
        if whole:
            raise CommuteError(
                f"parameter {whole[0]} is on every rank and others are sharded; call fully_shard on the "
                "whole model, or leave it out with params="
            )
        spread: list[Any] = list(self._places.values())
        meshes = {p.device_mesh for p in spread}
        odd = [p for p in spread if not all(at.is_shard() for at in p.placements)]
        if len(meshes) > 1 or odd or any(mesh.ndim > 1 for mesh in meshes):
            raise CommuteError(
                "parameters spread over several axes or meshes; give a model sharded over one axis by "
                "fully_shard, or one that is whole on every rank"
            )
        super().__init__(lambda parameters, batch: loss_fn(model, batch), self._places)
        self.parameters = {name: p.clone() for name, p in self.parameters.items()}
        self.ranks = Ranks(next(iter(meshes)).get_group())
        self.buffers = lambda: dict(model.named_buffers())

    def leaves(self, direction: Mapping[str, Tensor] | None = None, step: float = 0.0) -> Vector:
        """Parameters to put the model at: θ, or θ + step · direction."""
        if direction is None:
            return dict(self.parameters)
        return {
            name: torch.add(p, direction[name].to(p.dtype), alpha=step) for name, p in self.parameters.items()
        }

    def evaluate(self, parameters: Mapping[str, Tensor], batch: Batch, then: Callable[[Evaluation], T]) -> T:
        """What ``then`` makes of the loss of all ranks' batches at these parameters."""
        self.evaluations += 1
        with self.ranks.answering(), self._at(parameters):
            found = then(self._together(self._loss_fn(self._model, batch)))
        if torch.is_autocast_enabled(self.device.type):
            torch.clear_autocast_cache()
        return found

    def gradients(self, loss: Tensor, leaves: Vector) -> list[Tensor | None]:
        """Those that FSDP leaves on the parameters, as sums over the ranks; they are taken away there."""
        torch.autograd.backward(loss)
        found = [self._places[name].grad for name in leaves]
        for p in self._trained:
            p.grad = None
        if all(g is None for g in found):
            raise CommuteError(
                "FSDP leaves no gradient on the chosen parameters; call between optimizer steps, with "
                "set_requires_gradient_sync(True), and check loss_fn and params="
            )
        return [None if g is None else g * self.ranks.size for g in found]

    def check_sum(self, batch: Batch) -> None:
        """Hold the gradient to the loss, whose slope along it is ‖g‖: is it the sum over the ranks?"""
        g = gradient_at(self, self.leaves(), batch).vector
        length = norm(g)
        if length == 0:
            return
        for power in range(3, 8):
            step = 4.0**-power
            ahead, behind = (
                gradient_at(self, self.leaves(g, sign * step / length), batch).loss for sign in (1, -1)
            )
            ratio = length / slope if (slope := (ahead - behind) / (2 * step)) else float("inf")
            if abs(ratio - 1) < FAR:
                return
        raise CommuteError(
            f"FSDP's gradients, times {self.ranks.size} ranks, are {ratio:.3g} times those of the summed "
            "loss; leave its gradients averaged over the ranks (no set_gradient_divide_factor), and keep "
            "collectives out of loss_fn"
        )

    def _together(self, answer: Any) -> Evaluation:
        """The losses and weights of all ranks, summed; an error on one of them is an error on all."""
        own: CommuteError | None = None
        mine = [0.0, 0.0, 0.0, 0.0]
        try:
            evaluation = self._checked(answer)
            mine[:2] = float(evaluation.loss.detach()), evaluation.weight
        except NotFiniteError as error:
            own, mine[2] = error, 1.0
        except CommuteError as error:
            own, mine[3] = error, 1.0
        total = torch.tensor(mine, dtype=torch.float64, device=self.device)
        over_ranks(total, next(iter(self._places.values())))
        loss, weight, infinite, wrong = total.tolist()
        if own is not None:
            raise own
        if infinite or wrong:
            kind = CommuteError if wrong else NotFiniteError
            raise kind("the loss of another rank's part of this batch was refused; see that rank's error")
        return Evaluation(evaluation.loss + (loss - evaluation.loss.detach()), weight)

    @contextmanager
    def _at(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        aside = [p.grad for p in self._trained]
        self._reshard()
        try:
            for p in self._trained:
                p.grad = None
            self._write(parameters)
            yield
        finally:
            self._reshard()
            self._write(self.parameters)
            for p, grad in zip(self._trained, aside, strict=True):
                p.grad = grad

    def _write(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, p in self._places.items():
                local(p).copy_(local(values[name]))

    def _reshard(self) -> None:
        for module in self._modules:
            module.reshard()
