"""``python -m benchmarks.training``: a training step of the runner beside a bare PyTorch loop.

Same model, same batches, same optimizer; chunks of steps in turn, medians over all steps. The bare loop has
its batches in memory and tells nothing; the runner reads them from its shards, writes metrics.jsonl and
counts losses by domain. Peak memory is that of a process of its own, above what it held before the model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import RESULTS, elsewhere, peak_above, rounded, start_of_peak
from commute_verify import WeightSchedule
from experiments.gpt2 import metrics, sources
from experiments.gpt2.loop import train
from experiments.gpt2.model import build, flops_per_token, parameters
from experiments.gpt2.plan import Plan
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards
from experiments.gpt2.shards import build as build_shards
from experiments.gpt2.tokenizer import TokenizerSpec
from experiments.storage import write

BOUND = 1.10
WARM = 3
"""Steps at the start of a chunk that do not count."""
OPTIMIZERS = {"for-loop": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}
RUNNER = "runner"


def stages(steps: int) -> WeightSchedule:
    return WeightSchedule.constant({"en": 0.5, "ru": 0.5}, steps)


def prepared(folder: Path) -> Shards:
    held = sources.parse(["en=synthetic", "ru=synthetic"])
    return build_shards(folder, held, TokenizerSpec(2048))


def batches(settings: Training, shards: Shards, steps: int) -> tuple[list[Tensor], float]:
    """The runner's batches, and the median seconds that it takes to find one."""
    plan, cursor = Plan(settings, shards, stages(steps), 0), dict.fromkeys(shards.domains, 0)
    found, seconds = [], []
    for step in range(steps):
        started = time.perf_counter()
        found.append(plan.rows(step, cursor).windows)
        seconds.append(time.perf_counter() - started)
        for name, count in zip(shards.domains, plan.counts(step).tolist(), strict=True):
            cursor[name] += count
    return found, statistics.median(seconds)


def bare(settings: Training, held: list[Tensor], options: dict[str, bool]) -> list[float]:
    """Seconds of every step of a loop with nothing around it."""
    model = build(settings.architecture, settings.seed)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, **options)
    seconds = []
    for windows in held:
        started = time.perf_counter()
        optimizer.zero_grad()
        logits = model(input_ids=windows[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds[WARM:]


def runner(settings: Training, shards: Shards, steps: int) -> list[float]:
    """Seconds of every step of `train`, all that it does between two steps included."""
    tokens = settings.batch * settings.architecture.context
    with tempfile.TemporaryDirectory() as out:
        train(settings, shards, stages(steps), None, Path(out), save_every=None, progress=False)
        lines = metrics.read(Path(out))
    return [tokens / line["tokens_per_second"] for line in lines][WARM:]


def measured(settings: Training, shards: Shards, options: argparse.Namespace) -> dict[str, Any]:
    held, finding = batches(settings, shards, options.steps)
    seconds: dict[str, list[float]] = {name: [] for name in (*OPTIMIZERS, RUNNER)}
    for _ in tqdm(range(options.rounds), desc="rounds"):
        for name, chosen in OPTIMIZERS.items():
            seconds[name] += bare(settings, held, chosen)
        seconds[RUNNER] += runner(settings, shards, options.steps)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    fastest = min(OPTIMIZERS, key=lambda name: median[name])
    tokens = settings.batch * settings.architecture.context
    ratio = median[RUNNER] / median[fastest]
    return {
        "step_seconds": median,
        "quartiles": {name: statistics.quantiles(found, n=4) for name, found in seconds.items()},
        "runner_over_fastest_bare_loop": ratio,
        "fastest_bare_loop": fastest,
        "finding_a_batch_over_step": finding / median[RUNNER],
        "tokens_per_second": tokens / median[RUNNER],
        "flops_per_second": flops_per_token(settings.architecture) * tokens / median[RUNNER],
        "targets": [
            {
                "target": "runner over the fastest bare loop",
                "value": ratio,
                "bound": BOUND,
                "met": ratio <= BOUND,
            }
        ],
    }


def peak(settings: Training, folder: Path, name: str) -> int:
    """Bytes at the peak of a few steps, above those held before the model is built."""
    shards = Shards.open(folder)
    held, _ = batches(settings, shards, 6)
    build(Training.smoke().architecture, 0)  # what importing takes is not counted
    base = start_of_peak()
    if name == RUNNER:
        runner(settings, shards, 6)
    else:
        bare(settings, held, OPTIMIZERS[name])
    return peak_above(base)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("smoke", "cpu"), default="cpu")
    parser.add_argument("--steps", type=int, default=25, help="steps of a chunk")
    parser.add_argument("--rounds", type=int, default=6, help="chunks of each way, in turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = dataclasses.replace(getattr(Training, options.preset)(2048), steps=options.steps)
    if options.peak_of:
        print(json.dumps(peak(settings, options.shards, options.peak_of)))
        return
    with tempfile.TemporaryDirectory() as folder:
        shards = prepared(Path(folder) / "shards")
        found = measured(settings, shards, options)
        again = ["--preset", options.preset, "--threads", str(options.threads)]
        found["peak_bytes"] = {
            name: elsewhere("benchmarks.training", *again, "--shards", str(shards.folder), "--peak-of", name)
            for name in (found["fastest_bare_loop"], RUNNER)
        }
    record = {
        "preset": options.preset,
        "command": f"python -m benchmarks.training --preset {options.preset} --threads {options.threads}",
        "parameters": parameters(build(settings.architecture, 0)),
        "settings": settings.plain(),
        "steps": options.steps,
        "rounds": options.rounds,
        "threads": options.threads,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }
    path = RESULTS / "training.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [entry for entry in before if entry["provenance"]["preset"] != options.preset]
    entries = sorted(
        [*kept, rounded({"provenance": record, **found})], key=lambda entry: entry["provenance"]["preset"]
    )
    write(path, (json.dumps(entries, indent=2) + "\n").encode())
    show(entries[-1] if entries[-1]["provenance"]["preset"] == options.preset else entries[0])


def show(entry: dict[str, Any]) -> None:
    for name, seconds in entry["step_seconds"].items():
        print(f"{name:10}{1e3 * seconds:9.2f} ms a step")
    for name, size in entry["peak_bytes"].items():
        print(f"{name:10}{size / 2**20:9.0f} MiB at the peak")
    print(f"finding a batch: {entry['finding_a_batch_over_step']:.2%} of a step")
    for one in entry["targets"]:
        print(f"{one['target']}: {one['value']:.3f} ≤ {one['bound']}: {'met' if one['met'] else 'MISSED'}")


if __name__ == "__main__":
    main()
