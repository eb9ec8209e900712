"""Jobs for the tests of experiments.gpt2.pool, importable by its processes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from commute_verify.errors import CommuteError


@dataclass(frozen=True)
class Task:
    name: str
    folder: Path
    does: str = "write"
    needs: str | None = None
    cost: float = 1.0


def perform(task: Task) -> None:
    if task.does == "refuse":
        raise CommuteError("there is no such thing")
    if task.does == "fail":
        raise ZeroDivisionError("by accident")
    if task.does == "die":
        os._exit(9)
    if task.does == "wait":
        time.sleep(60)
    (task.folder / task.name).write_text(f"{os.getpid()} {time.monotonic_ns()}")


def is_ready(task: Task) -> bool:
    return task.needs is None or (task.folder / task.needs).exists()
