"""How each piece of a study is made: shards, a base run, the criterion at a checkpoint, a branch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2 import checkpoint, model
from experiments.gpt2.checkpoint import Checkpoint
from experiments.gpt2.evaluate import evaluate
from experiments.gpt2.interventions import Branch, Counts, check_equal, flow_time, tokens
from experiments.gpt2.jobs import Job, jobs
from experiments.gpt2.loop import train
from experiments.gpt2.measure import far_batches, measured
from experiments.gpt2.metrics import evaluations
from experiments.gpt2.plan import Plan
from experiments.gpt2.pool import perform_all
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards, build
from experiments.gpt2.sources import parse
from experiments.gpt2.study import Study, save
from experiments.gpt2.tokenizer import TokenizerSpec
from experiments.shares import reserved, share


def run(study: Study, workers: int | None = None, threads: int = 1, only: str | None = None) -> None:
    """Perform every job of a study whose piece is not there yet; ``only`` "I/N" every N-th branch.

    A checkpoint that a job needs and that is lost is trained again. Raises CommuteError where another command
    works in the study's folder; shares of it may be performed side by side.
    """
    if workers is None:
        workers = 2 if study.preset.training.device == "cpu" else 1
    for option, number in (("jobs", workers), ("threads", threads)):
        if number < 1:
            raise CommuteError(f"--{option} {number}: give 1 or more")
    with reserved(study.out, only):
        _run(study, workers, threads, only)


def _run(study: Study, workers: int, threads: int, only: str | None) -> None:
    every = jobs(study)
    mine = every if only is None else share([job for job in every if job.branch], only)
    todo = [job for job in mine if not job.result.exists()]
    study.begin()
    prepare(study)
    again = _lost(study, todo)
    if only is not None and again:
        raise CommuteError(f"{again[0]} is lost: give the command without --only, which trains it again")
    for folder in again:
        print(f"{folder} is lost: its run is trained again", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    runs = {folder.parents[1] for folder in again}
    todo = [job for job in every if job in todo or (_is_run(job) and study.run(job.weights) in runs)]
    perform_all(todo, partial(perform, study), partial(is_ready, study), workers, threads)


def _is_run(job: Job) -> bool:
    return job.step is None and job.branch is None


def _lost(study: Study, todo: list[Job]) -> list[Path]:
    """The checkpoints that jobs start from and that a finished run should have, and has not whole."""
    needed = {checkpoint.folder_of(study.run(job.weights), _from(job)): job for job in todo if _from(job)}
    return [
        folder
        for folder, job in needed.items()
        if (study.curve(job.weights).exists() or folder.exists())
        and not checkpoint.is_whole(study.run(job.weights), _from(job))
    ]


def _from(job: Job) -> int:
    """The step of the checkpoint that a job starts from; 0 for a run, which starts from none."""
    return job.branch.start if job.branch else job.step or 0


def prepare(study: Study) -> None:
    """Tokenise the data, unless that is done, and record what they are."""
    preset = study.preset
    architecture = preset.training.architecture
    sources = parse(study.data)
    if "mix" in sources:
        raise CommuteError("a domain is called 'mix', as the target of all domains is: give another name")
    spec = (
        TokenizerSpec(architecture.vocabulary)
        if preset.tokenizer == "bpe"
        else TokenizerSpec(pretrained=preset.tokenizer)
    )
    limit = preset.limit_bytes
    if limit is not None:
        spec = replace(
            spec, sample_bytes=min(limit, spec.sample_bytes), scan_bytes=min(limit, spec.scan_bytes)
        )
    shards = build(study.shards, sources, spec, validation_share=preset.validation_share, limit_bytes=limit)
    used = reach(study)
    for name in study.domains:
        found = shards.windows(name, "train", architecture.context)
        need = used + preset.criterion.batches * preset.criterion.sequences
        if found < need:
            raise CommuteError(
                f"domain {name!r} has {found} windows of {architecture.context} tokens, and the study wants "
                f"{need} that are all different: give it more text"
            )
    data = {
        name: {
            "train_tokens": shards.tokens(name, "train"),
            "validation_tokens": shards.tokens(name, "validation"),
            "bytes_per_token": shards.bytes_per_token(name, "validation"),
        }
        for name in study.domains
    }
    about = {"data": data, "parameters": model.parameters(model.build(architecture, seed=0))}
    save(study.out / "about.json", about)


def reach(study: Study) -> int:
    """No training of the study consumes more windows of a domain than this."""
    batch = study.preset.training.batch
    longest = max(study.preset.branches(study.domains), key=lambda branch: branch.steps)
    last = study.preset.checkpoints[-1] + study.preset.seeds * longest.steps
    return batch * max(study.preset.training.steps, last)


def is_ready(study: Study, job: Job) -> bool:
    """Whether the checkpoint that a job starts from is there."""
    folder = checkpoint.folder_of(study.run(job.weights), _from(job))
    return _is_run(job) or (folder / checkpoint.STATE).exists()


def perform(study: Study, job: Job) -> None:
    """Make one piece."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    shards = Shards.open(study.shards)
    if job.branch:
        save(job.result, intervene(study, shards, job.branch))
    elif job.step is not None:
        save(job.result, estimate(study, shards, job.weights, job.step))
    else:
        save(job.result, train_base(study, shards, job.weights))


