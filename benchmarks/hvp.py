"""``python -m benchmarks.hvp``: one Hessian-vector product of GPT-2, ours, the paper's way and three peers.

The same model, loss, batch, direction and float32, in the same run, round after round; medians. The unit is
one gradient at the faster attention. Exact ways take plain attention, which alone has a second derivative.
Memory is the peak of a process of its own, less what it held before the model was built, libraries loaded.
Sizes not asked for keep their entries in ``benchmarks/results/hvp.json``.

Needs ``pip install -c constraints.txt -e ".[bench]" torch==2.13.0``; beside a CPU build of torch also
``pip uninstall torchvision``: a peer asks for it, none uses it, and there it does not load.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.gpt2 import FUSED, PLAIN, SIZES, WARM, Batch, batches, build, loss_fn, plain_gradient
from benchmarks.measure import (
    elsewhere,
    interleaved,
    median_ratio,
    peak_above,
    provenance,
    replace_size,
    start_of_peak,
)
from benchmarks.ways import OURS, PEER, STEP, WAYS, ours, step_choice, unit_gradient
from commute_verify.criterion.vectors import Vector, add_to, zeros_like

EXACT_TOLERANCE, DIFFERENCE_TOLERANCE = 1e-2, 2e-2
"""How far products may lie from double-backward's: the former admits one peer, whose LayerNorm is off."""
SEVERAL = 4
TRAINING, GRADIENT = "training step", "gradient"


