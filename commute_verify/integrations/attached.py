"""A probe that waits for its model: trainers hand model and optimizer over when training begins."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import SGD, Optimizer

from commute_verify.criterion import OrderEffect, OrderProbe, checked
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.criterion.preconditioner import ADAMS
from commute_verify.criterion.shards import sharded_modules
from commute_verify.errors import CommuteError

Log = Callable[[dict[str, float], int], object]
GIVEN_LATER = {"self", "model", "loss_fn", "domains", "every", "optimizer"}


class Attached:
    """Settings of an ``OrderProbe``, held until ``begin``; then the probe, for one process or all ranks.

    ``every=None`` asks for an estimate whenever a checkpoint is saved.
    """

    def __init__(
        self,
        loss_fn: LossFunction,
        domains: Mapping[str, Iterable[Batch]],
        every: int | None,
        options: Mapping[str, Any],
    ) -> None:
        """Check names and settings before a trainer is built; the rest when the model is known."""
        known = set(inspect.signature(OrderProbe.__init__).parameters) - GIVEN_LATER
        odd = checked.listed(name for name in options if name not in known)
        if odd:
            raise CommuteError(f"no option {odd}; the options are {', '.join(sorted(known))}")
        self.at_save = every is None
        self._every = 1 if every is None else checked.whole(every, "every", 1)
        self._loss_fn, self._domains, self._options = loss_fn, domains, dict(options)
        self._state: Mapping[str, Any] = {}
        self.probe: OrderProbe | None = None
        self._together = False
        OrderProbe(nn.Identity(), loss_fn, domains, every=self._every, **self._options)

    def begin(self, model: nn.Module, optimizer: object, directory: Path, log: Log) -> None:
        """Build the probe, from the state so far; ``directory`` and ``log`` serve where none are named."""
        state = self.state_dict()
        given: dict[str, Any] = {"directory": directory, "log": log} | {
            name: value for name, value in self._options.items() if value is not None
        }
        adam = _adam(optimizer)
        self._together = self._options.get("process_group") is not None or bool(sharded_modules(model))
        self.probe = OrderProbe(
            model, self._loss_fn, self._domains, every=self._every, optimizer=adam, **given
        )
        if state:
            self.probe.load_state_dict(state)

    def due(self, step: int) -> bool:
        """Whether this step is one of every N."""
        return not self.at_save and step > 0 and step % self._every == 0

    def measure(self, step: int, leads: bool) -> OrderEffect | None:
        """The effect at this step; of several ranks the one that leads, or all that estimate together."""
        asked = leads or self._together
        return self.probe.measure(step) if self.probe is not None and asked else None

    def state_dict(self) -> dict[str, Any]:
        """The probe's state, or what was loaded for it; empty before anything is known."""
        return dict(self._state) if self.probe is None else self.probe.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from this state when training begins; empty for a fresh start."""
        self._state, self.probe = state, None


def _adam(optimizer: object) -> Optimizer | None:
    """The Adam or AdamW of the run, out of its wrappers; None for another, and a warning unless it is SGD."""
    while isinstance(inside := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inside
    if isinstance(optimizer, ADAMS):
        return optimizer
    if optimizer is not None and not isinstance(optimizer, SGD):
        warnings.warn(
            f"{type(optimizer).__name__} is no SGD, Adam or AdamW: P is that of plain gradient descent",
            stacklevel=3,
        )
    return None
