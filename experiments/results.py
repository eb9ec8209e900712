"""The file results.json: what was computed, and nothing that changes from run to run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.experiment import SCALES, Experiment

FORMAT, VERSION = "commute_verify results", 1

Record = dict[str, Any]
"""{"format", "version", "scale", "experiments": {name: {part: {"origin", "command", "result"}}}}."""


def command(scale: str) -> str:
    """Return the command that computes the parts at a scale."""
    return "python -m experiments" + ("" if scale == "default" else f" --scale {scale}")


AGAIN = f"run `{command('default')}` to compute it"
"""What to do about a results file that cannot be used."""


def dump(record: Record) -> bytes:
    """Write a record as results.json holds it: the same record gives the same bytes."""
    text = json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def load(path: Path, experiments: Sequence[Experiment]) -> Record:
    """Read results.json; raises CommuteError when it is missing, cut short, foreign or of another version."""
    try:
        record = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise CommuteError(f"cannot read {path} ({error.strerror}): {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise CommuteError(f"{path} is cut short or is not JSON ({error}): {AGAIN}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CommuteError(f"{path} is not a results file (its format is not {FORMAT!r}): {AGAIN}")
    if record.get("version") != VERSION:
        raise CommuteError(
            f"{path} has version {record.get('version')!r}, this program reads {VERSION}: {AGAIN}"
        )
    if record.get("scale") not in SCALES:
        raise CommuteError(f"{path} has scale {record.get('scale')!r}, expected one of {SCALES}: {AGAIN}")
    found = record.get("experiments")
    for experiment in experiments:
        entries = found.get(experiment.name) if isinstance(found, dict) else None
        for part in experiment.parts(record["scale"]):
            entry = entries.get(part.name) if isinstance(entries, dict) else None
            if not isinstance(entry, dict) or not {"origin", "command", "result"} <= entry.keys():
                raise CommuteError(f"{path} lacks {experiment.name}/{part.name}: {AGAIN}")
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def load_committed(path: Path) -> Record:
    """Read a committed heavy result: "command" and "result", with this file's format and version."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CommuteError(f"cannot read the committed result {path.name}: restore it ({error})") from error
    if not isinstance(record, dict) or (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        raise CommuteError(
            f"the committed result {path.name} is of another format or version: compute it again"
        )
    return {"origin": "committed", "command": record["command"], "result": record["result"]}
