"""The file results.json: every piece of a study that is there, and nothing that changes from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments import results as report
from experiments.gpt2.interventions import Branch
from experiments.gpt2.presets import Base
from experiments.gpt2.study import Study, load
from experiments.quadratic.statistics import plain

FORMAT, VERSION = "commute_verify gpt2 study", 1


MEASURED = {"seconds": 0.0, "start_up_seconds": 0.0, "peak_bytes": 0}
"""What differs from run to run of an effect's cost, as it stands in results that do not."""


def collected(study: Study) -> dict[str, Any]:
    """The results so far: runs, checkpoints and branches whose pieces are there, in the order of the plan."""
    about = load(study.out / "about.json")
    branches = study.preset.branches(study.domains)
    settings = study.preset.as_dict()
    return plain(
        {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings,
            "domains": list(study.domains),
            "data": about["data"],
            "parameters": about["parameters"],
            "planned": {
                "runs": len(study.preset.bases),
                "checkpoints": len(study.preset.bases) * len(study.preset.checkpoints),
                "branches": len(branches),
                "steps": study.preset.steps(study.domains),
            },
            "runs": [_run(study, base, branches) for base in study.preset.bases],
        }
    )


def _run(study: Study, base: Base, branches: list[Branch]) -> dict[str, Any]:
    weights = base.of(study.domains)
    curve = study.curve(weights)
    mine = [branch for branch in branches if branch.weights == weights]
    return {
        "weights": weights,
        "curve": load(curve)["curve"] if curve.exists() else [],
        "checkpoints": [
            _timeless(load(study.effect(weights, step)))
            for step in study.preset.checkpoints
            if study.effect(weights, step).exists()
        ],
        "branches": [load(study.branch(branch)) for branch in mine if study.branch(branch).exists()],
    }


def _timeless(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The same with times and memory, which differ from run to run, put to 0 in the effects' own records."""
    effects = {
        name: {**effect, "cost": {**effect["cost"], **MEASURED}}
        for name, effect in checkpoint["effects"].items()
    }
    return {**checkpoint, "effects": effects}


def times(study: Study) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds and peak memory of the criterion at every checkpoint that is there, for the provenance."""
    return {
        path.stem: {
            name: {key: effect["cost"][key] for key in MEASURED if key in effect["cost"]}
            for name, effect in load(path)["effects"].items()
        }
        for path in (
            study.effect(base.of(study.domains), step)
            for base in study.preset.bases
            for step in study.preset.checkpoints
        )
        if path.exists()
    }


def publication(results: Mapping[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """The results as a committed part of the report, see `experiments.results.load_committed`."""
    command = " ".join(["python -m experiments.gpt2", *argv])
    return {"format": report.FORMAT, "version": report.VERSION, "command": command, "result": results}