def _start(study: Study, weights: Mapping[str, float], step: int) -> Checkpoint:
    return checkpoint.load(checkpoint.folder_of(study.run(weights), step))


def train_base(study: Study, shards: Shards, weights: Mapping[str, float]) -> dict[str, Any]:
    """A run at base weights, with its checkpoints; the losses along it."""
    preset, run = study.preset, study.run(weights)
    train(
        preset.training,
        shards,
        WeightSchedule.constant(weights, float(preset.training.steps)),
        None,
        run,
        save_at=preset.checkpoints,
        save_every=preset.curve_every,
        evaluate_every=preset.curve_every,
        evaluate_windows=preset.validation,
        progress=False,
    )
    return {"curve": [{"step": step, "loss": loss} for step, loss in sorted(evaluations(run).items())]}


def estimate(study: Study, shards: Shards, weights: Mapping[str, float], step: int) -> dict[str, Any]:
    """The criterion at a checkpoint, and its losses."""
    preset, start = study.preset, _start(study, weights, step)
    training = start.state.settings
    context = training.architecture.context
    data = far_batches(shards, study.domains, context, preset.criterion, training.seed, reach(study))
    network = start.model()
    network.to(model.device_of(training.device))
    loss = evaluate(network, shards, study.domains, windows=preset.validation)
    found = measured(network, start.optimizer_state(), data, preset.criterion.power_steps)
    return {"step": step, "lr": training.lr_at(step), "loss": loss, **found}


def intervene(study: Study, shards: Shards, branch: Branch) -> dict[str, Any]:
    """Train a branch from its checkpoint: the losses after its window and after its tail."""
    preset, start = study.preset, _start(study, branch.weights, branch.start)
    training = start.state.settings
    moved = branch.moved(start.state.cursor, training.batch)
    start = replace(start, state=replace(start.state, cursor=moved))
    counts = _counts(training, shards, branch)
    base = _counts(training, shards, replace(branch, order="base", delta=0.0))
    rates = [training.lr_at(branch.start + step) for step in range(2 * branch.window)]
    check_equal(branch, counts, base, rates)
    work = study.work(branch)
    ends = branch.start + 2 * branch.window, branch.start + branch.steps
    train(
        training,
        shards,
        branch.whole(),
        start,
        work,
        save_every=None,
        evaluate_at=ends,
        evaluate_windows=preset.validation,
        counts="exact",
        progress=False,
    )
    losses = evaluations(work)
    found = {
        "step": branch.start,
        "window": branch.window,
        "delta": branch.delta,
        "order": branch.order,
        "seed": branch.seed,
        "tokens": tokens(counts, branch.domains, training.architecture.context),
        "flow_time": flow_time(counts, rates, branch.domains),
        "loss": losses[ends[0]],
        "tail": {"steps": branch.tail, "loss": losses[ends[1]]},
    }
    shutil.rmtree(work, ignore_errors=True)
    return found


def _counts(training: Training, shards: Shards, branch: Branch) -> Counts:
    """Sequences of each domain in every step of the window, (steps, K)."""
    plan = Plan(training, shards, branch.schedule(), branch.start, "exact")
    return np.stack([plan.counts(step) for step in range(plan.first, plan.last)])
