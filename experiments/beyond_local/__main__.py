"""``python -m experiments.beyond_local --out DIR``: the full ladder on a small GPT-2."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from experiments.beyond_local.settings import Settings
from experiments.beyond_local.transformer import at_seed, together
from experiments.committed import study
from experiments.experiment import Part
from experiments.one_core import on_one_core

SETTINGS = Settings.full()


def pieces() -> list[Part]:
    """One for each seed."""
    alone = on_one_core(at_seed)
    return [
        Part(f"seed-{s}", partial(alone, SETTINGS, s), {**asdict(SETTINGS), "of": s}) for s in SETTINGS.seeds
    ]


def pooled(found: Mapping[str, Any]) -> dict[str, Any]:
    """Every predictor of a gradient flow on a small GPT-2, from short windows to useless ones."""
    return together(SETTINGS, list(found.values()))


if __name__ == "__main__":
    code = ("experiments/beyond_local", "experiments/transformer_flow", "experiments/quadratic")
    sys.exit(study("experiments.beyond_local", pieces(), pooled, sys.argv[1:], code=code))
