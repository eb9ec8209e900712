"""nanoGPT's ``ckpt.pt`` as an equivalent GPT-2 of transformers.

nanoGPT's linear layers hold W (out, in), those of transformers' GPT-2 its transpose; moments are turned with
their weights. Source: karpathy/nanoGPT, model.py and train.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from commute_verify.checkpoints.adam_state import adam_state
from commute_verify.checkpoints.checkpoint import Checkpoint
from commute_verify.checkpoints.tokens import Tokenizer, read_tokenizer
from commute_verify.checkpoints.untrusted import load_tensors
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

COMPILED = "_orig_mod."
TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
SIZES = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
GPT2_VOCABULARY = (50257, 50304)
TIED = "lm_head.weight"


def read_nanogpt(path: Path, *, tokenizer: str | None, device: str, exact_attention: bool) -> Checkpoint:
    """The model with AdamW's state; ``tokenizer`` stands for GPT-2's own, or for what a meta.pkl would say.

    Raises CommuteError for a file of another kind, and where the tokenizer is not known.
    """
    held = load_tensors(path)
    if not isinstance(held, Mapping) or not {"model", "model_args"} <= set(held):
        keys = sorted(map(str, held))[:5] if isinstance(held, Mapping) else type(held).__name__
        raise CommuteError(
            f"{path} is no ckpt.pt of nanoGPT (it holds {keys}; model and model_args were expected); give a "
            "Hugging Face folder for a model of another kind"
        )
    if not isinstance(held["model"], Mapping) or not isinstance(held["model_args"], Mapping):
        raise CommuteError(f"{path}: model or model_args is no mapping; give a ckpt.pt of nanoGPT's train.py")
    if not all(isinstance(one, Tensor) for one in held["model"].values()):
        raise CommuteError(
            f"{path}: a weight of the model is no tensor; give a ckpt.pt of nanoGPT's train.py"
        )
    weights = _named(held["model"])
    model: nn.Module = _built(held["model_args"], weights, str(path), exact_attention)
    model = model.to(device).eval()
    step = held.get("iter_num")
    state: dict[str, Any] | None = None
    notes: tuple[str, ...] = ("GELU is taken as exact, as in nanoGPT since 2023",)
    if held.get("optimizer"):
        state, more = adam_state(held["optimizer"], _Layout(model), f"{path}, optimizer", trainer=False)
        notes += more
    if state is not None:
        state = {**state, "state": _turned_moments(state)}
    return Checkpoint(
        model,
        _tokenizer(path, held["model_args"]["vocab_size"], tokenizer),
        str(path),
        "nanoGPT",
        step if isinstance(step, int) else None,
        state,
        notes,
    )


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without torch.compile's prefix, and without the masks of old versions."""
    short = {name.removeprefix(COMPILED): tensor for name, tensor in weights.items()}
    return {
        name: tensor for name, tensor in short.items() if not name.endswith((".attn.bias", ".masked_bias"))
    }


def _built(
    arguments: Mapping[str, Any], weights: Mapping[str, Tensor], where: str, exact_attention: bool
) -> GPT2LMHeadModel:
    from transformers import GPT2Config, GPT2LMHeadModel

    odd = [name for name in SIZES if type(arguments.get(name)) is not int]
    if odd:
        raise CommuteError(f"{where}: model_args lack {', '.join(odd)}; give a ckpt.pt of nanoGPT's train.py")
    _check_sizes(arguments, weights, where)
    options: dict[str, Any] = {"attn_implementation": "eager"} if exact_attention else {}
    config = GPT2Config(
        vocab_size=arguments["vocab_size"],
        n_positions=arguments["block_size"],
        n_embd=arguments["n_embd"],
        n_layer=arguments["n_layer"],
        n_head=arguments["n_head"],
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        **options,
    )
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config)
    held = dict(model.named_parameters())
    absent = [name for name in held if name not in weights]
    biased = bool(arguments.get("bias", True))
    unknown = [name for name in weights if name not in held and name != TIED]
    if unknown or (biased and absent) or not all(name.endswith(".bias") for name in absent):
        raise CommuteError(
            f"{where} is of another model than model_args say ({', '.join([*unknown, *absent][:3])} …); give "
            "a ckpt.pt of nanoGPT's own GPT"
        )
    if TIED in weights and not torch.equal(weights[TIED], weights["transformer.wte.weight"]):
        raise CommuteError(f"{where}: its output matrix is not the token embedding, as nanoGPT's is")
    with torch.no_grad():
        for name, p in held.items():
            if name in absent:
                p.zero_().requires_grad_(False)
                continue
            given = weights[name].T if name.endswith(TURNED) else weights[name]
            if given.shape != p.shape:
                raise CommuteError(
                    f"{where}: {name} has shape {tuple(weights[name].shape)}, which model_args do not give"
                )
            p.copy_(given)
    return model


def _check_sizes(arguments: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> None:
    """Hold the sizes against the weights before a model of these sizes is made."""
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer.h.")}
    if arguments["n_layer"] != len(layers):
        raise CommuteError(
            f"{where} is of another model than model_args say ({len(layers)} layers, n_layer is "
            f"{arguments['n_layer']}); give a ckpt.pt of nanoGPT's own GPT"
        )
    width, heads = arguments["n_embd"], arguments["n_head"]
    for name, rows in (("wte", arguments["vocab_size"]), ("wpe", arguments["block_size"])):
        shape = tuple(getattr(weights.get(f"transformer.{name}.weight"), "shape", (rows, width)))
        if shape != (rows, width):
            raise CommuteError(f"{where}: {name} has shape {shape}, which model_args do not give")
    if heads < 1 or width % heads:
        raise CommuteError(f"{where}: n_embd {width} cannot be shared by n_head {heads}; give it whole")


class _Layout(nn.Module):
    """The parameters under their names in nanoGPT's shapes, on no device: what its optimizer counted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._held = {
            name: nn.Parameter(torch.empty(p.T.shape if name.endswith(TURNED) else p.shape, device="meta"))
            for name, p in model.named_parameters()
            if p.requires_grad
        }

    def named_parameters(self, *_: Any, **__: Any) -> Any:
        """In the model's order, which is nanoGPT's."""
        return iter(self._held.items())


def _turned_moments(state: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """The moments in the shapes of transformers."""
    name_of = {
        number: name
        for group in state["param_groups"]
        for number, name in zip(group["params"], group["param_names"], strict=True)
    }
    return {
        number: {
            key: value.T.contiguous()
            if name_of[number].endswith(TURNED) and isinstance(value, Tensor) and value.ndim == 2
            else value
            for key, value in moments.items()
        }
        for number, moments in state["state"].items()
    }


def _tokenizer(path: Path, vocabulary: int, given: str | None) -> Tokenizer:
    if given is not None:
        return read_tokenizer(given)
    if vocabulary in GPT2_VOCABULARY:
        return read_tokenizer("gpt2")
    raise CommuteError(
        f"{path} knows {vocabulary} tokens, and which they are stands in nanoGPT's meta.pkl, a pickle that "
        "is not read; give --tokenizer FOLDER, a name on the Hugging Face hub, or bytes, where its tokens "
        "are those"
    )
