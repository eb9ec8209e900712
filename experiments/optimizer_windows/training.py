"""The GPT-2, its loss, and real AdamW steps on weighted batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.gpt2.model import build
from experiments.gpt2.settings import Architecture
from experiments.optimizer_windows.settings import DOMAINS, Settings
from experiments.optimizer_windows.texts import texts

Data = Mapping[str, Sequence[Tensor]]


class Checkpoint(NamedTuple):
    """A model and its optimizer after ``step`` steps at the learning rate ``rate``."""

    rate: float
    step: int
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @property
    def place(self) -> tuple[float, int]:
        """Learning rate and step."""
        return self.rate, self.step

    def copied(self) -> Checkpoint:
        """A run of its own from here: model and optimizer state are copied."""
        model, optimizer = copy.deepcopy((self.model, self.optimizer))
        return self._replace(model=model, optimizer=optimizer)


def loss_fn(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
    """Summed cross-entropy of every next token in nats, and how many there are."""
    logits = model(input_ids=batch[:, :-1]).logits.flatten(0, 1)
    return F.cross_entropy(logits, batch[:, 1:].flatten(), reduction="sum"), batch[:, 1:].numel()


def take_step(run: Checkpoint, data: Data, s: int, weights: Sequence[float]) -> None:
    """Step s: the gradient of Σ_k w_k L_k on batch s of every domain that has weight, then the optimizer."""
    active = [(w, data[name][s]) for name, w in zip(DOMAINS, weights, strict=True) if w]
    together = torch.cat([batch for _, batch in active])
    each = torch.cat([torch.full((len(batch),), w / len(batch)) for w, batch in active])
    step_on(run, together, each)


def step_on(run: Checkpoint, batch: Tensor, shares: Tensor) -> None:
    """The gradient of Σ_b shares_b (mean loss of sequence b), then the optimizer."""
    run.optimizer.zero_grad()
    logits = run.model(input_ids=batch[:, :-1]).logits
    losses = F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").mean(dim=1)
    torch.autograd.backward(losses @ shares.to(losses))
    run.optimizer.step()


def losses(model: nn.Module, held_out: Data) -> list[float]:
    """Mean loss of every target of ``TARGETS`` in nats a token: each domain, and all alike."""
    with torch.no_grad():
        found = []
        for name in DOMAINS:
            pairs = [loss_fn(model, batch) for batch in held_out[name]]
            found.append(sum(float(total) for total, _ in pairs) / sum(weight for _, weight in pairs))
    return [*found, sum(found) / len(found)]


@lru_cache(maxsize=2)
def checkpoints(settings: Settings) -> dict[tuple[float, int], Checkpoint]:
    """Every checkpoint: one run of AdamW on the mixture for each learning rate, from the same start."""
    data = texts(settings).trained()
    shape = Architecture(
        settings.layers,
        settings.width,
        settings.heads,
        settings.context,
        texts(settings).vocabulary,
        attention="eager",
    )
    found = {}
    for rate in sorted({rate for rate, _ in settings.starts}):
        marks = [step for each, step in settings.starts if each == rate]
        model = build(shape, settings.seed)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=rate, weight_decay=settings.weight_decay, fused=True
        )
        run = Checkpoint(rate, 0, model.train(False), optimizer)
        for s in range(max(marks)):
            take_step(run, data, s, settings.weights)
            if s + 1 in marks:
                found[rate, s + 1] = run._replace(step=s + 1).copied()
    return found
