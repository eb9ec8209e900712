"""A series of checkpoints: which there are, what identifies each, and what is kept of it."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commute_verify import __version__
from commute_verify.cli.files import write
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.cli.estimate import Asked
    from commute_verify.criterion import OrderEffect

INSIDE = ("checkpoint-*", "step-*", "step_*", "checkpoints/*", "ckpt*.pt")
"""Where a run's folder keeps its checkpoints."""
STATES = ("rng_state", "scheduler.pt", "training_args.bin")
"""Files of a checkpoint that an effect does not depend on, by how they begin."""
SETTINGS = (
    "batches",
    "batch_size",
    "context",
    "read",
    "plain",
    "method",
    "tokenizer",
    "config",
    "device",
    "seed",
)
FORMAT, VERSION = "commute_verify.scanned", 1


@dataclass(frozen=True, eq=False)
class Scanned:
    """The effect at one checkpoint of a series; ``step`` is its place where the checkpoint knows none."""

    name: str
    step: int
    effect: OrderEffect


def checkpoints(given: Sequence[str]) -> list[Path]:
    """Paths, patterns such as ``runs/checkpoint-*`` and folders of checkpoints, each once, by step.

    Raises CommuteError where one names nothing.
    """
    found: dict[Path, None] = {}
    for argument in given:
        paths = [Path(argument)] if Path(argument).exists() else [Path(path) for path in glob.glob(argument)]
        if not paths:
            raise CommuteError(
                f"no checkpoint at {argument}; give folders, files, or a pattern that fits some"
            )
        for path in paths:
            found.update(dict.fromkeys(_opened(path)))
    return sorted(found, key=lambda path: (_number(path), str(path)))


def _opened(path: Path) -> list[Path]:
    if path.is_file() or (path / "config.json").is_file() or (path / ".metadata").is_file():
        return [path]
    inside = [one for pattern in INSIDE for one in path.glob(pattern) if not one.name.startswith(".")]
    return sorted(inside) or [path]


def _number(path: Path) -> int:
    from commute_verify.checkpoints.hugging_face import step_of

    if path.is_dir():
        return step_of(path) or 0
    ending = re.findall(r"\d+", path.stem)
    return int(ending[-1]) if ending else 0


def key(path: Path, asked: Asked) -> str:
    """Digest of a checkpoint's content, the domains' files and all settings that an effect depends on."""
    digest = hashlib.sha256(f"{__version__} {VERSION}".encode())
    held = vars(asked.options)
    settings = {name: held[name] for name in SETTINGS} | {
        "targets": asked.targets,
        "budget": asked.budget,
        "domains": {name: _sha256(file.path) for name, file in asked.domains.items()},
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith(STATES):
            name = file.name if path.is_file() else file.relative_to(path).as_posix()
            digest.update(f"\0{name}\0{_sha256(file)}".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CommuteError(
            f"cannot read {path} ({error.strerror or error}); give a file that exists"
        ) from error


class Kept:
    """Effects under ``folder/kept``, one file for each key, whole or absent."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises CommuteError where that cannot be done."""
        self._folder = folder / "kept"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommuteError(
                f"cannot write into {folder} ({error.strerror or error}); give another --out"
            ) from error

    def load(self, name: str) -> tuple[int | None, OrderEffect] | None:
        """Step and effect, or None where there is none that can be read."""
        from commute_verify.criterion import OrderEffect

        try:
            held = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
            if held["format"] == FORMAT and held["version"] == VERSION:
                return held["step"], OrderEffect.from_json(json.dumps(held["effect"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def save(self, name: str, step: int | None, effect: OrderEffect) -> None:
        """Keep an effect."""
        held = {"format": FORMAT, "version": VERSION, "step": step, "effect": json.loads(effect.to_json())}
        write(self._folder / f"{name}.json", json.dumps(held) + "\n")


def plain(number: float) -> float:
    """Rounded to 8 significant digits."""
    return float(f"{number:.8g}")


def record(series: Sequence[Scanned], weights: dict[str, float] | None) -> dict[str, Any]:
    """The series as plain data, the same for the same numbers: no times, no paths."""
    return {
        "format": "commute_verify.scan",
        "version": VERSION,
        "domains": list(series[0].effect.domains),
        "targets": {name: dict(mix) for name, mix in series[0].effect.mixing.items()},
        "weights": weights,
        "checkpoints": [_one(scanned, weights) for scanned in series],
    }


def _one(scanned: Scanned, weights: dict[str, float] | None) -> dict[str, Any]:
    effect = scanned.effect
    return {
        "name": scanned.name,
        "step": scanned.step,
        "P": {name: [[plain(x) for x in row] for row in P] for name, P in effect.P.items()},
        "stderr": {name: [[plain(x) for x in row] for row in e] for name, e in effect.stderr.items()},
        "pairs": list(_pairs(effect)),
        "violations": []
        if weights is None
        else [
            {
                "target": one.target,
                "earlier": one.earlier,
                "later": one.later,
                "value": plain(one.value),
                "stderr": plain(one.stderr),
                "p": plain(one.p_value),
            }
            for one in effect.optimality(weights)
        ],
    }


def _pairs(effect: OrderEffect) -> Iterator[dict[str, Any]]:
    from itertools import combinations

    for target in effect.targets:
        for one, other in combinations(effect.domains, 2):
            found = effect.prefer_first(one, other, target)
            later = other if found.first == one else one
            yield {
                "target": target,
                "first": found.first,
                "later": later,
                "p": plain(found.p_value),
                "resolved": found.resolved,
            }
