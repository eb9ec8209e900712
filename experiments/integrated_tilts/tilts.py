"""What a tilt does, and what the trajectory says that it does: pure functions of the settings."""

from __future__ import annotations

from typing import Any

from commute_verify.criterion.prediction.asking import Options, Setting, ask
from commute_verify.criterion.prediction.trajectory import path
from experiments.integrated_tilts.settings import Cell, Settings
from experiments.optimizer_windows.observed import Ends, excess
from experiments.optimizer_windows.settings import DOMAINS
from experiments.optimizer_windows.texts import exchanged, texts
from experiments.optimizer_windows.training import Checkpoint, checkpoints, loss_fn

TARGETS = {name: {name: 1.0} for name in DOMAINS} | {"mixture": dict.fromkeys(DOMAINS, 1 / len(DOMAINS))}


def observed(settings: Settings, cell: Cell, k: int, seed: int) -> list[float]:
    """One seed's excess of every target, the mean over both orders of the stages' batches."""
    start, held_out = _start(settings, cell), texts(settings.windows).held_out()
    data = texts(settings.windows).window(seed)
    orders = [Ends(start, each, held_out) for each in (data, exchanged(data, k))]
    return excess(settings.case(cell, k).schedules(settings.windows), orders)


def predicted(settings: Settings, cell: Cell, k: int, seed: int) -> dict[str, Any]:
    """One replicate: slopes at the Gauss points, losses at the ends, and what they cost in training steps."""
    start, data = _start(settings, cell), texts(settings.windows).window(seed)
    schedule, reference = settings.case(cell, k).schedules(settings.windows)
    (question,), tally = ask(
        start.model,
        loss_fn,
        {name: batches[: 2 * k] for name, batches in data.items()},
        schedule,
        TARGETS,
        texts(settings.windows).held_out(),
        Setting(start.optimizer, reference),
        Options(points=settings.of(k).points, exchange=k),
    )
    found = {name: array.tolist() for name, array in path(question)._asdict().items()}
    return found | {"training_steps": question.cost(tally).training_steps}


def _start(settings: Settings, cell: Cell) -> Checkpoint:
    return checkpoints(settings.windows)[settings.windows.starts[cell.start]]
