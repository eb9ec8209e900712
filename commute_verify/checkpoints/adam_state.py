"""Which parameter is which in a saved optimizer's state: numbers to names, and nothing guessed in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from commute_verify.errors import CommuteError

Named = list[list[str]]
TRAINERS = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""Names that the Trainer of transformers does not decay, beside those of ``nn.LayerNorm``; in lower case."""


def adam_state(
    state: Any, model: nn.Module, where: str, *, trainer: bool
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The state with ``param_names`` in every group, and what was assumed; None where it is not Adam's.

    Groups without names are read as the Trainer fills them (decayed first, its own rule; ``trainer`` says
    that it wrote the state), by dimension as nanoGPT does, or as all parameters in the model's order: the
    first of these whose counts and shapes all fit. Raises CommuteError where none does.
    """
    groups, moments = _parts(state, where)
    numbers = [list(group["params"]) for group in groups]
    if not moments:
        return None, (f"no moments in {where}: plain gradients are taken",)
    first = next(iter(moments.values()))
    if not {"exp_avg_sq", "step"} <= set(first) or "betas" not in groups[0] or "amsgrad" not in groups[0]:
        return None, (
            f"the state in {where} is not of Adam or AdamW "
            f"({', '.join(sorted(map(str, first))) or 'nothing'}): plain gradients are taken",
        )
    broken = [n for n, one in moments.items() if not isinstance(one.get("exp_avg_sq"), Tensor)]
    if broken or "lr" not in groups[0]:
        lacking = f"the second moments of {broken[0]}" if broken else "a learning rate"
        raise CommuteError(f"{where} lacks {lacking}; give what optimizer.state_dict() returned")
    if all("param_names" in group for group in groups):
        return {"param_groups": groups, "state": moments}, ()
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    rules = (trainers, by_dimension) if trainer else (by_dimension, trainers)
    for rule in (*rules, in_order):
        names = rule(model)
        if [len(one) for one in names] == [len(one) for one in numbers] and all(
            tuple(moments[n]["exp_avg_sq"].shape) == shapes[name]
            for named, group in zip(names, numbers, strict=True)
            for name, n in zip(named, group, strict=True)
            if n in moments
        ):
            named_groups = [{**g, "param_names": n} for g, n in zip(groups, names, strict=True)]
            said = str(rule.__doc__).rstrip(".")
            return {"param_groups": named_groups, "state": moments}, (f"{said} ({where})",)
    raise CommuteError(
        f"{where}: its groups of {', '.join(str(len(one)) for one in numbers)} parameters do not fit the "
        f"model's {len(shapes)}; build the optimizer from named_parameters(), so that it saves their names, "
        "or give --plain"
    )


def _parts(state: Any, where: str) -> tuple[list[Mapping[str, Any]], dict[Any, Mapping[str, Any]]]:
    """Groups of parameters, at least one, and what is held of each parameter."""
    whole = state if isinstance(state, Mapping) else {}
    groups, moments = whole.get("param_groups"), whole.get("state")
    if (
        not (isinstance(groups, Sequence) and groups and isinstance(moments, Mapping))
        or not all(isinstance(one, Mapping) and isinstance(one.get("params"), Sequence) for one in groups)
        or not all(isinstance(one, Mapping) for one in moments.values())
    ):
        raise CommuteError(f"{where} holds no optimizer's state; give what optimizer.state_dict() returned")
    return list(groups), dict(moments)


def trainers(model: nn.Module) -> Named:
    """Parameters are taken in the Trainer's order, decayed before not decayed."""
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for name, _ in module.named_parameters(recurse=False)
    }
    return _split(model, lambda name: name not in norms and not TRAINERS.search(name.lower()))


def by_dimension(model: nn.Module) -> Named:
    """Parameters are taken in the model's order, matrices before vectors."""
    held = dict(model.named_parameters())
    return _split(model, lambda name: held[name].ndim >= 2)


def in_order(model: nn.Module) -> Named:
    """Parameters are taken in the model's own order."""
    return [[name for name, p in model.named_parameters() if p.requires_grad]]


def _split(model: nn.Module, first: Callable[[str], bool]) -> Named:
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return [[name for name in names if first(name)], [name for name in names if not first(name)]]
