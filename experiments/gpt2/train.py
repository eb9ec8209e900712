"""``python -m experiments.gpt2.train``: train a GPT-2 on several domains; torchrun runs it on many devices.

The loop itself is `experiments.gpt2.loop`. A run that was stopped, by Ctrl-C, by a kill or by a full disk,
goes on with the same command, to the same parameters bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2 import checkpoint as checkpoints
from experiments.gpt2 import shards as shard_files
from experiments.gpt2 import sources
from experiments.gpt2.checkpoint import Checkpoint
from experiments.gpt2.loop import train
from experiments.gpt2.parallel import Ranks, joined, leave
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards
from experiments.gpt2.tokenizer import TokenizerSpec


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
