"""The study as parts of the report: the smoke preset is computed, larger ones are shown as committed."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from experiments.experiment import Part
from experiments.gpt2.predictors.asked import Settings
from experiments.gpt2.presets import PRESETS, SMOKE, Preset
from experiments.storage import ROOT

SYNTHETIC = ("one=synthetic", "two=synthetic")
COMMITTED = ROOT / "experiments" / "gpt2" / "results"
"""Folder of the results that `--publish` wrote, as PRESET.json."""

PREDICTORS = "-predictors"
"""Ends the name of the part, and of the file, with every predictor's say on a committed study."""

TRIAL = replace(SMOKE, checkpoints=(60,), short_windows=(), window=10, tail=10, seeds=1)
"""What the report's own smoke scale computes."""

ASKED = Settings(held_out=16, local=8, memory=8, frozen=4, products=6, integrated=5, drawn=5)
"""How much data predictors take of a computed study."""


def parts(scale: str) -> list[Part]:
    """The smoke study, and every committed one."""
    study = SMOKE if scale == "default" else TRIAL
    committed = [
        Part(name, partial(computed, chosen), committed=COMMITTED / f"{name}.json")
        for name, chosen in PRESETS.items()
        if name != SMOKE.name and (COMMITTED / f"{name}.json").exists()
    ]
    committed += [
        Part(f"{part.name}{PREDICTORS}", partial(said, PRESETS[part.name]), committed=path)
        for part in committed
        if (path := COMMITTED / f"{part.name}{PREDICTORS}.json").exists()
    ]
    settings = {**study.as_dict(), "seed": study.training.seed}
    return [
        Part(SMOKE.name, partial(computed, study), settings),
        Part(f"{SMOKE.name}{PREDICTORS}", partial(said, study), {**settings, **asdict(ASKED)}),
        *committed,
    ]


def computed(preset: Preset) -> dict[str, Any]:
    """The results of a study of synthetic languages."""
    return _made(preset)[0]


def said(preset: Preset) -> dict[str, Any]:
    """What every predictor says of that study."""
    return _made(preset)[1]


@lru_cache(maxsize=1)
def _made(preset: Preset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both, made in a folder that goes when they are there."""
    from experiments.gpt2.collect import collected
    from experiments.gpt2.perform import run
    from experiments.gpt2.predictors.said import predicted
    from experiments.gpt2.study import Study

    with tempfile.TemporaryDirectory() as folder:
        study = Study(preset, SYNTHETIC, Path(folder))
        run(study, workers=1)
        return collected(study), predicted(study, ASKED)
