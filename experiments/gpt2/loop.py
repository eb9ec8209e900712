"""The training loop: `train`, read from top to bottom, and what it needs once.

A run that was stopped, by Ctrl-C, by a kill or by a full disk, goes on to the same parameters bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor, nn

from commute_verify.schedules import WeightSchedule
from experiments.gpt2 import checkpoint as checkpoints
from experiments.gpt2.checkpoint import Checkpoint, State
from experiments.gpt2.evaluate import evaluate
from experiments.gpt2.metrics import Clock, Metrics
from experiments.gpt2.model import (
    build,
    device_of,
    end_documents,
    flops_per_token,
    load_optimizer,
    optimizer_for,
    peak_flops,
    token_losses,
)
from experiments.gpt2.order import moved
from experiments.gpt2.parallel import Ranks, Reduced
from experiments.gpt2.plan import Plan, Rows
from experiments.gpt2.process import repeatable, stoppable
from experiments.gpt2.progress import Progress
from experiments.gpt2.run_checks import check, check_finite, check_numbers, diverged
from experiments.gpt2.run_folder import claim, identity, lost_steps, prune, tell_lost
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import SPLITS, Shards
from experiments.lock import alone

LONG = 1 << 17
"""Tokens of a step from which on waiting for it costs nothing that counts."""
P = ParamSpec("P")
Trains = Callable[Concatenate[Training, Shards, WeightSchedule, Checkpoint | None, Path, P], Checkpoint]


def _one_at_a_time(function: Trains[P]) -> Trains[P]:
    """Refuse a second training into the same folder while the first goes on."""

    @wraps(function)
    def locked(
        settings: Training,
        shards: Shards,
        stages: WeightSchedule,
        start: Checkpoint | None,
        out: Path,
        /,
        *given: P.args,
        **options: P.kwargs,
    ) -> Checkpoint:
        with ExitStack() as held:
            Ranks.here().on_main(lambda: held.enter_context(alone(out)))
            return function(settings, shards, stages, start, out, *given, **options)

    return locked


@_one_at_a_time
def train(
    settings: Training,
    shards: Shards,
    stages: WeightSchedule,
    start: Checkpoint | None,
    out: Path,
    *,
    save_at: Sequence[int] = (),
    save_every: int | None = 500,
    evaluate_at: Sequence[int] = (),
    evaluate_every: int | None = None,
    evaluate_windows: int = 64,
    counts: str = "sampled",
    progress: bool = True,
    tensorboard: bool = False,
    peak: float | None = None,
) -> Checkpoint:
    """Train through the stages (durations in steps) from `start`, or from fresh weights; the last checkpoint.

    Steps are numbered on from the start's. Kept under ``out/checkpoints`` are those of `save_at` (numbers of
    steps done) and the last; two more, every `save_every` steps, wait for a resume and go at the end. The
    batch of a step follows from (seed, cursor, counts) alone. Validation losses after the steps of
    `evaluate_at` and every `evaluate_every` are in metrics.jsonl (`metrics.evaluations`). `counts`: see
    `Plan`. If `out` holds this run already, it goes on, or returns at once if it is over and all that it was
    to keep is whole; what is not is trained again, from the last whole checkpoint before it.

    Raises CommuteError where `out` holds another run (naming what changed), the start does not fit the
    settings or the tokenizer, a domain is too small, the loss is not finite, or a disk is full;
    KeyboardInterrupt after a Ctrl-C, with the state saved.
    """
    ranks = Ranks.here()
    device = device_of(settings.device)
    first = start.state.step if start else 0
    plan = Plan(settings, shards, stages, first, counts)
    check(settings, shards, plan, start, ranks)
    check_numbers(plan, save_at, save_every, evaluate_at, evaluate_every, evaluate_windows)
    ranks.on_main(lambda: claim(out, identity(settings, shards, stages, start, counts)))
    kept = {*save_at, plan.last}
    newest = checkpoints.latest(out)
    lost = lost_steps(out, kept, first, newest)
    intact = {step for step in kept if newest and step <= newest.state.step} - lost
    held = (checkpoints.latest(out, before=min(lost)) if lost else newest) or start
    ranks.on_main(lambda: tell_lost(out, lost, held))
    if newest is not None and newest.state.step >= plan.last and not lost:
        return newest

    model = held.model() if held else build(settings.architecture, settings.seed)
    end_documents(model, shards.separator)
    model.to(device)
    optimizer = optimizer_for(model, settings)
    if held:
        load_optimizer(optimizer, held.optimizer_state())
    consumed = held.state.cursor if held else {}
    cursor = {name: consumed.get(name, 0) for name in shards.domains}
    begun = held.state.step if held else 0
    losses_of: Any = torch.compile(token_losses) if settings.compile else token_losses
    reduced = Reduced(model, ranks, extra=len(stages.domains) + 1)
    asked = {*evaluate_at} | (
        {plan.last, *range(first, plan.last, evaluate_every)} if evaluate_every else set()
    )
    tokens = settings.batch * settings.architecture.context
    per_read = steps_per_reading(device.type, tokens)
    mfu_of = _mfu(settings, device, ranks, peak)
    unread: list[tuple[int, Tensor, list[int]]] = []

    with (
        _told(
            out, newest.state.step if newest else None, begun, shards, ranks, tensorboard, plan, progress
        ) as (metrics, bar),
        stoppable() as stop,
        repeatable(device, settings.seed, held.state.rng if held else None),
    ):

        def save(step: int) -> Checkpoint:
            state = State(
                step, dict(cursor), settings, shards.tokenizer_digest, shards.key, checkpoints.rng_states()
            )
            folder = checkpoints.folder_of(out, step)

            def written() -> None:
                if metrics:
                    metrics.sync()
                check_finite(model, step)
                if step not in intact:
                    checkpoints.save(folder, model, optimizer, shards.tokenizer_folder, state)
                prune(out, kept, finished=step == plan.last)

            ranks.on_main(written)
            return Checkpoint(folder, state)

        def validate(step: int) -> None:
            loss = evaluate(model, shards, stages.domains, windows=evaluate_windows)
            if not all(map(math.isfinite, loss.values())):
                raise diverged(f"the validation loss is not finite after step {step} ({loss})")
            if metrics:
                metrics.evaluation(step, loss)

        if begun == first and first in asked:
            validate(first)
        if begun == first and first in save_at:
            save(first)
        clock = Clock()
        for step in range(begun, plan.last):
            rows = plan.rows(step, cursor, ranks.rank, ranks.count)
            reduced.clear()
            _accumulate(losses_of, model, rows, settings, device, reduced.numbers)
            reduced.numbers[-1] += stop.asked
            reduced.add_up()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            for group in optimizer.param_groups:
                group["lr"] = settings.lr_at(step)
            optimizer.step()

            count = plan.counts(step).tolist()
            cursor = moved(cursor, dict(zip(stages.domains, count, strict=True)))
            done = step + 1
            unread.append((step, reduced.numbers.clone(), count))
            landmark = done in kept or done in asked or (save_every and done % save_every == 0)
            if len(unread) < per_read and not landmark:
                continue
            speed = clock.rate(tokens * len(unread))
            stopping = _read(unread, settings, stages.domains, speed, mfu_of(speed), metrics, bar)
            if done in asked:
                validate(done)
            if done in kept or stopping or (save_every and done % save_every == 0):
                last = save(done)
            if stopping and done < plan.last:
                raise KeyboardInterrupt
            clock.restart() if landmark else None
    return last


def _accumulate(
    losses_of: Any, model: nn.Module, rows: Rows, settings: Training, device: torch.device, sums: Tensor
) -> None:
    """Backward through this rank's rows, a micro-batch at a time; add the nats of each domain to `sums`."""
    micro = settings.micro_batch or len(rows.windows)
    windows, domains, weights = (part.to(device) for part in (rows.windows, rows.domains, rows.weights))
    mixed = (
        torch.autocast(device.type, dtype=torch.bfloat16) if settings.precision == "bf16" else nullcontext()
    )
    for begin in range(0, len(windows), micro):
        piece = slice(begin, begin + micro)
        with mixed:
            each = losses_of(model, windows[piece]).sum(dim=1)
        (each * weights[piece]).sum().backward()
        sums.index_add_(0, domains[piece], each.detach())


