"""``python -m experiments.gpt2.train``: train a GPT-2 on several domains; torchrun runs it on many devices.

Read it from top to bottom: `main` gives the command, `train` the loop. A run that was stopped, by Ctrl-C, by
a kill or by a full disk, goes on with the same command, to the same parameters bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor, nn

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2 import checkpoint as checkpoints
from experiments.gpt2 import shards as shard_files
from experiments.gpt2 import sources
from experiments.gpt2.checkpoint import Checkpoint, State
from experiments.gpt2.evaluate import evaluate
from experiments.gpt2.lock import alone
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
from experiments.gpt2.parallel import Ranks, Reduced, joined, leave
from experiments.gpt2.plan import Plan, Rows
from experiments.gpt2.progress import Progress
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import SPLITS, Shards
from experiments.gpt2.tokenizer import TokenizerSpec
from experiments.storage import write

RUN = "run.json"
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
    _check(settings, shards, plan, start, ranks)
    _check_numbers(plan, save_at, save_every, evaluate_at, evaluate_every, evaluate_windows)
    ranks.on_main(lambda: _claim(out, _identity(settings, shards, stages, start, counts)))
    kept = {*save_at, plan.last}
    newest = checkpoints.latest(out)
    lost = _lost(out, kept, first, newest)
    intact = {step for step in kept if newest and step <= newest.state.step} - lost
    held = (checkpoints.latest(out, before=min(lost)) if lost else newest) or start
    ranks.on_main(lambda: _tell_lost(out, lost, held))
    if newest is not None and newest.state.step >= plan.last and not lost:
        return newest

    model = held.model() if held else build(settings.architecture, settings.seed)
    end_documents(model, shards.separator)
    model.to(device)  # type: ignore[arg-type]
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
        _stoppable() as stop,
        _repeatable(device, settings.seed, held.state.rng if held else None),
    ):

        def save(step: int) -> Checkpoint:
            state = State(
                step, dict(cursor), settings, shards.tokenizer_digest, shards.key, checkpoints.rng_states()
            )
            folder = checkpoints.folder_of(out, step)

            def written() -> None:
                if metrics:
                    metrics.sync()
                _check_finite(model, step)
                if step not in intact:
                    checkpoints.save(folder, model, optimizer, shards.tokenizer_folder, state)
                _prune(out, kept, finished=step == plan.last)

            ranks.on_main(written)
            return Checkpoint(folder, state)

        def validate(step: int) -> None:
            loss = evaluate(model, shards, stages.domains, windows=evaluate_windows)
            if not all(map(math.isfinite, loss.values())):
                raise _diverged(f"the validation loss is not finite after step {step} ({loss})")
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
            raise _diverged(f"the loss is not finite at step {step} ({loss})")
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


def _diverged(what: str) -> CommuteError:
    return CommuteError(
        f"{what}: lower the learning rate, or clip the gradient; the last checkpoint is from before"
    )


def _check_finite(model: nn.Module, step: int) -> None:
    wrong = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())]
    if wrong:
        raise _diverged(f"parameters are not finite after step {step} ({wrong[0]}, {len(wrong)} in all)")


def _check_numbers(
    plan: Plan,
    save_at: Sequence[int],
    save_every: int | None,
    evaluate_at: Sequence[int],
    evaluate_every: int | None,
    windows: int,
) -> None:
    for name, value in (
        ("save_every", save_every), ("evaluate_every", evaluate_every), ("evaluate_windows", windows)
    ):  # fmt: skip
        if value is not None and value < 1:
            raise CommuteError(f"{name} is {value}: give a whole number ≥ 1")
    for name, steps in (("save_at", save_at), ("evaluate_at", evaluate_at)):
        beyond = [step for step in steps if not plan.first <= step <= plan.last]
        if beyond:
            raise CommuteError(
                f"{name} names step {beyond[0]}, and the run goes from {plan.first} to {plan.last}: give "
                "steps of the run"
            )


def _check(settings: Training, shards: Shards, plan: Plan, start: Checkpoint | None, ranks: Ranks) -> None:
    if settings.decay == "cosine" and plan.last > settings.steps:
        raise CommuteError(
            f"the learning rate falls until step {settings.steps}, and the run ends at step {plan.last}: "
            f"give steps {plan.last}"
        )
    if shards.vocabulary > settings.architecture.vocabulary:
        raise CommuteError(
            f"the shards' tokenizer has {shards.vocabulary} entries and the model "
            f"{settings.architecture.vocabulary}: give the model a vocabulary of {shards.vocabulary} or more"
        )
    if settings.batch % ranks.count:
        raise CommuteError(
            f"a batch of {settings.batch} on {ranks.count} ranks: give a multiple of the ranks"
        )
    if start is None:
        return
    before = start.state.settings
    for name in ("architecture", "optimizer"):
        if getattr(before, name) != getattr(settings, name):
            raise CommuteError(
                f"the checkpoint {start.folder} has {name} {getattr(before, name)}, the settings "
                f"{getattr(settings, name)}: start from a checkpoint of the same {name}"
            )
    if start.state.tokenizer != shards.tokenizer_digest:
        raise CommuteError(
            f"the vocabulary of the shards {shards.folder} is not that of the checkpoint {start.folder}: "
            "build the shards with the checkpoint's tokenizer"
        )


def _identity(
    settings: Training, shards: Shards, stages: WeightSchedule, start: Checkpoint | None, counts: str
) -> dict[str, Any]:
    """All that the parameters at the end depend on."""
    return {
        "settings": settings.plain(),
        "stages": json.loads(stages.to_json()),
        "counts": counts,
        "shards": shards.key,
        "start": _digest_of(start) if start else None,
    }


def _digest_of(start: Checkpoint) -> str:
    held = json.loads((start.folder / checkpoints.STATE).read_bytes())
    what = [held["sha256"], start.state.step, dict(start.state.cursor)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Write down which run `out` holds, or hold this run against what is written there."""
    checkpoints.sweep(out)
    path = out / RUN
    if not path.exists():
        write(path, (json.dumps(identity, sort_keys=True, indent=1) + "\n").encode())
        return
    try:
        before = json.loads(path.read_bytes())
        changed = Training.from_plain(before["settings"]).changed(Training.from_plain(identity["settings"]))
        changed += [name for name in identity if name != "settings" and before.get(name) != identity[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommuteError(f"{path} cannot be read ({error}): give another folder, or remove it") from error
    if changed:
        raise CommuteError(
            f"{out} holds a run of other settings ({'; '.join(changed)}): give the settings that it was "
            "started with, or another folder"
        )


def _lost(out: Path, kept: set[int], first: int, newest: Checkpoint | None) -> set[int]:
    """The steps whose checkpoints should be there by now, and are not or not whole."""
    if newest is None:
        return set()
    due = {step for step in kept if first <= step < newest.state.step}
    return {step for step in due if not checkpoints.is_whole(out, step)}


def _tell_lost(out: Path, lost: set[int], held: Checkpoint | None) -> None:
    if lost:
        steps, again = ", ".join(str(step) for step in sorted(lost)), held.state.step if held else 0
        print(
            f"{out} lacks whole checkpoints of steps {steps}: training again from step {again}",
            file=sys.stderr,
            flush=True,
        )


def _prune(out: Path, kept: set[int], finished: bool) -> None:
    """Keep the two newest checkpoints of those that nobody asked to keep, and none when the run is over."""
    waiting = [step for step in checkpoints.steps_saved(out) if step not in kept]
    for step in waiting if finished else waiting[:-2]:
        checkpoints.remove(out, step)


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


@contextmanager
def _repeatable(device: torch.device, seed: int, rng: Mapping[str, str] | None) -> Iterator[None]:
    """Set PyTorch's generators from a checkpoint or the seed; on a GPU, choose kernels that repeat.

    CPU kernels give the same bits every time by themselves. What was set before comes back at the end.
    """
    before, strict = checkpoints.rng_states(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    if rng is not None:
        checkpoints.restore_rng(rng)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        checkpoints.restore_rng(before)
        torch.use_deterministic_algorithms(strict)


class _Stop:
    """Whether someone asked the run to stop."""

    asked = False


@contextmanager
def _stoppable() -> Iterator[_Stop]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop after the step; the second stops at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        stop.asked = True
        signal.signal(number, before[number] or signal.SIG_DFL)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after a stop that can be resumed."""
    options = _parser().parse_args(argv)
    try:
        with joined() as ranks:
            last = _run(options, ranks)
            if ranks.main:
                print(f"{last.folder} is written, {last.state.step} steps done")
    except CommuteError as error:
        _say(f"train: {error}")
        return 2
    except KeyboardInterrupt:
        _say("stopped; give the same command to go on from the last checkpoint")
        return 130
    return 0


def _say(message: str) -> None:
    """Tell it on stderr, once for all ranks."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr)


def _run(options: argparse.Namespace, ranks: Ranks) -> Checkpoint:
    held = sources.parse(options.data, options.data_seed)
    spec = TokenizerSpec(
        options.vocabulary or _preset(options.preset).architecture.vocabulary, options.tokenizer
    )

    def built() -> Shards:
        return shard_files.build(
            options.shards or options.out / "shards",
            held,
            spec,
            validation_share=options.validation_share,
            limit_documents=options.limit_documents,
            limit_bytes=options.limit_bytes,
            seed=options.data_seed,
        )

    ranks.on_main(built)
    shards = built()
    settings = _settings(options, shards.vocabulary)
    stages = WeightSchedule.constant(_weights(options.weights, tuple(held)), settings.steps)
    start = checkpoints.load(options.start) if options.start else None
    if start:  # the learning rate is that of the step, counted from the first of all
        settings = dataclasses.replace(settings, steps=start.state.step + settings.steps)
    if ranks.main:
        counted = ", ".join(f"{name} {shards.tokens(name, 'train'):,}" for name in shards.domains)
        print(f"{stages.duration:.0f} steps; training tokens: {counted}", flush=True)
    return train(
        settings,
        shards,
        stages,
        start,
        options.out,
        save_at=options.save_at,
        save_every=options.save_every or None,
        evaluate_every=options.evaluate_every or None,
        evaluate_windows=options.evaluate_windows,
        counts=options.counts,
        tensorboard=options.tensorboard,
        peak=options.peak_flops,
    )


def _preset(name: str) -> Training:
    chosen: Training = getattr(Training, name)()
    return chosen


def _settings(options: argparse.Namespace, vocabulary: int) -> Training:
    """The preset's settings, with the vocabulary of the shards, and what the options change."""
    preset = _preset(options.preset)
    given = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Training)}
    given["compile"] = {"yes": True, "no": False, None: None}[options.compile]
    sizes = {name: getattr(options, name) for name in ("layers", "width", "heads", "context")}
    sizes["vocabulary"] = _vocabulary(options, preset, vocabulary)
    changed = {name: value for name, value in sizes.items() if value is not None}
    architecture = dataclasses.replace(preset.architecture, **changed)
    fields = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(preset, **{**fields, "architecture": architecture})


def _vocabulary(options: argparse.Namespace, preset: Training, needed: int) -> int:
    """What is asked for; of a pretrained tokenizer its own, padded to a multiple of 128 for fast kernels."""
    if options.tokenizer and not options.vocabulary:
        return -(-needed // 128) * 128
    return max(needed, options.vocabulary or preset.architecture.vocabulary)


def _weights(given: str | None, domains: tuple[str, ...]) -> dict[str, float]:
    if given is None:
        return {name: 1 / len(domains) for name in domains}
    try:
        numbers = [float(piece) for piece in given.split(",")]
    except ValueError as error:
        raise CommuteError(f"--weights {given!r}: give numbers with commas between, one a domain") from error
    if len(numbers) != len(domains):
        raise CommuteError(f"--weights {given!r} for {len(domains)} domains: give one number each")
    return dict(zip(domains, numbers, strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gpt2.train", description=__doc__, allow_abbrev=False
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", action="append", required=True, metavar="NAME=SOURCE",
        help="text or .jsonl (.gz too), hf:DATASET[/CONFIG], or synthetic; once for each domain",
    )  # fmt: skip
    data.add_argument("--shards", type=Path, help="folder of the tokenised data (default: OUT/shards)")
    data.add_argument("--tokenizer", help="a pretrained tokenizer by name or path (default: train one)")
    data.add_argument("--validation-share", type=float, default=0.05, help="share of the documents held out")
    data.add_argument("--limit-documents", type=int, help="read no more documents of each domain")
    data.add_argument("--limit-bytes", type=int, help="read about so many bytes of each domain")
    data.add_argument("--data-seed", type=int, default=0, help="seed of languages, samples and splits")
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run goes on")
    run.add_argument("--start", type=Path, help="a checkpoint to start from; --steps are counted from it")
    run.add_argument("--weights", help="domain weights, in the order of --data (default: equal)")
    run.add_argument("--counts", default="sampled", help="sampled (paper) or exact")
    run.add_argument("--save-at", type=_numbers, default=(), help="steps whose checkpoints are kept: 100,200")
    run.add_argument("--save-every", type=int, default=500, help="steps between checkpoints for a resume")
    run.add_argument("--evaluate-every", type=int, help="steps between validation losses")
    run.add_argument("--evaluate-windows", type=int, default=64, help="validation windows of each domain")
    run.add_argument("--tensorboard", action="store_true", help="write OUT/tensorboard too")
    run.add_argument("--peak-flops", type=float, help="peak FLOP/s of a device, for the MFU")
    settings = parser.add_argument_group("settings (default: those of the preset)")
    settings.add_argument("--preset", choices=("smoke", "cpu", "gpu", "paper"), default="smoke")
    for name in ("layers", "width", "heads", "context", "vocabulary"):
        settings.add_argument(f"--{name}", type=int)
    for name in ("warmup", "batch", "micro-batch", "seed", "steps"):
        settings.add_argument(f"--{name}", type=int)
    for name in ("lr", "floor", "weight-decay", "eps", "clip"):
        settings.add_argument(f"--{name}", type=float)
    for name in ("optimizer", "decay", "paradigm", "precision", "device"):
        settings.add_argument(f"--{name}")
    settings.add_argument("--compile", choices=("yes", "no"))
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(piece) for piece in text.split(","))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
