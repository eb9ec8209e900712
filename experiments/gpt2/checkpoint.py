"""Checkpoints that are whole or absent, and open in the Hugging Face ecosystem.

A checkpoint is a folder: ``model.safetensors``, ``config.json`` and the tokenizer's files as
`save_pretrained` writes them, ``optimizer.pt`` (the optimizer's state_dict, read with weights_only=True) and
``state.json``. It is written beside its place, synced to the disk, and moved there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from commute_verify.errors import CommuteError
from experiments.gpt2.model import build
from experiments.gpt2.settings import Training
from experiments.gpt2.tokenizer import digest
from experiments.storage import reason

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

FORMAT, VERSION = "commute_verify checkpoint", 2
UNSEALED = 1
"""The version whose state.json held no digest of itself; it is still read."""
CHECKPOINTS = "checkpoints"
WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.pt", "state.json"
TIED = "lm_head.weight"


@dataclass(frozen=True)
class State:
    """Where a run stands: ``step`` steps are done, and ``cursor`` windows of each domain consumed.

    ``tokenizer`` and ``shards`` are digests of the tokenizer and of the shards' settings; ``rng`` holds the
    states of PyTorch's generators.
    """

    step: int
    cursor: Mapping[str, int]
    settings: Training
    tokenizer: str
    shards: str
    rng: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse what no run can have written."""
        if type(self.step) is not int or self.step < 0:
            raise CommuteError(f"step {self.step!r}: expected a whole number ≥ 0")
        if not isinstance(self.cursor, Mapping) or not self.cursor:
            raise CommuteError(f"cursor {self.cursor!r}: expected a number of windows for each domain")
        for name, count in self.cursor.items():
            if type(count) is not int or count < 0:
                raise CommuteError(f"cursor of {name!r} {count!r}: expected a whole number ≥ 0")
        for what in (self.tokenizer, self.shards):
            if not isinstance(what, str):
                raise CommuteError(f"digest {what!r}: expected text")
        _check_rng(self.rng)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk, found whole."""

    folder: Path
    state: State

    def model(self) -> GPT2LMHeadModel:
        """The model, float32, on the CPU, in training mode (it has no dropout)."""
        from safetensors.torch import load_file

        model = build(self.state.settings.architecture, seed=0)
        held = load_file(self.folder / WEIGHTS)
        own = {name: tensor.shape for name, tensor in model.state_dict().items() if name != TIED}
        if own != {name: tensor.shape for name, tensor in held.items()}:
            raise CommuteError(
                f"{self.folder / WEIGHTS} is of another model than {STATE}: give another checkpoint"
            )
        model.load_state_dict(held, strict=False)
        model.tie_weights()
        return model

    def optimizer_state(self) -> dict[str, Any]:
        """What ``optimizer.state_dict()`` was."""
        try:
            state: dict[str, Any] = torch.load(self.folder / OPTIMIZER, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            raise CommuteError(
                f"{self.folder / OPTIMIZER} holds no optimizer's state: give another"
            ) from error
        return state


def _check_rng(states: object) -> None:
    if not isinstance(states, Mapping) or "cpu" not in states or not states.keys() <= {"cpu", "cuda"}:
        raise CommuteError("random generators: expected the state of 'cpu', and of 'cuda' if there was one")
    for name, text in states.items():
        try:
            found = base64.b64decode(text, validate=True)
        except (TypeError, ValueError) as error:
            raise CommuteError(f"the state of the generator {name!r} is no base64 ({error})") from error
        if name == "cpu" and len(found) != torch.get_rng_state().numel():
            raise CommuteError(f"the state of the generator 'cpu' has {len(found)} bytes")


def rng_states() -> dict[str, str]:
    """The states of PyTorch's generators, as text."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in found.items()}


def restore_rng(states: Mapping[str, str]) -> None:
    """Set PyTorch's generators to saved states."""
    held = {
        name: torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy())
        for name, text in states.items()
    }
    torch.set_rng_state(held["cpu"])
    if "cuda" in held and torch.cuda.is_available():
        torch.cuda.set_rng_state(held["cuda"])


def folder_of(run: Path, step: int) -> Path:
    """Where a run keeps the checkpoint after so many steps."""
    return run / CHECKPOINTS / f"step-{step:08d}"


