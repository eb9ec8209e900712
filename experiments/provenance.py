"""The file provenance.json: where and when the results were computed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from experiments.experiment import Experiment
from experiments.storage import ROOT, versions


def provenance(
    experiments: Sequence[Experiment], scale: str, argv: Sequence[str], seconds: Mapping[str, float]
) -> bytes:
    """Describe this run: commit, versions, seeds, device, command line, wall time of each part, date."""
    seeds = {
        f"{experiment.name}/{part.name}": part.settings["seed"]
        for experiment in experiments
        for part in experiment.parts(scale)
        if "seed" in part.settings
    }
    record = {
        "argv": ["python", "-m", "experiments", *argv],
        "scale": scale,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "seeds": seeds,
        **circumstances(),
    }
    return (json.dumps(record, sort_keys=True, indent=1) + "\n").encode()


def circumstances() -> dict[str, Any]:
    """Commit, date, versions and machine: where and when anything here is computed."""
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit,
        "dirty": None if commit is None else bool(_git("status", "--porcelain", "--", ":!reports")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": versions(),
        "python": platform.python_version(),
        **_machine(),
    }


class EarlierRun(NamedTuple):
    """The seconds that each part took in an earlier run, and whether that was on this machine."""

    seconds: Mapping[str, float]
    here: bool


def earlier_run(path: Path, scale: str) -> EarlierRun:
    """Read the earlier run at this scale from its provenance.json; no seconds when there is none."""
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        seconds = {str(k): float(v) for k, v in record["seconds"].items()}
        same = {key: record[key] for key in _machine()} == _machine()
        return EarlierRun(seconds, same) if record["scale"] == scale else EarlierRun({}, here=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return EarlierRun({}, here=False)


def _machine() -> dict[str, Any]:
    return {
        "device": {"cpu": _cpu(), "cores": os.cpu_count(), "gpu": None},
        "platform": platform.platform(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
