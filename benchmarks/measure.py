"""Interleaved medians, peak memory in a process of its own, and results written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.gpt2 import SIZES

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"


def interleaved(calls: Mapping[str, Callable[[], Any]], runs: int, title: str) -> dict[str, list[float]]:
    """Seconds of every run of every call, round after round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with tqdm(total=(runs + 1) * len(calls), desc=title, unit="call") as bar:
        for run in range(runs + 1):
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                if run:
                    seconds[name].append(time.perf_counter() - started)
                bar.update()
    return seconds


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(ours) / statistics.median(theirs)


def _memory(field: str) -> int:
    """Bytes of a field of this process's status (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) * 1024


def start_of_peak() -> int:
    """Forget the peak so far; the bytes that this process holds now.

    Not ``ru_maxrss``: a process inherits that from the one which started it.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _memory("VmRSS:")


def peak_above(base: int) -> int:
    """The most bytes that this process has held since, less the base."""
    return _memory("VmHWM:") - base


def elsewhere(module: str, *arguments: str) -> Any:
    """What a fresh process prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def provenance(module: str, size: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to run one size again."""
    packages = (
        "torch",
        "transformers",
        "curvlinops-for-pytorch",
        "hessian-eigenthings",
        "PyHessian",
    )
    return {
        "size": size,
        "command": f"python -m {module} --sizes {size}",
        "settings": dict(settings),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def rounded(value: Any) -> Any:
    """The same with floats at four significant digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def replace_size(file: str, size: str, found: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Put a size's entries in place of the file's, list by list; replace the file whole; its content."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / file
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    order = list(SIZES)
    result = {}
    for key, entries in found.items():
        kept = [entry for entry in before.get(key, []) if entry["size"] != size]
        result[key] = sorted(kept + rounded(entries), key=lambda entry: order.index(entry["size"]))
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return result