def save(
    folder: Path,
    model: GPT2LMHeadModel,
    optimizer: torch.optim.Optimizer,
    tokenizer_folder: Path,
    state: State,
) -> Checkpoint:
    """Write a checkpoint: after this returns it survives a power cut, before that there is none of it.

    Raises CommuteError where the disk is full or cannot be written; earlier checkpoints are as they were.
    """
    from safetensors import SafetensorError

    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(tokenizer_folder, partial)
        _save_weights(model, partial)
        with open(partial / OPTIMIZER, "wb") as file:  # of a path PyTorch forgets why it failed
            torch.save(optimizer.state_dict(), file)
        sums = {name: _sha256(partial / name) for name in (WEIGHTS, OPTIMIZER)}
        (partial / STATE).write_bytes(_plain(state, sums))
        for path in partial.iterdir():
            _sync(path)
        _sync(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        _sync(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CommuteError(
            f"cannot save {folder} ({_first_reason(error)}): make room; what was saved before it is untouched"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Checkpoint(folder, state)


def load(folder: Path) -> Checkpoint:
    """A checkpoint, its files held against their checksums; CommuteError when it is not whole."""
    try:
        held = json.loads((folder / STATE).read_bytes())
        if held["format"] != FORMAT or held["version"] not in (UNSEALED, VERSION):
            raise CommuteError(
                f"{folder} is a checkpoint of another format or version: give one of this program"
            )
        if held["version"] == VERSION and held.pop("digest") != _seal(held):
            raise ValueError("changed since it was saved")
        sums = {name: _sha256(folder / name) for name in (WEIGHTS, OPTIMIZER)}
        wrong = sorted(name for name, found in sums.items() if found != held["sha256"][name])
        settings = Training.from_plain(held["settings"])
        state = State(held["step"], held["cursor"], settings, held["tokenizer"], held["shards"], held["rng"])
        if folder.name.startswith("step-") and folder.name != folder_of(folder, state.step).name:
            raise ValueError(f"step {state.step} in a folder called {folder.name}")
        wrong += [] if digest(folder) == state.tokenizer else ["tokenizer.json"]
    except OSError as error:
        name = Path(error.filename).name if error.filename else "a file"
        raise CommuteError(
            f"{folder} is not a whole checkpoint ({name}: {reason(error)}): give another"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CommuteError) and str(folder) in str(error):
            raise
        raise CommuteError(f"{folder / STATE} is corrupt ({error}): give another checkpoint") from error
    if wrong:
        raise CommuteError(
            f"{folder} is corrupt ({', '.join(wrong)} changed since it was saved): give another"
        )
    return Checkpoint(folder, state)


def steps_saved(run: Path) -> list[int]:
    """The steps of a run's checkpoints, whole or not, in order."""
    return sorted(
        int(path.name[5:]) for path in (run / CHECKPOINTS).glob("step-*") if path.name[5:].isdigit()
    )


def is_whole(run: Path, step: int) -> bool:
    """Whether a run has a checkpoint after so many steps, and it loads."""
    try:
        load(folder_of(run, step))
    except CommuteError:
        return False
    return True


def latest(run: Path, before: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of a run, or None; corrupt ones are passed over, and named on stderr.

    With ``before``, the newest of those that have fewer steps.
    """
    for step in reversed(steps_saved(run)):
        if before is not None and step >= before:
            continue
        try:
            return load(folder_of(run, step))
        except CommuteError as error:
            print(f"passed over: {error}", file=sys.stderr, flush=True)
    return None


def remove(run: Path, step: int) -> None:
    """Remove one checkpoint: out of sight first, so that no piece of it can be taken for whole."""
    folder = folder_of(run, step)
    hidden = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    os.replace(folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(run: Path) -> None:
    """Remove what an interrupted save left."""
    for left in (run / CHECKPOINTS).glob(".step-*.partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def _save_weights(model: GPT2LMHeadModel, folder: Path) -> None:
    """The files of ``model.save_pretrained``; the output matrix is the token embedding, and saved once."""
    from safetensors.torch import save_file

    held = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != TIED}
    save_file(held, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.save_pretrained(str(folder))
    model.generation_config.save_pretrained(str(folder))
    shutil.copymode(folder / "config.json", folder / WEIGHTS)  # safetensors lets nobody else read it


def _plain(state: State, sums: Mapping[str, str]) -> bytes:
    held = {
        "format": FORMAT,
        "version": VERSION,
        "step": state.step,
        "cursor": dict(state.cursor),
        "settings": state.settings.plain(),
        "tokenizer": state.tokenizer,
        "shards": state.shards,
        "rng": dict(state.rng),
        "sha256": dict(sums),
    }
    return (json.dumps({**held, "digest": _seal(held)}, sort_keys=True, indent=1) + "\n").encode()


def _seal(held: Mapping[str, Any]) -> str:
    """Digest of all that state.json says."""
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def _first_reason(error: Exception) -> str:
    """Why a file was not written: of several errors, one after the other, the system's own."""
    told = error
    while not isinstance(told, OSError) and isinstance(told.__context__, Exception):
        told = told.__context__
    return reason(told if isinstance(told, OSError) else error)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
