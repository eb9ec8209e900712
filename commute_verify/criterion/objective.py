"""A model's loss as a pure function of its parameters, with every answer checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from commute_verify.criterion import checked
from commute_verify.criterion.precision import HalfPrecision
from commute_verify.criterion.shards import is_spread
from commute_verify.criterion.vectors import Vector
from commute_verify.errors import CommuteError

T = TypeVar("T")
Batch = Any
Answer = tuple[Tensor, Tensor | float]
LossFunction = Callable[[nn.Module, Batch], Answer]
PureLoss = Callable[[Mapping[str, Tensor], Batch], Answer]


class NotFiniteError(CommuteError):
    """The loss is not a finite number."""


@contextmanager
def located(where: str) -> Iterator[None]:
    """Say where in the data an error arose."""
    try:
        yield
    except CommuteError as error:
        raise type(error)(f"{where}: {error}") from error


class Evaluation(NamedTuple):
    """The summed loss of one batch, attached to the graph, and its weight."""

    loss: Tensor
    weight: float


class Objective:
    """Summed losses of batches as a function of ``parameters`` (name → tensor), held fixed here.

    ``pure(parameters, batch) -> (summed loss, weight)`` must change nothing. ``of`` takes a module instead:
    its own parameters are put aside while it runs and are never written to.
    """

    def __init__(self, pure: PureLoss, parameters: Mapping[str, Tensor]) -> None:
        """Detach the parameters and check that they are floating, on one device and of one dtype."""
        self._run: Callable[[Mapping[str, Tensor], Batch, Callable[[Answer], Any]], Any] = (
            lambda parameters, batch, then: then(pure(parameters, batch))
        )
        self.buffers: Callable[[], Mapping[str, Tensor]] = dict
        self.evaluations = 0
        self.parameters: Vector = {name: p.detach() for name, p in parameters.items()}
        if not self.parameters:
            raise CommuteError("no trainable parameter is chosen; check requires_grad and the params filter")
        made = [name for name, p in self.parameters.items() if p.is_inference()]
        if made:
            raise CommuteError(
                f"parameter {made[0]} was made in inference mode; make the model outside "
                "torch.inference_mode(), or clone its parameters there"
            )
        devices = {str(p.device) for p in self.parameters.values()}
        dtypes = {str(p.dtype) for p in self.parameters.values()}
        if len(devices) > 1 or len(dtypes) > 1:
            raise CommuteError(
                f"parameters on {', '.join(sorted(devices))} in {', '.join(sorted(dtypes))}; move the model "
                "to one device and one dtype, or choose a part of it with params="
            )
        if devices == {"meta"}:
            raise CommuteError("parameters on the meta device have no values; load the model's weights first")
        if not all(p.dtype.is_floating_point for p in self.parameters.values()):
            raise CommuteError(f"parameters in {', '.join(dtypes)}; give floating-point parameters")
        self.precision: torch.dtype = self.dtype
        """What the loss is computed in, as far as ``watched`` has seen: half of it under autocast."""
        self._seen = False

    @classmethod
    def of(
        cls, model: nn.Module, loss_fn: LossFunction, params: Callable[[str], bool] | None = None
    ) -> Objective:
        """The objective of a module: its trainable parameters, or those whose names ``params`` accepts."""
        checked.model_and_loss(model, loss_fn, params)
        if is_spread(model):
            raise CommuteError(
                "parameters spread over ranks, which order_effect alone takes, by one axis of fully_shard; "
                "give the model whole on every rank"
            )
        root = _Loss(model, loss_fn)
        chosen = {
            name: p
            for name, p in model.named_parameters()
            if p.requires_grad and (params is None or params(name))
        }

        def run(parameters: Mapping[str, Tensor], batch: Batch, then: Callable[[Answer], Any]) -> Any:
            swapped = {f"model.{name}": p for name, p in parameters.items()}
            return functional_call(root, swapped, (batch, then))

        objective = cls(lambda parameters, batch: run(parameters, batch, lambda answer: answer), chosen)
        objective._run = run
        objective.buffers = lambda: dict(model.named_buffers())
        return objective

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all parameters."""
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """The device of all parameters."""
        return next(iter(self.parameters.values())).device

    def leaves(self, direction: Mapping[str, Tensor] | None = None, step: float = 0.0) -> Vector:
        """Parameters to differentiate at: θ, or θ + step · direction."""
        if direction is None:
            return {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
        moved = {
            name: torch.add(p, direction[name].to(p.dtype), alpha=step) for name, p in self.parameters.items()
        }
        return {name: p.requires_grad_() for name, p in moved.items()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Find out inside what precision the loss is computed in."""
        with HalfPrecision() as seen:
            yield
        self.precision, self._seen = seen.dtype or self.precision, True

    def look(self, batch: Batch) -> None:
        """Find out the precision from this batch, if none has told it."""
        if not self._seen:
            with self.watched():
                self.evaluate(self.leaves(), batch, lambda evaluation: evaluation.weight)

    def gradients(self, loss: Tensor, leaves: Vector) -> Sequence[Tensor | None]:
        """∂loss/∂leaf for each leaf, None where the loss does not touch it."""
        return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)

    def look_at(self, batch: Batch) -> tuple[float, float]:
        """The summed loss of a batch and its weight, by a forward pass."""
        return self.evaluate(self.leaves(), batch, lambda found: (float(found.loss.detach()), found.weight))

    def evaluate(self, parameters: Mapping[str, Tensor], batch: Batch, then: Callable[[Evaluation], T]) -> T:
        """What ``then`` makes of the checked loss at these parameters.

        It runs while they are in place: checkpointing goes through the model again in its backward pass.
        """
        self.evaluations += 1
        found: T = self._run(parameters, batch, lambda answer: then(self._checked(answer)))
        if torch.is_autocast_enabled(self.device.type):
            torch.clear_autocast_cache()  # of casts of these parameters, kept until autocast ends
        return found

    def _checked(self, answer: Answer) -> Evaluation:
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise CommuteError(
                f"loss_fn returned {type(answer).__name__}; return (summed loss, weight), such as the summed "
                "cross-entropy and the number of valid tokens"
            )
        loss, weight = answer[0], _number(answer[1])
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise CommuteError("loss_fn returned a loss that is no scalar tensor; return the summed loss")
        if not torch.isfinite(loss.detach()):
            raise NotFiniteError(
                f"the loss is {loss.item()}; leave the batch out, or load a checkpoint from before that"
            )
        if not (weight > 0 and weight != float("inf")):
            raise CommuteError(
                f"the weight is {answer[1]!r}; give a finite one above 0, such as a count of tokens"
            )
        if not loss.requires_grad:
            raise CommuteError("the loss does not depend on the chosen parameters; check loss_fn and params=")
        return Evaluation(loss.reshape(()), weight)


def _number(weight: object) -> float:
    try:
        return float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


class _Loss(nn.Module):
    """loss_fn, and what is made of it, as the forward pass of a module that holds the model."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Batch, then: Callable[[Answer], Any]) -> Any:
        """What ``then`` makes of the summed loss and the weight of a batch."""
        return then(self.loss_fn(self.model, batch))
