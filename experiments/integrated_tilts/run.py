"""The pieces of the study and their sum, pure functions of the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from experiments.experiment import Part
from experiments.integrated_tilts.settings import Settings
from experiments.integrated_tilts.statistics import name, summed_up
from experiments.integrated_tilts.tilts import observed, predicted
from experiments.one_core import on_one_core


def pieces(settings: Settings) -> dict[str, Callable[[], Any]]:
    """Every piece by name: what is observed on one seed, and predicted from one seed."""
    found: dict[str, Callable[[], Any]] = {}
    for cell in settings.cells:
        for k in settings.windows.lengths:
            for kind, work, seeds in (
                ("observed", observed, settings.observed(k)),
                ("predicted", predicted, settings.predicted(k)),
            ):
                for seed in seeds:
                    found[name(cell, k, kind, seed)] = partial(on_one_core(work), settings, cell, k, seed)
    return found


def parts_of(settings: Settings) -> list[Part]:
    """Every piece as a part of a study, which does not depend on how many others there are."""
    told = {"windows": asdict(settings.windows), "delta": settings.delta}
    return [Part(key, work, {**told, "of": key}) for key, work in pieces(settings).items()]


def tilts(settings: Settings) -> dict[str, Any]:
    """All pieces, and what they say together."""
    return summed_up(settings, {key: work() for key, work in pieces(settings).items()})


CODE = tuple(f"experiments/{room}" for room in ("integrated_tilts", "optimizer_windows", "gpt2", "quadratic"))
"""The rooms that results come from, beside the package."""
PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {"small": tilts}
