"""Hugging Face folders and hub names, as ``save_pretrained`` and the Trainer write them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from commute_verify.checkpoints.adam_state import adam_state
from commute_verify.checkpoints.checkpoint import Checkpoint
from commute_verify.checkpoints.quiet import first_line, quiet
from commute_verify.checkpoints.tokens import read_tokenizer
from commute_verify.checkpoints.untrusted import asked, load_tensors
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch import nn

OPTIMIZER = "optimizer.pt"


def read_hugging_face(name: str, *, tokenizer: str | None, device: str, exact_attention: bool) -> Checkpoint:
    """A causal language model, its tokenizer, and Adam's state from ``optimizer.pt`` where that is there."""
    model = load_model(name, exact_attention).to(device).eval()
    folder = Path(name)
    state: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    step = None
    if folder.is_dir():
        step = step_of(folder)
        if (folder / OPTIMIZER).is_file():
            trainer = (folder / "trainer_state.json").is_file()
            held = load_tensors(folder / OPTIMIZER)
            state, notes = adam_state(held, model, str(folder / OPTIMIZER), trainer=trainer)
    return Checkpoint(model, read_tokenizer(tokenizer or name), name, "Hugging Face", step, state, notes)


def load_model(name: str, exact_attention: bool) -> nn.Module:
    """The model in float32, every weight read and none made up; no code from the folder or hub is run."""
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"attn_implementation": "eager"} if exact_attention else {}
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=torch.float32,
                weights_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        if not Path(name).exists():
            raise CommuteError(
                f"{name} is no folder here, and the Hugging Face hub does not give it ({first_line(error)}); "
                "give a checkpoint that exists"
            ) from error
        if "Weights only load failed" in str(error):
            raise CommuteError(
                f"{name} holds weights in a pickle that asks for more than tensors ({asked(str(error))}) and "
                "may run code: it was not read; save them as safetensors where you trust them"
            ) from error
        raise CommuteError(
            f"cannot read {name} as a causal language model of transformers ({first_line(error)}); give a "
            "whole folder as save_pretrained writes it, with weights in safetensors"
        ) from error
    model, info = loaded
    odd = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if odd:
        raise CommuteError(
            f"{name} lacks weights of its model, or has them in other shapes: {', '.join(odd[:3])}"
            f"{' …' * (len(odd) > 3)}; give a whole checkpoint"
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    found: nn.Module = model
    return found


def bare_model(name: str, exact_attention: bool) -> nn.Module:
    """The model of a ``config.json``, with weights that are still to come."""
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {"attn_implementation": "eager"} if exact_attention else {}
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            build: Any = AutoModelForCausalLM.from_config
            made = build(config, dtype=torch.float32, trust_remote_code=False, **options)
    except Exception as error:
        raise CommuteError(
            f"cannot read the architecture {name} ({first_line(error)}); give a folder with a config.json"
        ) from error
    if hasattr(made.config, "use_cache"):
        made.config.use_cache = False
    found: nn.Module = made
    return found


def step_of(folder: Path) -> int | None:
    """The steps done: from the Trainer's or this project's state, or the number that the name ends in."""
    for name, field in (("trainer_state.json", "global_step"), ("state.json", "step")):
        try:
            step = json.loads((folder / name).read_bytes())[field]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if type(step) is int:
            return step
    ending = re.search(r"(\d+)$", folder.resolve().name)
    return int(ending[1]) if ending else None
