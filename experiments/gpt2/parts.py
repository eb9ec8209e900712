"""The study as parts of the report: the smoke preset is computed, larger ones are shown as committed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.experiment import Part
from experiments.gpt2.presets import PRESETS, SMOKE, Preset
from experiments.storage import ROOT

SYNTHETIC = ("one=synthetic", "two=synthetic")
COMMITTED = ROOT / "experiments" / "gpt2" / "results"
"""Folder of the results that `--publish` wrote, as PRESET.json."""

PREDICTORS = "-predictors"
"""Ends the name of the part, and of the file, with every predictor's say on a committed study."""

TRIAL = replace(SMOKE, checkpoints=(60,), short_windows=(), seeds=1)
"""What the report's own smoke scale computes."""


def parts(scale: str) -> list[Part]:
    """The smoke study, and every committed one."""
    study = SMOKE if scale == "default" else TRIAL
    committed = [
        Part(name, partial(computed, chosen), committed=COMMITTED / f"{name}.json")
        for name, chosen in PRESETS.items()
        if name != SMOKE.name and (COMMITTED / f"{name}.json").exists()
    ]
    committed += [
        Part(f"{part.name}{PREDICTORS}", part.run, committed=path)
        for part in committed
        if (path := COMMITTED / f"{part.name}{PREDICTORS}.json").exists()
    ]
    settings = {**study.as_dict(), "seed": study.training.seed}
    return [Part(SMOKE.name, partial(computed, study), settings), *committed]


def computed(preset: Preset) -> dict[str, Any]:
    """The results of a study of synthetic languages, made in a folder that goes when they are there."""
    from experiments.gpt2.collect import collected
    from experiments.gpt2.perform import run
    from experiments.gpt2.study import Study

    with tempfile.TemporaryDirectory() as folder:
        study = Study(preset, SYNTHETIC, Path(folder))
        run(study, workers=1)
        return collected(study)
