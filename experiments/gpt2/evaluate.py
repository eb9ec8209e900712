"""Validation loss on fixed windows, summed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.gpt2.model import token_losses
from experiments.gpt2.parallel import Ranks
from experiments.gpt2.shards import Shards

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

TOKENS_AT_ONCE = 4096
"""Tokens in one forward pass; logits are what takes the memory."""


def fixed_windows(available: int, windows: int) -> NDArray[np.int64]:
    """So many different windows spread evenly over those there are, or all of them."""
    count = min(windows, available)
    return np.arange(count, dtype=np.int64) * available // max(1, count)


def evaluate(
    model: GPT2LMHeadModel, shards: Shards, domains: Sequence[str], *, windows: int = 64
) -> dict[str, float]:
    """Mean nats per token of every domain on fixed validation windows (all of them, if there are fewer).

    The same windows at every call, so that differences between checkpoints hold no sampling noise. Under
    torchrun every rank takes its share of the windows, and all return the same numbers.
    """
    ranks = Ranks.here()
    context: int = model.config.n_positions
    device, at_once = next(model.parameters()).device, max(1, TOKENS_AT_ONCE // context)
    sums = torch.zeros(len(domains), dtype=torch.float64, device=device)
    counts = []
    with torch.no_grad():
        for k, domain in enumerate(domains):
            chosen = fixed_windows(shards.windows(domain, "validation", context), windows)
            counts.append(len(chosen) * context)
            mine = chosen[ranks.rank :: ranks.count]
            for start in range(0, len(mine), at_once):
                batch = shards.batch(domain, "validation", mine[start : start + at_once], context)
                sums[k] += token_losses(model, batch.to(device)).double().sum()
    ranks.add(sums)
    return {
        domain: total / count for domain, total, count in zip(domains, sums.tolist(), counts, strict=True)
    }
