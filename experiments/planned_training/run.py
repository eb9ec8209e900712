"""The part of the experiment, a pure function of the settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.one_core import on_one_core
from experiments.planned_training.case import of_seed
from experiments.planned_training.settings import Settings
from experiments.planned_training.statistics import summed_up


def training(settings: Settings) -> dict[str, Any]:
    """Every seed, and what they say together."""
    return summed_up(settings, [of_seed(settings, seed) for seed in settings.every_seed])


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {"training": on_one_core(training)}
