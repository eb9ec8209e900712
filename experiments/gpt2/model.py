"""The language model: a GPT-2 of transformers, its loss, and what a token costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commute_verify.errors import CommuteError
from experiments.gpt2.settings import Architecture, Training

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bf16 FLOP/s that makers state, by a piece of the device's name."""


def build(architecture: Architecture, seed: int) -> GPT2LMHeadModel:
    """A fresh model in float32, without dropout; the same seed gives the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=architecture.vocabulary,
            n_positions=architecture.context,
            n_embd=architecture.width,
            n_layer=architecture.layers,
            n_head=architecture.heads,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **{"attn_implementation": architecture.attention},
        )
        return GPT2LMHeadModel(config)


def end_documents(model: GPT2LMHeadModel, separator: int) -> None:
    """Say in the model's configuration which token ends a document, and begins the next, as GPT-2's own does.

    Training does not read it: what generates text from a checkpoint does.
    """
    model.config.architectures = [type(model).__name__]
    for told in (model.config, model.generation_config):
        told.bos_token_id = told.eos_token_id = separator
    model.generation_config.pad_token_id = separator


def token_losses(model: nn.Module, windows: Tensor) -> Tensor:
    """Cross-entropy of every next token in nats: windows (B, context + 1) -> (B, context)."""
    logits = model(input_ids=windows[:, :-1]).logits.flatten(0, 1)
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    losses = F.cross_entropy(wide, windows[:, 1:].flatten(), reduction="none")
    return losses.view(len(windows), -1)


def loss_fn(model: nn.Module, windows: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss and the number of tokens, as `commute_verify.order_effect` asks for them."""
    logits, targets = model(input_ids=windows[:, :-1]).logits, windows[:, 1:]
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return total, torch.tensor(targets.numel())


def parameters(model: nn.Module) -> int:
    """Number of parameters, each counted once."""
    return sum(p.numel() for p in model.parameters())


def flops_per_token(architecture: Architecture) -> float:
    """FLOPs of forward and backward: 6 N + 12 · layers · width · context.

    N counts the weights that multiply activations: blocks, and the output matrix (tied to the token
    embedding). Looking up embeddings costs nothing. Source: Chowdhery et al. 2022 (PaLM), appendix B; the
    causal half of attention is counted in full there, and here.
    """
    width, layers = architecture.width, architecture.layers
    multiplied = 12 * width * width * layers + width * architecture.vocabulary
    return 6.0 * multiplied + 12.0 * layers * width * architecture.context


def peak_flops(device: torch.device, given: float | None = None) -> float | None:
    """The peak that MFU is a share of: what is given, the maker's figure of a known GPU, or None."""
    if given is not None or device.type != "cuda":
        return given
    name = torch.cuda.get_device_name(device)
    return next((peak for piece, peak in PEAKS.items() if piece in name), None)


def device_of(name: str) -> torch.device:
    """The device of a setting; "auto" takes a GPU where there is one."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise CommuteError("device is 'cuda', and PyTorch sees no GPU: give device 'cpu' or 'auto'")
    return torch.device("cuda", torch.cuda.current_device())


def optimizer_for(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """The optimizer of the settings, over named parameters: matrices with weight decay, the rest without."""
    named = list(model.named_parameters())
    groups = [
        {"params": [(n, p) for n, p in named if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [(n, p) for n, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True, weight_decay=0.0
        )
    momentum = settings.betas[0] if settings.optimizer == "momentum" else 0.0
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take the moments and step counts of a saved state; betas, decay and so on stay the optimizer's."""
    own = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(dict(state))
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)
