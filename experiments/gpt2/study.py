"""A study on the disk: where each piece lies, what it was made with, and what is there already.

    OUT/study.json                     what the pieces were made with
    OUT/shards/                        the tokens of every domain
    OUT/runs/WEIGHTS/                  a base run with its checkpoints
    OUT/curves/WEIGHTS.json            its losses
    OUT/effects/WEIGHTS_tSTEP.json     the criterion at a checkpoint
    OUT/branches/BRANCH.json           the losses after a branch

A piece is written whole or not at all, and is never computed again while it is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.gpt2 import names
from experiments.gpt2.interventions import Branch, run_name
from experiments.gpt2.presets import Preset
from experiments.storage import write

FREE = ("name", "bases", "window", "short_windows", "seeds")
"""What may change between two starts: it adds pieces, and changes none."""


@dataclass(frozen=True)
class Study:
    """A preset, its data as NAME=SOURCE in order, and the folder."""

    preset: Preset
    data: tuple[str, ...]
    out: Path

    def __post_init__(self) -> None:
        """Hold the domains to names that files and reports can bear."""
        names.check(self.domains)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains; the first two are 1 and 2."""
        return tuple(entry.partition("=")[0] for entry in self.data)

    @property
    def shards(self) -> Path:
        """Folder of the tokens."""
        return self.out / "shards"

    def run(self, weights: Mapping[str, float]) -> Path:
        """Folder of a base run."""
        return self.out / "runs" / run_name(weights)

    def curve(self, weights: Mapping[str, float]) -> Path:
        """File with the losses along a base run."""
        return self.out / "curves" / f"{run_name(weights)}.json"

    def effect(self, weights: Mapping[str, float], step: int) -> Path:
        """File with the criterion at a checkpoint."""
        return self.out / "effects" / f"{run_name(weights)}_t{step}.json"

    def branch(self, branch: Branch) -> Path:
        """File with the losses after a branch."""
        return self.out / "branches" / f"{branch.name}.json"

    def work(self, branch: Branch) -> Path:
        """Folder in which a branch is trained, gone when its losses are kept."""
        return self.out / "work" / branch.name

    def begin(self) -> None:
        """Record what the pieces are made with; CommuteError, naming what differs, where it has changed."""
        held = {key: value for key, value in self.preset.as_dict().items() if key not in FREE}
        now = json.loads(json.dumps({**held, "domains": self.domains}))
        path = self.out / "study.json"
        if path.exists():
            before = load(path)
            changed = [
                f"{key} ({before.get(key)!r} → {now.get(key)!r})"
                for key in sorted(before.keys() | now.keys())
                if before.get(key) != now.get(key)
            ]
            if changed:
                raise CommuteError(
                    f"{self.out} holds a study with other settings: {'; '.join(changed)}; give those, or "
                    "another --out"
                )
        else:
            save(path, now)


def load(path: Path) -> dict[str, Any]:
    """A piece; CommuteError when it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CommuteError(
            f"{path} is not there: give the folder of a study that has begun, or the command "
            "without --collect"
        ) from error
    except (OSError, ValueError) as error:
        raise CommuteError(f"cannot read {path} ({error}): delete it, and it is computed again") from error
    if not isinstance(found, dict):
        raise CommuteError(f"{path} is no JSON object: delete it, and it is computed again")
    return found


def save(path: Path, piece: Mapping[str, Any]) -> None:
    """Write a piece, whole or not at all."""
    write(path, (json.dumps(piece, sort_keys=True, indent=1, allow_nan=False) + "\n").encode())
