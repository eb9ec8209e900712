"""What is predicted of a finished study: its settings read back, and the interventions at each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2.interventions import run_name
from experiments.gpt2.order import Counts, counts_exact
from experiments.gpt2.presets import Base, Criterion, Preset
from experiments.gpt2.settings import Training
from experiments.gpt2.study import Study, load

LOCAL_3: Literal["local-3"] = "local-3"
FROZEN: Literal["frozen-curvature"] = "frozen-curvature"
INTEGRATED = "integrated"
DRAWN = "drawn"
"""The integrated trajectory of weighted losses, and of batches that are drawn, as the study draws them."""
LONGEST = (INTEGRATED, DRAWN)
"""The dearest predictors, each with a setting of its name: the longest window that it is asked for."""


@dataclass(frozen=True)
class Settings:
    """How much data the predictors take: sequences of each domain, beside the batches of the trajectory.

    A step of the trajectory takes as many sequences of a domain as the study's own constant weights give it,
    so that its gradients are as noisy. ``held_out`` sequences of a domain are what targets are taken from,
    ``memory`` and ``frozen`` what those two predictors take for a domain's gradient and curvature, ``local``
    what local-3 takes for targets as well, of which it has third derivatives; ``products`` bounds each Krylov
    space of frozen curvature, to ``tolerance``. The integrated trajectories, which are the dearest, are asked
    for windows of up to ``integrated`` steps with weighted losses, and of up to ``drawn`` with drawn batches.
    """

    held_out: int = 64
    local: int = 16
    memory: int = 16
    frozen: int = 10
    products: int = 10
    tolerance: float = 0.01
    integrated: int = 20
    drawn: int = 60

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise CommuteError(f"{field.name} is {getattr(self, field.name)}: give a number above 0")


@dataclass(frozen=True)
class Piece:
    """One predictor's answers for tilts of one window from one checkpoint."""

    kind: str
    weights: Mapping[str, float]
    step: int
    window: int
    deltas: tuple[float, ...]

    @property
    def name(self) -> str:
        """A name for files."""
        deltas = "-".join(f"{delta:g}" for delta in self.deltas)
        return f"{run_name(self.weights)}_t{self.step}_w{self.window}_d{deltas}_{self.kind}"

    def tilt(self, delta: float) -> WeightSchedule:
        """More of the first domain first, in steps."""
        first, second = tuple(self.weights)[:2]
        return WeightSchedule.tilt(dict(self.weights), first, second, delta, float(self.window))

    def counts(self, delta: float, batch: int) -> Counts:
        """Sequences of each domain that the study draws in every step of the tilt, (steps, K)."""
        return np.vstack([counts_exact(row, batch, 0, self.window) for row in self.tilt(delta).weights])


def study_of(folder: Path) -> Study:
    """The study of a folder, with the settings of its results.json; CommuteError where they are no use."""
    results = load(folder / "results.json")
    try:
        held = dict(results["settings"])
        held["training"] = Training.from_plain(held["training"])
        held["criterion"] = Criterion(**held["criterion"])
        held["bases"] = tuple(
            Base(tuple(base["weights"]), tuple(base["deltas"]), base["middle"]) for base in held["bases"]
        )
        for name in ("checkpoints", "short_windows"):
            held[name] = tuple(held[name])
        return Study(Preset(**held), tuple(f"{name}=" for name in results["domains"]), folder)
    except (KeyError, TypeError) as error:
        raise CommuteError(
            f"{folder / 'results.json'} does not have the settings of a study ({error}): give the folder of "
            "a finished one"
        ) from error


def pieces(study: Study, settings: Settings) -> list[Piece]:
    """Every piece, short windows first; of integrated trajectories, six sweeps a tilt, each tilt is one."""
    preset = study.preset
    windows: list[tuple[int, Base, tuple[float, ...]]] = [
        (window, base, (base.middle,)) for window in sorted(preset.short_windows) for base in preset.bases
    ]
    windows += [(preset.window, base, base.deltas) for base in preset.bases]
    asked = [
        (kind, window, base, deltas)
        for window, base, deltas in windows
        for kind in ("trajectory", "memory", LOCAL_3, FROZEN)
    ]
    asked += [
        (kind, window, base, (delta,))
        for kind, most in longest(settings).items()
        for window, base, deltas in windows
        if window <= most
        for delta in deltas
    ]
    return [
        Piece(kind, base.of(study.domains), step, window, deltas)
        for kind, window, base, deltas in asked
        for step in preset.checkpoints
    ]


def as_dict(study: Study, settings: Settings) -> dict[str, Any]:
    """What an answer depends on, as plain data: all settings but how far the dearest predictors are asked."""
    asked = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {
        "study": study.preset.name,
        "domains": list(study.domains),
        **{name: value for name, value in asked.items() if name not in LONGEST},
    }


def longest(settings: Settings) -> dict[str, int]:
    """The longest window that each of the dearest predictors is asked for."""
    return {name: getattr(settings, name) for name in LONGEST}
