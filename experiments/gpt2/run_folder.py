"""What a run's folder holds: which run it is, and which checkpoints should be there, are lost, or can go."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2 import checkpoint as checkpoints
from experiments.gpt2.checkpoint import Checkpoint
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards
from experiments.storage import write

RUN = "run.json"


def identity(
    settings: Training, shards: Shards, stages: WeightSchedule, start: Checkpoint | None, counts: str
) -> dict[str, Any]:
    """All that the parameters at the end depend on."""
    return {
        "settings": settings.plain(),
        "stages": json.loads(stages.to_json()),
        "counts": counts,
        "shards": shards.key,
        "start": _digest_of(start) if start else None,
    }


def _digest_of(start: Checkpoint) -> str:
    held = json.loads((start.folder / checkpoints.STATE).read_bytes())
    what = [held["sha256"], start.state.step, dict(start.state.cursor)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def claim(out: Path, identity: dict[str, Any]) -> None:
    """Write down which run `out` holds, or hold this run against what is written there."""
    checkpoints.sweep(out)
    path = out / RUN
    if not path.exists():
        write(path, (json.dumps(identity, sort_keys=True, indent=1) + "\n").encode())
        return
    try:
        before = json.loads(path.read_bytes())
        changed = Training.from_plain(before["settings"]).changed(Training.from_plain(identity["settings"]))
        changed += [name for name in identity if name != "settings" and before.get(name) != identity[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommuteError(f"{path} cannot be read ({error}): give another folder, or remove it") from error
    if changed:
        raise CommuteError(
            f"{out} holds a run of other settings ({'; '.join(changed)}): give the settings that it was "
            "started with, or another folder"
        )


def lost_steps(out: Path, kept: set[int], first: int, newest: Checkpoint | None) -> set[int]:
    """The steps whose checkpoints should be there by now, and are not or not whole."""
    if newest is None:
        return set()
    due = {step for step in kept if first <= step < newest.state.step}
    return {step for step in due if not checkpoints.is_whole(out, step)}


def tell_lost(out: Path, lost: set[int], held: Checkpoint | None) -> None:
    """Say on stderr which checkpoints are lost, and from where they are made again."""
    if lost:
        steps, again = ", ".join(str(step) for step in sorted(lost)), held.state.step if held else 0
        print(
            f"{out} lacks whole checkpoints of steps {steps}: training again from step {again}",
            file=sys.stderr,
            flush=True,
        )


def prune(out: Path, kept: set[int], finished: bool) -> None:
    """Keep the two newest checkpoints of those that nobody asked to keep, and none when the run is over."""
    waiting = [step for step in checkpoints.steps_saved(out) if step not in kept]
    for step in waiting if finished else waiting[:-2]:
        checkpoints.remove(out, step)
