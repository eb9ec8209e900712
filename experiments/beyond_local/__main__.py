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

BOTH = {"seed": Settings.full(), "later-seed": Settings.later()}


def pieces() -> list[Part]:
    """One for each seed of either."""
    alone = on_one_core(at_seed)
    return [
        Part(f"{kind}-{s}", partial(alone, settings, s), {**asdict(settings), "of": s})
        for kind, settings in BOTH.items()
        for s in settings.seeds
    ]


def pooled(found: Mapping[str, Any]) -> dict[str, Any]:
    """Every predictor of a gradient flow on a small GPT-2, from short windows to useless ones."""
    early, later = (
        together(settings, [found[f"{kind}-{s}"] for s in settings.seeds]) for kind, settings in BOTH.items()
    )
    return {**early, "later": later}


if __name__ == "__main__":
    code = ("experiments/beyond_local", "experiments/transformer_flow", "experiments/quadratic")
    sys.exit(study("experiments.beyond_local", pieces(), pooled, sys.argv[1:], code=code))
