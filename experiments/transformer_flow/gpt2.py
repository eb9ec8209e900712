"""The GPT-2 of the experiment, and its twin whose third derivatives PyTorch gets right."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from experiments.transformer_flow.settings import Settings


def gpt2(settings: Settings) -> nn.Module:
    """A GPT-2 from its configuration, in float64 without dropout; eager attention has every derivative."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config: dict[str, Any] = {
        "vocab_size": settings.vocabulary,
        "n_positions": settings.context,
        "n_embd": settings.width,
        "n_layer": settings.layers,
        "n_head": settings.heads,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "use_cache": False,
        "attn_implementation": "eager",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model: nn.Module = GPT2LMHeadModel(GPT2Config(**config))
    return model.double().eval().requires_grad_(False)


def written_out(model: nn.Module) -> nn.Module:
    """A copy in which every LayerNorm is written in elementary operations; its parameters keep their names.

    PyTorch's own layer_norm holds its mean and deviation constant from the third derivative on, and says
    nothing (pytorch issue 175754); first and second derivatives are right.
    """
    twin = copy.deepcopy(model)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, _LayerNorm(child))
    return twin


class _LayerNorm(nn.Module):
    """(x − mean) / √(variance + ε) · weight + bias over the last axis."""

    def __init__(self, original: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = original.weight, original.bias, original.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias
