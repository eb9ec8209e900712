"""The model, data and loss of every benchmark: GPT-2 from its config, random weights, random tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

Batch = tuple[Tensor, Tensor]

WARM = "warm-up"
SIZES: dict[str, dict[str, Any]] = {
    WARM: {"n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 64},
    "1M": {"n_layer": 4, "n_embd": 128, "n_head": 4, "vocab_size": 2048},
    "30M": {"n_layer": 6, "n_embd": 384, "n_head": 6},
    "124M": {},
}
FUSED, PLAIN = "sdpa", "eager"
PADDED = -100


def build(size: str, attention: str) -> GPT2LMHeadModel:
    """The model in eval mode, without dropout, in float32; the same weights for either attention."""
    torch.manual_seed(0)
    settings = SIZES[size] | {"bos_token_id": None, "eos_token_id": None, "use_cache": False}
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**settings, **quiet, attn_implementation=attention)).eval()


def batches(size: str, count: int, rows: int, tokens: int, seed: int) -> list[Batch]:
    """Ragged batches: the last row of each is padded for its last quarter."""
    vocabulary = SIZES[size].get("vocab_size", GPT2Config().vocab_size)
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        ids = torch.randint(vocabulary, (rows, tokens + 1), generator=draw)
        targets = ids[:, 1:].clone()
        targets[-1, 3 * tokens // 4 :] = PADDED
        found.append((ids[:, :-1].contiguous(), targets))
    return found


class TokenLoss(nn.CrossEntropyLoss):
    """Summed cross-entropy of the valid tokens of (rows, tokens, vocabulary) logits."""

    def __init__(self) -> None:
        super().__init__(reduction="sum", ignore_index=PADDED)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=PADDED)


class Logits(nn.Module):
    """The model as a function from tokens to logits, which is how some peers want it."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids).logits
        return logits


def loss_fn(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The summed loss and the number of valid tokens."""
    ids, targets = batch
    return TokenLoss()(model(ids).logits, targets), (targets != PADDED).sum()


def plain_gradient(model: nn.Module, batch: Batch) -> Callable[[], object]:
    """The unit of every comparison: PyTorch's gradient of the summed loss, with nothing around it."""
    parameters = list(model.parameters())
    return lambda: torch.autograd.grad(loss_fn(model, batch)[0], parameters)
