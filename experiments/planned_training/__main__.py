"""``python -m experiments.planned_training --out DIR``: plans beside simple rules, twenty seeds."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from experiments.committed import study
from experiments.experiment import Part
from experiments.one_core import on_one_core
from experiments.planned_training.case import of_seed
from experiments.planned_training.settings import Settings
from experiments.planned_training.statistics import summed_up

SETTINGS = Settings.full()
CODE = tuple(f"experiments/{room}" for room in ("planned_training", "optimizer_windows", "gpt2", "quadratic"))


def pieces() -> list[Part]:
    """One for each seed."""
    alone = on_one_core(of_seed)
    return [
        Part(f"seed-{seed}", partial(alone, SETTINGS, seed), {**asdict(SETTINGS), "of": seed})
        for seed in SETTINGS.every_seed
    ]


def pooled(found: Mapping[str, Any]) -> dict[str, Any]:
    """Planned schedules beside simple rules, on small GPT-2 models under AdamW."""
    return summed_up(SETTINGS, list(found.values()))


if __name__ == "__main__":
    sys.exit(study("experiments.planned_training", pieces(), pooled, sys.argv[1:], code=CODE))
