"""``OrderEffectCallback`` for ``transformers.Trainer``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from commute_verify.criterion import OrderProbe
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.integrations.attached import Attached, Log

STATE = "commute_verify.OrderEffect"
"""Under which name the state stands among the trainer's own, in ``trainer_state.json``."""
IGNORED = -100


def causal_lm_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Σ −log p(next token) over all labels that are not −100, in nats, and their number.

    ``batch`` is what a collator of causal language models gives: ``input_ids``, ``labels`` of the same shape
    (batch, length), and what else the model's forward takes. It is moved to the model's device.
    """
    device = next(model.parameters()).device
    moved = {name: value.to(device) for name, value in batch.items() if isinstance(value, Tensor)}
    labels = moved.pop("labels")[:, 1:]
    logits = model(**moved).logits[:, :-1]
    total = cross_entropy(logits.mT, labels, ignore_index=IGNORED, reduction="sum")
    return total, (labels != IGNORED).sum()


class OrderEffectCallback(TrainerCallback):  # type: ignore[misc]
    """Ask during ``Trainer.train`` which domain should come later.

    ``domains`` maps names to re-iterables of collated batches, ``loss_fn(model, batch)`` returns their summed
    loss and its weight (by default of the next token). An estimate is made every ``every`` optimizer steps,
    or with ``every=None`` whenever a checkpoint is saved; further options are those of ``OrderProbe``. Adam's
    preconditioner is read from the trainer's optimizer. Values ``commute/P/en-ru→mix`` and ``…/stderr`` go to
    ``state.log_history``, or to ``log(values, step)``: set ``callback.log`` to a function that calls
    ``trainer.log(values)`` to reach the trainer's reporters. ``effect_STEP.json`` is written to the output
    directory, beside the checkpoints. The state goes into ``trainer_state.json`` (under a name of its own, as
    the trainer would rebuild a callback from JSON, which holds no batches), and a resumed run finds it there.

    Training is bitwise what it would be, evaluation is not touched. Of several ranks the first estimates, on
    its own batches. Raises CommuteError on bad input. P is in loss per (flow time)²; P > 0 for ``en-ru`` says
    to train ru first.

    >>> import torch
    >>> batch = {"input_ids": torch.ones(2, 4).long(), "labels": torch.ones(2, 4).long()}
    >>> data = {name: [batch] * 8 for name in ("en", "ru")}
    >>> callback = OrderEffectCallback(data, every=100, batches=8)
    >>> callback.probe is None  # until training begins
    True
    """

    def __init__(
        self,
        domains: Mapping[str, Iterable[Batch]],
        loss_fn: LossFunction = causal_lm_loss,
        *,
        every: int | None = None,
        **options: Any,
    ) -> None:
        """Check the settings; the model is known when training begins."""
        self.log: Log | None = options.pop("log", None)
        self._attached = Attached(loss_fn, domains, every, options)

    @property
    def probe(self) -> OrderProbe | None:
        """The probe with its effects, once training has begun."""
        return self._attached.probe

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Take over the model, and what a resumed run had measured."""
        if model is None:
            return
        if self._attached.at_save and args.save_strategy == "no":
            warnings.warn(
                "OrderEffectCallback asks whenever a checkpoint is saved, and save_strategy is 'no'; give "
                "every=STEPS, or save checkpoints",
                stacklevel=2,
            )
        stored: Any = state.stateful_callbacks
        self._attached.load_state_dict(stored[STATE]["attributes"] if STATE in stored else {})

        def log(values: dict[str, float], step: int) -> None:
            if self.log is not None:
                self.log(values, step)
            else:
                state.log_history.append({**values, "step": step})

        self._attached.begin(model, optimizer, Path(args.output_dir or "."), log)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Estimate where it is due, ahead of the checkpoint of this step, which then holds the state."""
        if self._attached.due(state.global_step) or (self._attached.at_save and control.should_save):
            self._measure(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The same for a checkpoint at the end of an epoch."""
        if self._attached.at_save and control.should_save:
            self._measure(state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Estimate at a checkpoint that nothing announced, as one after a best evaluation."""
        if self._attached.at_save:
            self._measure(state)

    def _measure(self, state: TrainerState) -> None:
        if self._attached.measure(state.global_step, state.is_world_process_zero) is not None:
            states: Any = state.stateful_callbacks
            states[STATE] = {"args": {}, "attributes": self._attached.state_dict()}
