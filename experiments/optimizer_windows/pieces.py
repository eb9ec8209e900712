"""The study in pieces, each a pure function of the settings that returns plain data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from experiments.one_core import on_one_core
from experiments.optimizer_windows import predicted
from experiments.optimizer_windows.observed import observed
from experiments.optimizer_windows.prices import prices
from experiments.optimizer_windows.settings import Settings
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import checkpoints, losses
from experiments.optimizer_windows.validity import OPTIMIZERS, validity
from experiments.quadratic.statistics import plain

Piece = Callable[[], dict[str, Any]]


def pieces(settings: Settings) -> dict[str, Piece]:
    """Every piece by name; those that make the first tables come first."""
    found: dict[str, Piece] = {}
    for start in settings.starts:
        found[label(start, "start")] = partial(_start, settings, start)
        for seed in range(settings.observed):
            found[label(start, "observed", seed)] = partial(_from, observed, settings, start, seed)
        for seed in settings.swept:
            found[label(start, "sweeps", seed)] = partial(_from, predicted.sweeps, settings, start, seed)
        found[label(start, "local")] = partial(_from, predicted.local, settings, start)
    for start in settings.starts[-2:]:
        for seed in settings.swept:
            found[label(start, "dear", seed)] = partial(_from, predicted.dear, settings, start, seed)
    for name in OPTIMIZERS:
        found[f"validity-{name}"] = partial(validity, settings, name)
    for start in settings.starts:
        found[label(start, "slow")] = partial(_from, predicted.slow, settings, start)
        found[label(start, "memory")] = partial(_from, predicted.memory, settings, start)
    found["prices"] = partial(prices, settings)
    return {name: on_one_core(partial(_plain, work)) for name, work in found.items()}


def _plain(work: Piece) -> dict[str, Any]:
    return plain(work())


def label(start: tuple[float, int], what: str, seed: int | None = None) -> str:
    """A piece's name, which is also its file's."""
    rate, step = start
    return f"lr{rate:g}-{step}-{what}" + ("" if seed is None else f"-{seed}")


def _start(settings: Settings, start: tuple[float, int]) -> dict[str, Any]:
    checkpoint = checkpoints(settings)[start]
    return {
        "rate": checkpoint.rate,
        "step": checkpoint.step,
        "losses": losses(checkpoint.model, texts(settings).held_out()),
        "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
        "vocabulary": texts(settings).vocabulary,
    }


def _from(
    work: Callable[..., dict[str, Any]], settings: Settings, start: tuple[float, int], *seed: int
) -> dict[str, Any]:
    return work(settings, checkpoints(settings)[start], *seed)
