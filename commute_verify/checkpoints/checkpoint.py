"""A checkpoint in memory: what ``order_effect`` and ``predict_excess_loss`` ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commute_verify.checkpoints.tokens import Tokenizer
from commute_verify.criterion import AdamPreconditioner
from commute_verify.errors import CommuteError


def next_token_loss(model: nn.Module, tokens: Tensor) -> tuple[Tensor, int]:
    """The summed cross-entropy of every next token, in nats, and their number, of windows (B, T).

    ``tokens`` are int64; the windows are full, so that no position is padding. Logits narrower than float32
    are widened first.
    """
    logits, labels = model(input_ids=tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten()
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    return F.cross_entropy(wide, labels, reduction="sum"), labels.numel()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in eval mode with its tokenizer, and Adam's state where the checkpoint holds one.

    ``optimizer_state`` is what ``optimizer.state_dict()`` is for this model, every group with its
    ``param_names``; None where there is none, or where it is not Adam's. ``step`` counts the optimizer's
    steps so far. ``notes`` say in sentences what was assumed.
    """

    model: nn.Module
    tokenizer: Tokenizer
    name: str
    kind: str
    step: int | None = None
    optimizer_state: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    loss_fn: Callable[[nn.Module, Tensor], tuple[Tensor, int]] = next_token_loss

    @property
    def preconditioner(self) -> AdamPreconditioner | None:
        """Adam's second moments, or None."""
        if self.optimizer_state is None:
            return None
        return AdamPreconditioner.from_state_dict(self.optimizer_state, self.model)

    @property
    def lr(self) -> float | None:
        """The learning rate of the first group at this step, whose flow time is the preconditioner's."""
        return None if self.optimizer_state is None else float(self.optimizer_state["param_groups"][0]["lr"])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam or AdamW over the model's parameters, with the state that was saved.

        Raises CommuteError where there is no state.
        """
        if self.optimizer_state is None:
            raise CommuteError(f"{self.name} holds no optimizer's state; give a learning rate instead")
        held = dict(self.model.named_parameters())
        groups = [
            {"params": [(name, held[name]) for name in group["param_names"]]}
            for group in self.optimizer_state["param_groups"]
        ]
        decoupled = self.optimizer_state["param_groups"][0].get("decoupled_weight_decay", True)
        made = (torch.optim.AdamW if decoupled else torch.optim.Adam)(groups)
        made.load_state_dict(dict(self.optimizer_state))
        return made