def _read(
    unread: list[tuple[int, Tensor, list[int]]],
    settings: Training,
    domains: Sequence[str],
    speed: float,
    mfu: float | None,
    metrics: Metrics | None,
    bar: Progress | None,
) -> bool:
    """Write down the steps since the last reading; whether a rank was asked to stop."""
    numbers = torch.stack([sums for _, sums, _ in unread]).tolist()
    for (step, _, count), sums in zip(unread, numbers, strict=True):
        loss = {
            name: sums[k] / (count[k] * settings.architecture.context) if count[k] else None
            for k, name in enumerate(domains)
        }
        if not all(value is None or math.isfinite(value) for value in loss.values()):
            raise diverged(f"the loss is not finite at step {step} ({loss})")
        if metrics:
            metrics.step(step, settings.lr_at(step), loss, speed, mfu)
    if metrics and bar is not None:
        bits = metrics.bits("train", loss)
        bar.tell(len(unread), bits, speed, mfu)
    unread.clear()
    return any(sums[-1] > 0 for sums in numbers)


def steps_per_reading(device: str, tokens: int) -> int:
    """Steps between two readings of a GPU's numbers, each of which waits for it: long steps are read at once.

    A stop is seen by all ranks at a reading.
    """
    return 10 if device == "cuda" and tokens < LONG else 1


def _mfu(settings: Training, device: torch.device, ranks: Ranks, given: float | None) -> Any:
    peak, flops = peak_flops(device, given), flops_per_token(settings.architecture)
    return lambda speed: None if peak is None else flops * speed / (peak * ranks.count)


@contextmanager
def _told(
    out: Path,
    front: int | None,
    begun: int,
    shards: Shards,
    ranks: Ranks,
    board: bool,
    plan: Plan,
    progress: bool,
) -> Iterator[tuple[Metrics | None, Progress | None]]:
    """The metrics file, which is true up to `front`, and the progress bar of the rank that writes."""
    if not ranks.main:
        yield None, None
        return
    per_token = {
        split: {name: shards.bytes_per_token(name, split) for name in shards.domains} for split in SPLITS
    }
    metrics = Metrics(out, front, per_token, board)
    bar = Progress(begun - plan.first, plan.last - plan.first, progress)
    try:
        yield metrics, bar
    finally:
        bar.close()
        metrics.close()
