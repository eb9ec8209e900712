"""What is predicted of a finished study: its settings read back, and the interventions at each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2.interventions import run_name
from experiments.gpt2.presets import Base, Criterion, Preset
from experiments.gpt2.settings import Training
from experiments.gpt2.study import Study, load

FROZEN: Literal["frozen-curvature"] = "frozen-curvature"
INTEGRATED = "integrated"


@dataclass(frozen=True)
class Settings:
    """How much data the predictors take: sequences of each domain, beside the batches of the trajectory.

    A step of the trajectory takes as many sequences of a domain as the study's own constant weights give it,
    so that its gradients are as noisy. ``held_out`` sequences of a domain are what targets are taken from,
    ``memory`` and ``frozen`` what those two predictors take for a domain's gradient and curvature;
    ``products`` bounds each Krylov space of frozen curvature, whose tolerance is ``tolerance``.
    """

    held_out: int = 64
    memory: int = 16
    frozen: int = 10
    products: int = 10
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise CommuteError(f"{field.name} is {getattr(self, field.name)}: give a number above 0")


@dataclass(frozen=True)
class Piece:
    """One predictor's answers for one window from one checkpoint, all tilts of it."""

    kind: str
    weights: Mapping[str, float]
    step: int
    window: int
    deltas: tuple[float, ...]

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{run_name(self.weights)}_t{self.step}_w{self.window}_{self.kind}"

    def tilt(self, delta: float) -> WeightSchedule:
        """More of the first domain first, in steps."""
        first, second = tuple(self.weights)[:2]
        return WeightSchedule.tilt(dict(self.weights), first, second, delta, float(self.window))


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


def pieces(study: Study) -> list[Piece]:
    """Every piece, short windows first.

    Frozen curvature takes the shortest window alone, where one step is many units of curvature already, and
    so does the integrated trajectory, which costs six sweeps a tilt.
    """
    preset = study.preset
    windows = (*sorted(preset.short_windows), preset.window)
    places = [(window, kind) for window in windows for kind in ("trajectory", "memory")]
    places.insert(len(places) - 2, (windows[0], FROZEN))
    places.append((windows[0], INTEGRATED))
    found = []
    for window, kind in places:
        for base in preset.bases:
            deltas = base.deltas if window == preset.window else (base.middle,)
            weights = base.of(study.domains)
            found += [Piece(kind, weights, step, window, deltas) for step in preset.checkpoints]
    return found


def as_dict(study: Study, settings: Settings) -> dict[str, Any]:
    """What the predictions depend on, as plain data."""
    return {
        "study": study.preset.name,
        "domains": list(study.domains),
        **{field.name: getattr(settings, field.name) for field in fields(settings)},
    }
