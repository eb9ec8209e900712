"""``OrderEffectCallback`` for ``lightning.Trainer``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from commute_verify.criterion import OrderProbe
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.integrations.attached import Attached


class OrderEffectCallback(Callback):
    """Ask during ``Trainer.fit`` which domain should come later.

    ``domains`` maps names to re-iterables of batches, ``loss_fn(module, batch)`` returns their summed loss
    and its weight, and moves the batch to the module's device. An estimate is made every ``every`` optimizer
    steps, or with ``every=None`` whenever a checkpoint is saved; further options are those of ``OrderProbe``.
    Adam's preconditioner is read from the trainer's first optimizer. Values ``commute/P/en-ru→mix`` and
    ``…/stderr`` go to the trainer's loggers, or to ``log(values, step)``, and ``effect_STEP.json`` beside the
    checkpoints. The state goes into the checkpoint, and a resumed run goes on from it.

    Training is bitwise what it would be, evaluation is not touched. Of several ranks the first estimates, on
    its own batches. Raises CommuteError on bad input. P is in loss per (flow time)²; P > 0 for ``en-ru`` says
    to train ru first.

    >>> data = {name: [None] * 8 for name in ("en", "ru")}
    >>> callback = OrderEffectCallback(lambda module, batch: module.loss(batch), data, every=100, batches=8)
    >>> callback.probe is None  # until training begins
    True
    """

    def __init__(
        self,
        loss_fn: LossFunction,
        domains: Mapping[str, Iterable[Batch]],
        *,
        every: int | None = None,
        **options: Any,
    ) -> None:
        """Check the settings; the model is known when training begins."""
        self._attached = Attached(loss_fn, domains, every, options)

    @property
    def probe(self) -> OrderProbe | None:
        """The probe with its effects, once training has begun."""
        return self._attached.probe

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the module and its first optimizer."""
        saver = trainer.checkpoint_callback
        folder = getattr(saver, "dirpath", None) or trainer.default_root_dir

        def log(values: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step)

        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        self._attached.begin(pl_module, optimizer, Path(folder), log)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Estimate where it is due, ahead of the checkpoint of this step."""
        if self._attached.due(trainer.global_step):
            self._attached.measure(trainer.global_step, trainer.is_global_zero)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Estimate at a checkpoint, which then holds the state."""
        if self._attached.at_save and trainer.training:
            self._attached.measure(trainer.global_step, trainer.is_global_zero)
            checkpoint["callbacks"][self.state_key] = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """What is measured, and which batches come next."""
        return self._attached.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from it."""
        self._attached.load_state_dict(state_dict)