def relative_difference(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    gap = sum(float((a - b).double().square().sum()) for a, b in zip(found, expected, strict=True))
    return float((gap / sum(float(b.double().square().sum()) for b in expected)) ** 0.5)


def training_step(model: torch.nn.Module, batch: Batch) -> Callable[[], None]:
    """AdamW on one micro-batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def call() -> None:
        loss_fn(model, batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call


def split(batch: Batch, parts: int) -> list[Batch]:
    return list(zip(batch[0].chunk(parts), batch[1].chunk(parts), strict=True))


def microbatched(model: Any, parts: list[Batch], v: Vector) -> Callable[[], list[torch.Tensor]]:
    """Double backward part by part, summed."""
    calls = [ours("double-backward")(model, part, v) for part in parts]

    def call() -> list[torch.Tensor]:
        total = zeros_like(v)
        for one in calls:
            add_to(total, dict(zip(v, one(), strict=True)))
        return list(total.values())

    return call


def large(kind: str, size: str, rows: int, tokens: int) -> Callable[[], object]:
    """Double backward on a batch several times as large: whole, part by part, checkpointed."""
    model = build(size, PLAIN)
    batch, other = batches(size, 2, SEVERAL * rows, tokens, seed=0)
    v = unit_gradient(model, split(other, SEVERAL)[0])
    if kind == "micro-batches":
        return microbatched(model, split(batch, SEVERAL), v)
    if kind == "checkpointing":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()  # transformers checkpoints in train mode alone; every dropout is 0
    return ours("double-backward")(model, batch, v)


LARGE = ("whole", "micro-batches", "checkpointing")
RESIDENT, CHOICE = "finite-difference beside AdamW's state", "choice of the step"


def prepared(name: str, size: str, rows: int, tokens: int) -> Callable[[], object]:
    """What one process measures, ready to be called."""
    if name in LARGE:
        return large(name, size, rows, tokens)
    model = build(size, WAYS[name].attention if name in WAYS else FUSED)
    batch, other = batches(size, 2, rows, tokens, seed=0)
    if name == TRAINING:
        return training_step(model, batch)
    if name == GRADIENT:
        return plain_gradient(model, batch)
    if name == RESIDENT:
        step = training_step(model, batch)
        step()
        call = WAYS["finite-difference"].prepare(model, batch, unit_gradient(model, other))
        call.optimizer = step  # type: ignore[attr-defined]  # keeps its state alive
        return call
    v = unit_gradient(model, other)
    return step_choice(model, batch, v) if name == CHOICE else WAYS[name].prepare(model, batch, v)


def report_peak(name: str, size: str, rows: int, tokens: int) -> None:
    """Print the peak of two calls as JSON."""
    prepared(name, WARM, rows, tokens)()  # loads libraries
    base = start_of_peak()
    call = prepared(name, size, rows, tokens)
    for _ in range(2):
        call()
    print(json.dumps({"peak_bytes": peak_above(base), "base_bytes": base}))


def peaks(names: list[str], size: str, options: argparse.Namespace) -> dict[str, int]:
    found = {}
    for name in tqdm(names, desc=f"{size}, memory", unit="process"):
        arguments = ["--peak", name, "--sizes", size, "--rows", str(options.rows)]
        arguments += ["--tokens", str(options.tokens), "--threads", str(options.threads)]
        found[name] = int(elsewhere("benchmarks.hvp", *arguments)["peak_bytes"])
    return found


def measured(size: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rows of one size, the units and the memory of the exact way on a large batch."""
    models = {attention: build(size, attention) for attention in (FUSED, PLAIN)}
    batch, other = batches(size, 2, options.rows, options.tokens, seed=0)
    v = unit_gradient(models[FUSED], other)
    ways = {name: way.prepare(models[way.attention], batch, v) for name, way in WAYS.items()}
    expected = ways["double-backward"]()
    differences = {name: relative_difference(call(), expected) for name, call in ways.items()}
    for name, difference in differences.items():
        if difference > (EXACT_TOLERANCE if WAYS[name].exact else DIFFERENCE_TOLERANCE):
            raise SystemExit(f"{name} differs from double-backward by {difference:.1e} at {size}")
    del expected
    gradients = {f"{GRADIENT}, {name}": plain_gradient(model, batch) for name, model in models.items()}
    choose = step_choice(models[FUSED], batch, v)
    timed = interleaved(gradients | ways, options.runs, f"{size}, time")
    started = time.perf_counter()
    step = choose()
    choice = time.perf_counter() - started
    unit = min((timed[name] for name in gradients), key=statistics.median)
    memory = peaks([GRADIENT, TRAINING, *WAYS, RESIDENT, CHOICE], size, options)
    whole = peaks(list(LARGE), size, options)
    rows = [
        {
            "method": name,
            "owner": way.owner,
            "size": size,
            "attention": way.attention,
            "exact": way.exact,
            "hvp_over_gradient_time": median_ratio(timed[name], unit),
            "hvp_over_gradient_memory": memory[name] / memory[GRADIENT],
            "memory_over_training_step": memory[name] / memory[TRAINING],
            "seconds": statistics.median(timed[name]),
            "seconds_of_runs": timed[name],
            "peak_bytes": memory[name],
            "relative_difference": differences[name],
        }
        for name, way in WAYS.items()
    ]
    return {
        "rows": rows,
        "units": [
            {
                "size": size,
                "parameters": sum(p.numel() for p in models[FUSED].parameters()),
                **{f"{name} seconds": statistics.median(timed[name]) for name in gradients},
                "gradient_peak_bytes": memory[GRADIENT],
                "training_step_peak_bytes": memory[TRAINING],
                "step_choice_over_gradient_time": choice / statistics.median(unit),
                "step_choice_over_training_step_memory": memory[CHOICE] / memory[TRAINING],
                "step_used": STEP.size,
                "step_chosen": step.size,
                "finite_difference_beside_adamw_over_training_step": memory[RESIDENT] / memory[TRAINING],
                "double_backward_of_large_batch_peak_bytes": whole,
            }
        ],
        "targets": targets(size, rows, whole, memory),
    }


def targets(
    size: str, rows: list[dict[str, Any]], whole: dict[str, int], memory: dict[str, int]
) -> list[dict[str, Any]]:
    """What was promised of this size, what was found, and whether it is met."""
    by_name = {row["method"]: row for row in rows}
    mine = [row for row in rows if row["owner"] == OURS]
    time = "hvp_over_gradient_time"
    exact_peer = min(row[time] for row in rows if row["owner"] == PEER and row["exact"])
    any_peer = min(row[time] for row in rows if row["owner"] == PEER)
    difference = by_name["finite-difference"]
    exact = min(row[time] for row in mine if row["exact"])
    found = [
        ("finite difference: time in gradients", difference[time], 2.3),
        ("exact: time in gradients", exact, 3.6),
        ("exact: time over the fastest exact peer's", exact / exact_peer, 1.0),
        ("fastest of ours: time over the fastest peer's", min(r[time] for r in mine) / any_peer, 1.0),
        ("finite difference: memory over a training step's", difference["memory_over_training_step"], 1.3),
        ("choice of the step: memory over a training step's", memory[CHOICE] / memory[TRAINING], 1.3),
        (
            "double backward in micro-batches: memory over the whole's",
            whole["micro-batches"] / whole["whole"],
            1.0,
        ),
        (
            "double backward checkpointed: memory over the whole's",
            whole["checkpointing"] / whole["whole"],
            1.0,
        ),
    ]
    return [
        {"size": size, "target": name, "value": value, "bound": bound, "met": value <= bound}
        for name, value, bound in found
    ]


def show(result: dict[str, Any]) -> None:
    """The table of ratios, then the targets."""
    print(f"{'size':>5}  {'method':40}{'time':>7}{'memory':>8}{'step':>7}{'differs':>10}")
    for row in result["rows"]:
        print(
            f"{row['size']:>5}  {row['method']:40}{row['hvp_over_gradient_time']:7.2f}"
            f"{row['hvp_over_gradient_memory']:8.2f}{row['memory_over_training_step']:7.2f}"
            f"{row['relative_difference']:10.1e}"
        )
    for target in result["targets"]:
        verdict = "met" if target["met"] else "MISSED"
        found = f"{target['value']:7.2f} ≤ {target['bound']:.2f}  {verdict}"
        print(f"{target['size']:>5}  {target['target']:60}{found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[s for s in SIZES if s != WARM])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        report_peak(options.peak, options.sizes[0], options.rows, options.tokens)
        return
    settings = {key: value for key, value in vars(options).items() if key not in ("peak", "sizes", "threads")}
    for size in options.sizes:
        record = provenance("benchmarks.hvp", size, settings)
        result = replace_size("hvp.json", size, {"provenance": [record], **measured(size, options)})
    show(result)


if __name__ == "__main__":
    main()
