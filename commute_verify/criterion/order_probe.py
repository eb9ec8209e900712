"""``OrderProbe``: the criterion every N steps of any training loop, which it leaves bitwise as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from torch import nn
from torch.optim import Optimizer

from commute_verify.criterion import checked
from commute_verify.criterion.atomic import write_text
from commute_verify.criterion.budget import Budget
from commute_verify.criterion.effect import OrderEffect
from commute_verify.criterion.estimation import order_effect
from commute_verify.criterion.hessian_products import Method, check_method
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.criterion.preconditioner import ADAMS, AdamPreconditioner
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.sampling import group_sizes
from commute_verify.criterion.scalars import scalars
from commute_verify.criterion.undisturbed import undisturbed
from commute_verify.criterion.window import Window
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

VERSION = 1
"""Of the state."""
LARGEST_SEED = 2**63 - 1
Log = Callable[[dict[str, float], int], object]


class OrderProbe:
    """``probe(step)`` in a training loop: ``order_effect`` every ``every`` steps, kept, logged and written.

    Each estimate is made in eval mode, from ``batches`` of every domain that follow those of the estimate
    before it (round and round), and from another seed; parameters, gradients, buffers, modes, random states
    and the optimizer's state are bitwise as they were after it. ``optimizer`` is an Adam or AdamW, whose
    second moments are read at the time: P is then that of the preconditioned flow. With a ``budget`` (passes,
    or "90s") each estimate goes on until every sign is resolved or the budget is spent.

    ``directory`` gets ``effect_STEP.json`` for each, whole or not at all; ``log(values, step)`` gets
    ``commute/P/en-ru→mix`` with ``…/stderr`` for every pair and target. Of several ranks only the first
    writes and logs. With ``on_error="warn"`` an estimate that fails is a warning, and training goes on.
    ``targets``, ``method``, ``params``, ``progress`` and ``process_group`` are those of ``order_effect``;
    with a group every rank has a probe, and calls it at the same steps. Units: P is in loss per (flow time)².
    Raises CommuteError on bad input when built, and where an estimate cannot be made.

    >>> import torch
    >>> draw = torch.Generator().manual_seed(0)
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def loss_fn(model, batch):
    ...     x, y = batch
    ...     return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
    >>> data = {
    ...     name: [(torch.randn(4, 2, generator=draw), torch.full((4,), y)) for _ in range(8)]
    ...     for name, y in {"en": 1.0, "ru": -1.0}.items()
    ... }
    >>> probe = OrderProbe(model, loss_fn, data, every=2, batches=8)
    >>> for step, batch in enumerate(data["en"][:4], start=1):
    ...     optimizer.zero_grad()
    ...     loss_fn(model, batch)[0].backward()
    ...     optimizer.step()
    ...     effect = probe(step)  # None at steps 1 and 3
    >>> list(probe.effects), probe.last is effect
    ([2, 4], True)
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        domains: Mapping[str, Iterable[Batch]],
        *,
        every: int,
        targets: Mapping[str, Mapping[str, float]] | None = None,
        optimizer: Optimizer | None = None,
        batches: int = 100,
        budget: float | str | None = None,
        method: Literal["auto"] | Method = "auto",
        params: Callable[[str], bool] | None = None,
        seed: int = 0,
        directory: str | PathLike[str] | None = None,
        log: Log | None = None,
        on_error: Literal["raise", "warn"] = "raise",
        progress: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        """Check everything that can be checked before training."""
        checked.model_and_loss(model, loss_fn, params)
        self._names = checked.domain_names(domains)
        once = [name for name, given in domains.items() if isinstance(given, Iterator)]
        if once:
            raise CommuteError(
                f"domain {once[0]!r} is an iterator, which can be read only once; give a list or a DataLoader"
            )
        self.every = checked.whole(every, "every", 1)
        self._seed = checked.whole(seed, "seed", 0, LARGEST_SEED, "from 0 to 2**63 - 1")
        if optimizer is not None and not isinstance(optimizer, ADAMS):
            raise CommuteError(
                f"optimizer is {checked.a_type(optimizer)}; give the torch.optim.Adam or AdamW of the run "
                "(of a wrapper the optimizer inside), or None for plain gradient descent"
            )
        if log is not None and not callable(log):
            raise CommuteError(f"{checked.shown('log', log)}; give a function of (values, step)")
        if on_error not in ("raise", "warn"):
            raise CommuteError(f'{checked.shown("on_error", on_error)}; give "raise" or "warn"')
        if not (isinstance(method, str) and method == "auto"):
            check_method(method)
        if budget is not None:
            Budget(budget)
            if process_group is not None:
                raise CommuteError("a budget and a process_group; give a number of batches instead")
        group_sizes(batches)
        self._model, self._loss_fn, self._domains, self._optimizer = model, loss_fn, domains, optimizer
        self._options: dict[str, Any] = {
            "targets": checked.targets(targets, self._names),
            "batches": batches,
            "until": None if budget is None else "resolved",
            "budget": budget,
            "method": method,
            "params": params,
            "progress": progress,
            "process_group": process_group,
        }
        self._leads = _first(process_group)
        self._directory = None if directory is None else Path(directory)
        self._log, self._on_error = log, on_error
        self._effects: dict[int, OrderEffect] = {}
        self._starts = dict.fromkeys(self._names, 0)

    @property
    def effects(self) -> Mapping[int, OrderEffect]:
        """All effects measured so far, by step, in the order of measurement."""
        return MappingProxyType(self._effects)

    @property
    def last(self) -> OrderEffect | None:
        """The effect measured last, if any is."""
        return next(reversed(self._effects.values()), None)

    def __call__(self, step: int) -> OrderEffect | None:
        """The effect at this step, where ``every`` divides it; one that is known is not measured again."""
        step = checked.whole(step, "step", 0)
        return None if step % self.every else self.measure(step)

    def measure(self, step: int) -> OrderEffect | None:
        """The effect at this step, whatever ``every`` says; one that is known is not measured again.

        None where it could not be measured and ``on_error`` is "warn".
        """
        step = checked.whole(step, "step", 0)
        if step in self._effects:
            return self._effects[step]
        try:
            effect = self._estimate()
        except CommuteError as error:
            if self._on_error == "raise":
                raise
            warnings.warn(f"no order effect at step {step}: {error}", stacklevel=2)
            return None
        self._effects[step] = effect
        if self._leads:
            if self._directory is not None:
                self._directory.mkdir(parents=True, exist_ok=True)
                write_text(self._directory / f"effect_{step}.json", effect.to_json())
            if self._log is not None:
                self._log(scalars(effect), step)
        return effect

    def state_dict(self) -> dict[str, Any]:
        """What is measured, and which batches come next, as JSON takes it."""
        return {
            "version": VERSION,
            "starts": dict(self._starts),
            "effects": {str(step): effect.to_json() for step, effect in self._effects.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned; CommuteError for anything else, or for other domains."""
        if not isinstance(state, Mapping) or state.get("version") != VERSION:
            raise CommuteError(
                f"no state of an OrderProbe of version {VERSION} ({checked.a_type(state)}); give what "
                "state_dict() returned"
            )
        try:
            effects = {int(step): OrderEffect.from_json(text) for step, text in state["effects"].items()}
            starts = {name: checked.whole(start, "start", 0) for name, start in state["starts"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CommuteError(
                f"a broken state of an OrderProbe ({error!r}); give what state_dict() returned"
            ) from error
        domains = [list(starts), *(list(effect.domains) for effect in effects.values())]
        odd = next((names for names in domains if names != self._names), None)
        if odd is not None:
            raise CommuteError(
                f"a state of the domains {', '.join(odd)}, and this probe has {', '.join(self._names)}; load "
                "it into a probe of the same domains"
            )
        self._effects, self._starts = effects, starts

    def _estimate(self) -> OrderEffect:
        windows = {name: Window(given, self._starts[name]) for name, given in self._domains.items()}
        optimizer = self._optimizer
        preconditioner = None if optimizer is None else AdamPreconditioner.from_optimizer(optimizer)
        with undisturbed(self._model):
            self._model.eval()
            effect = order_effect(
                self._model,
                self._loss_fn,
                windows,
                preconditioner=preconditioner,
                seed=(self._seed + len(self._effects)) % LARGEST_SEED,
                **self._options,
            )
        self._starts = {name: window.next for name, window in windows.items()}
        return effect


def _first(group: ProcessGroup | None) -> bool:
    """Whether this process is the first rank, or the only one."""
    from torch import distributed

    if group is not None:
        return Ranks(group).number == 0
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank())
