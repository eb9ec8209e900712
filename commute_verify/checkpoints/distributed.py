"""Folders of ``torch.distributed.checkpoint`` (DCP), read on one process.

PyTorch loads the file ``.metadata``, and every entry that is no tensor, by an unguarded ``pickle``. Here the
metadata go through an unpickler that knows DCP's own classes and nothing else, and entries through
``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from commute_verify.checkpoints.adam_state import adam_state
from commute_verify.checkpoints.checkpoint import Checkpoint
from commute_verify.checkpoints.dcp_metadata import read_metadata
from commute_verify.checkpoints.hugging_face import bare_model, step_of
from commute_verify.checkpoints.quiet import first_line
from commute_verify.checkpoints.tokens import read_tokenizer
from commute_verify.checkpoints.untrusted import asked
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import Metadata

COMPILED = "_orig_mod."
MOMENT = re.compile(r"(?P<prefix>(?:.*\.)?)state\.(?P<id>.+)\.exp_avg_sq")


def read_distributed(
    path: Path, *, tokenizer: str | None, config: str | None, device: str, exact_attention: bool
) -> Checkpoint:
    """The model of ``config`` with the folder's weights, under whatever prefix, and Adam's state.

    Raises CommuteError without ``config``, where a parameter is missing or of another shape, and for entries
    that would run code.
    """
    if config is None:
        raise CommuteError(
            f"{path} is a torch DCP folder, which holds no architecture; give --config FOLDER with a "
            "config.json"
        )
    metadata = read_metadata(path / ".metadata")
    model = bare_model(config, exact_attention)
    places = _places(metadata, [name for name, _ in model.named_parameters()], path)
    held = {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    entries: dict[str, Any] = {places[name]: tensor for name, tensor in held.items() if name in places}
    for name, tensor in entries.items():
        size = tuple(metadata.state_dict_metadata[name].size)  # type: ignore[union-attr]
        if size != tuple(tensor.shape):
            raise CommuteError(
                f"{path}: {name} has shape {size}, and {config} asks for {tuple(tensor.shape)}; give the "
                "config.json of this model"
            )
    moments = _moments(metadata)
    _load(path, metadata, entries)
    _load(path, metadata, moments)
    state = None
    notes: tuple[str, ...] = (f"no moments of Adam in {path}: plain gradients are taken",)
    if moments:
        named = {stored: name for name, stored in places.items()}
        state, notes = adam_state(_state(moments, named), model, f"{path}, optimizer", trainer=False)
    words = read_tokenizer(tokenizer or config)
    return Checkpoint(model.to(device).eval(), words, str(path), "torch DCP", step_of(path), state, notes)


def _places(metadata: Metadata, names: list[str], path: Path) -> dict[str, str]:
    """Where each of the model's names is stored: all under the shortest prefix that holds every parameter."""
    stored = {name.replace(COMPILED, ""): name for name in metadata.state_dict_metadata}
    prefixes = sorted((name.removesuffix(names[0]) for name in stored if name.endswith(names[0])), key=len)
    absent = names[:1]
    for prefix in prefixes:
        absent = [name for name in names if f"{prefix}{name}" not in stored]
        if not absent:
            return {
                name.removeprefix(prefix): place for name, place in stored.items() if name.startswith(prefix)
            }
    raise CommuteError(
        f"{path} lacks {', '.join(absent[:3])}{' …' * (len(absent) > 3)} of the model that --config "
        f"describes (it holds {', '.join(sorted(stored)[:2])} …); give the config.json of this model"
    )


def _moments(metadata: Metadata) -> dict[str, Any]:
    """Empty places for the optimizer's entries: tensors, and None for what is no tensor."""
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    every = metadata.state_dict_metadata
    prefixes = {found["prefix"] for found in map(MOMENT.fullmatch, every) if found}
    if len(prefixes) != 1:
        return {}
    (prefix,) = prefixes
    return {
        name: torch.empty(one.size, dtype=one.properties.dtype)
        if isinstance(one, TensorStorageMetadata)
        else None
        for name, one in every.items()
        if name.startswith((f"{prefix}state.", f"{prefix}param_groups"))
    }


def _load(path: Path, metadata: Metadata, entries: dict[str, Any]) -> None:
    """Fill the entries."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.planner import ReadItem
    from torch.distributed.checkpoint.state_dict_loader import load

    class Reader(FileSystemReader):
        def read_metadata(self, *_: Any, **__: Any) -> Metadata:
            """What was read through the guard."""
            return metadata

    class Planner(DefaultLoadPlanner):
        def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
            """An entry that is no tensor, by ``weights_only``."""
            plain[read_item.dest_index.fqn] = torch.load(value, map_location="cpu", weights_only=True)

    plain: dict[str, Any] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(entries, storage_reader=Reader(path), planner=Planner(), no_dist=True)
    except (Exception, CheckpointException) as error:
        failures = (
            [one for one, _ in error.failures.values()] if isinstance(error, CheckpointException) else [error]
        )
        why = str(failures[0])
        if "Weights only load failed" in why:
            raise CommuteError(
                f"{path} holds a pickle that asks for more than tensors ({asked(why)}) and may run code: it "
                "was not read; save state_dicts alone"
            ) from error
        raise CommuteError(
            f"cannot read {path} ({first_line(failures[0])}): cut short; give it whole"
        ) from error
    entries |= plain


def _state(entries: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    """A state_dict of the optimizer from its flat entries, names of parameters brought to the model's."""
    (prefix,) = {found["prefix"] for found in map(MOMENT.fullmatch, entries) if found}
    state: dict[Any, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    whole: list[dict[str, Any]] = []
    for name, value in entries.items():
        kind, _, rest = name.removeprefix(prefix).partition(".")
        one, _, key = rest.rpartition(".")
        if kind == "state":
            state.setdefault(int(one) if one.isdecimal() else one, {})[key] = value
        elif rest:
            groups.setdefault(one, {})[key] = value
        else:
            whole = value
    for one, group in groups.items():
        group.setdefault("params", [one])
    held = whole or [groups[one] for one in sorted(groups, key=lambda one: (len(one), one))]
    texts = {one for one in state if isinstance(one, str)}
    if texts:
        short = {one: _short(one, named) for one in texts}
        held = [{**group, "param_names": [short.get(p, p) for p in group["params"]]} for group in held]
    return {"state": state, "param_groups": held}


def _short(name: str, named: Mapping[str, str]) -> str:
    """A parameter's name in the model, of its name in the optimizer's entries."""
    bare = name.replace(COMPILED, "")
    every = set(named.values())
    while bare not in every and "." in bare:
        bare = bare.partition(".")[2]
    return bare if bare in every else name
