"""What a tilt does, and what the trajectory says that it does: pure functions of the settings."""

from __future__ import annotations

from typing import Any

from experiments.integrated_tilts.settings import Cell, Settings
from experiments.optimizer_windows.observed import Ends, excess
from experiments.optimizer_windows.predicted import TARGET_WEIGHTS, integrated
from experiments.optimizer_windows.texts import exchanged, texts
from experiments.optimizer_windows.training import Checkpoint, checkpoints


def observed(settings: Settings, cell: Cell, k: int, seed: int) -> list[float]:
    """One seed's excess of every target, the mean over both orders of the stages' batches."""
    start, held_out = _start(settings, cell), texts(settings.windows).held_out()
    data = texts(settings.windows).window(seed)
    orders = [Ends(start, each, held_out) for each in (data, exchanged(data, k))]
    return excess(settings.case(cell, k).schedules(settings.windows), orders)


def predicted(settings: Settings, cell: Cell, k: int, seed: int) -> dict[str, Any]:
    """One replicate: slopes at the Gauss points, losses at the ends, and what they cost in training steps."""
    start, case = _start(settings, cell), settings.case(cell, k)
    return integrated(settings.windows, start, case, seed, TARGET_WEIGHTS, settings.of(k).points)


def _start(settings: Settings, cell: Cell) -> Checkpoint:
    return checkpoints(settings.windows)[settings.windows.starts[cell.start]]
