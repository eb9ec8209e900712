"""A schedule as a file: what its lengths count, and the weights of every stage in tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commute_verify.cli.inputs import read_json
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

FORMAT, VERSION = "commute_verify.schedule_file", 1
UNITS = ("tokens", "steps")


@dataclass(frozen=True)
class ScheduleFile:
    """A schedule whose durations are ``unit``; weights are shares of tokens.

    ``tokens_per_step`` turns one unit into the other, None where it is not known.
    Raises CommuteError for another unit and for tokens a step that are not above 0.
    """

    schedule: WeightSchedule
    unit: str
    tokens_per_step: float | None = None

    def __post_init__(self) -> None:
        """Hold the file to its two units."""
        if self.unit not in UNITS:
            raise CommuteError(f"a schedule in {self.unit!r}: give {' or '.join(UNITS)}")
        tokens = self.tokens_per_step
        if tokens is not None and not (type(tokens) in (int, float) and 0 < tokens < float("inf")):
            raise CommuteError(f"{tokens!r} tokens per step: give a number above 0")

    def stages(self, unit: str) -> list[tuple[float, dict[str, float]]]:
        """Every stage's length in the unit, and its weights."""
        scale = 1.0
        if unit != self.unit:
            if self.tokens_per_step is None:
                raise CommuteError(
                    f"the schedule is in {self.unit} and {unit} are asked for: give --tokens-per-step"
                )
            scale = self.tokens_per_step if unit == "tokens" else 1 / self.tokens_per_step
        held = self.schedule
        return [
            (float(length) * scale, dict(zip(held.domains, row.tolist(), strict=True)))
            for length, row in zip(held.durations, held.weights, strict=True)
        ]

    def to_json(self) -> str:
        """The text of the file, which ``read`` reads back exactly."""
        stages = [{self.unit: length, "weights": weights} for length, weights in self.stages(self.unit)]
        data = {
            "format": FORMAT,
            "version": VERSION,
            "unit": self.unit,
            "tokens_per_step": self.tokens_per_step,
            "domains": list(self.schedule.domains),
            "stages": stages,
        }
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> ScheduleFile:
    """What ``to_json`` wrote, or ``WeightSchedule.to_json``, whose durations count as steps."""
    data = read_json(path, "schedule")
    try:
        if data.get("format") != FORMAT:
            return ScheduleFile(WeightSchedule.from_json(json.dumps(data)), "steps")
        version = data.get("version")
        if type(version) is not int or version != VERSION:
            raise CommuteError(f"version {version!r}; this program reads {VERSION}")
        return _of(data)
    except CommuteError as error:
        raise CommuteError(f"{path}: {error}") from error


def _of(data: Mapping[str, Any]) -> ScheduleFile:
    unit, domains, stages = (data.get(key) for key in ("unit", "domains", "stages"))
    if not isinstance(unit, str):
        raise CommuteError(f"a schedule in {unit!r}: give {' or '.join(UNITS)}")
    if not (isinstance(domains, list) and isinstance(stages, list) and stages):
        raise CommuteError("a schedule without domains or stages: write it with commute-verify plan")
    if not all(isinstance(name, str) for name in domains):
        raise CommuteError(f"domains are {domains!r}: give names")
    pairs = []
    for number, stage in enumerate(stages):
        if not isinstance(stage, dict) or set(stage) != {unit, "weights"}:
            raise CommuteError(f"stage {number} is {stage!r}: expected its {unit} and weights")
        if not isinstance(stage["weights"], dict) or set(stage["weights"]) != set(domains):
            raise CommuteError(f"stage {number} weighs {stage['weights']!r}: expected {', '.join(domains)}")
        pairs.append((stage[unit], {name: stage["weights"][name] for name in domains}))
    return ScheduleFile(WeightSchedule.piecewise(pairs), unit, data.get("tokens_per_step"))
