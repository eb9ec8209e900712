"""The pieces of a study as jobs: what to do, in which order, what each needs, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.gpt2.interventions import Branch, run_name
from experiments.gpt2.presets import Preset
from experiments.gpt2.study import Study


@dataclass(frozen=True)
class Job:
    """One piece: a base run, the criterion at a checkpoint (``step``), or a branch. Costs are in steps."""

    name: str
    cost: float
    result: Path
    weights: Mapping[str, float]
    step: int | None = None
    branch: Branch | None = None


def jobs(study: Study) -> list[Job]:
    """Every piece, the most telling first: base runs, the criterion, then the branches in their order."""
    preset = study.preset
    bases = [base.of(study.domains) for base in preset.bases]
    evaluation = preset.validation * len(study.domains) / (3 * preset.training.batch)
    along = preset.training.steps + preset.training.steps / preset.curve_every * evaluation
    runs = [Job(f"run {run_name(w)}", along, study.curve(w), w) for w in bases]
    effects = [
        Job(
            f"criterion {run_name(w)} at {step}",
            _criterion_cost(preset, len(study.domains)),
            study.effect(w, step),
            w,
            step=step,
        )
        for w in bases
        for step in preset.checkpoints
    ]
    branches = [
        Job(
            f"branch {branch.name}",
            branch.steps + 2 * evaluation,
            study.branch(branch),
            branch.weights,
            branch=branch,
        )
        for branch in preset.branches(study.domains)
    ]
    return [*runs, *effects, *branches]


def _criterion_cost(preset: Preset, domains: int) -> float:
    """Of every 10 batches 6 give a gradient, and 4 a product with each other domain, worth two gradients."""
    chosen = preset.criterion
    gradients = domains * chosen.batches * (0.6 + 0.8 * (domains - 1))
    share = chosen.sequences / preset.training.batch
    return 2 * gradients * share + 6 * chosen.power_steps * share
