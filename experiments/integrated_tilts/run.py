"""The pieces of the study and their sum, pure functions of the settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from experiments.integrated_tilts.settings import Settings
from experiments.integrated_tilts.statistics import name, summed_up
from experiments.integrated_tilts.tilts import observed, predicted
from experiments.one_core import on_one_core


def pieces(settings: Settings) -> dict[str, Callable[[], Any]]:
    """Every piece by name: what is observed, then one replicate of everything after another."""
    lengths = settings.windows.lengths
    found: dict[str, Callable[[], Any]] = {
        name(cell, k): partial(on_one_core(observed), settings, cell, k)
        for cell in settings.cells
        for k in lengths
    }
    for seed in settings.seeds(1):
        for cell in settings.cells:
            for k in (k for k in lengths if seed in settings.seeds(k)):
                found[name(cell, k, seed)] = partial(on_one_core(predicted), settings, cell, k, seed)
    return found


def tilts(settings: Settings) -> dict[str, Any]:
    """All pieces, and what they say together."""
    return summed_up(settings, {key: work() for key, work in pieces(settings).items()})


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {"small": tilts}
