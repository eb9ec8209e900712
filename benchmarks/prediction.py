"""``python -m benchmarks.prediction``: what predictions cost beside the training that they predict.

The trajectory: a window of AdamW steps over two domains, swept for one target and for three, in steps of a
plain ``torch.optim`` loop over the same batches, interleaved; and a whole prediction for one target, which
sweeps at three points and runs both ends. Peak memory of both in processes of their own.
Frozen curvature, of the start: the most products of a Krylov space of a swap at Δt·λ_max = 100, after
training on its batches for so long that negative curvature does not carry these models off the numbers.
Sizes not asked for keep their entries in ``benchmarks/results/prediction.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from typing import Any

import numpy as np
import torch

import commute_verify as cv
from benchmarks.gpt2 import PLAIN, SIZES, WARM, Batch, batches, build, loss_fn
from benchmarks.measure import elsewhere, interleaved, peak_above, provenance, replace_size, start_of_peak
from commute_verify.criterion.lanczos import largest_eigenvalue
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction.surface import Surface

NAMES = ("a", "b")
HALF = dict.fromkeys(NAMES, 0.5)
STEPS, WARMING, FAR = 8, 10, 100.0
SETTLING, SETTLING_RATE = 150, 1e-3
TARGETS = {"one": {"one": HALF}, "three": {"a": {"a": 1.0}, "b": {"b": 1.0}, "mixture": HALF}}
LIMITS = {"one target": 6.0, "further target": 2.5, "memory": 3.0, "products": 25}


def setting(size: str, rows: int, tokens: int) -> tuple[Any, torch.optim.Optimizer, dict[str, list[Batch]]]:
    """A model, its optimizer after some steps, and the batches of a window."""
    model, data = fresh(size, rows, tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train(model, optimizer, {name: found[:WARMING] for name, found in data.items()})
    return model, optimizer, {name: found[WARMING:] for name, found in data.items()}


def fresh(size: str, rows: int, tokens: int) -> tuple[Any, dict[str, list[Batch]]]:
    """A model that has taken no step, and all batches."""
    data = {name: batches(size, STEPS + WARMING, rows, tokens, seed) for seed, name in enumerate(NAMES)}
    return build(size, PLAIN), data


def train(model: Any, optimizer: torch.optim.Optimizer, data: dict[str, list[Batch]]) -> None:
    """The mixture's steps, as a plain loop takes them."""
    for pair in zip(*data.values(), strict=True):
        optimizer.zero_grad()
        for batch in pair:
            total, weight = loss_fn(model, batch)
            (total / weight / len(pair)).backward()
        optimizer.step()


def sweep(model: Any, optimizer: Any, data: dict[str, list[Batch]], targets: Any) -> Any:
    """One sweep of the first variation along the mixture."""
    held_out = {name: found[:1] for name, found in data.items()}
    schedule = cv.WeightSchedule.constant(HALF, STEPS)
    return cv.first_variation(model, loss_fn, data, schedule, targets, optimizer=optimizer, held_out=held_out)


def prediction(model: Any, optimizer: Any, data: dict[str, list[Batch]]) -> Any:
    """A tilt against its mirror for one target, with a verdict."""
    held_out = {name: found[:1] for name, found in data.items()}
    tilt, mirror = (cv.WeightSchedule.tilt(HALF, *NAMES, delta, STEPS / 2) for delta in (0.15, -0.15))
    return cv.predict_excess_loss(
        model, loss_fn, data, tilt, TARGETS["one"], against=mirror, optimizer=optimizer, held_out=held_out
    )


def peak(size: str, rows: int, tokens: int, what: str) -> int:
    """Bytes above the model's own that training holds at most, or that training and then a sweep do.

    Counted from before the first step: what an allocator keeps of earlier steps would hide a later one.
    """
    model, data = fresh(size, rows, tokens)
    base = start_of_peak()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train(model, optimizer, {name: found[:WARMING] for name, found in data.items()})
    if what == "sweep":
        sweep(model, optimizer, {name: found[WARMING:] for name, found in data.items()}, TARGETS["one"])
    return peak_above(base)


def frozen(model: Any, data: dict[str, list[Batch]]) -> dict[str, Any]:
    """The most products of a Krylov space of a swap, far beyond where local predictions end."""
    own = {name: found[:1] for name, found in data.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTLING_RATE)
    train(model, optimizer, {name: found * SETTLING for name, found in own.items()})
    surface = Surface(Objective.of(model, loss_fn), own)
    start = torch.randn(surface.theta.shape, generator=torch.Generator().manual_seed(0))
    top = largest_eigenvalue(lambda v: surface.product([0.5, 0.5], v), start, tolerance=1e-3).value
    found = cv.predict_excess_loss(
        model,
        loss_fn,
        own,
        cv.WeightSchedule.blocks(dict.fromkeys(NAMES, 1.0)),
        optimizer=FAR / top,
        dynamics="flow",
        predictor="frozen-curvature",
        freezings=0,
    )
    most = max(int(n) for n in re.findall(r"at most (\d+) products", found.notes[0]))
    return {"most": most, "notes": list(found.notes)}


def targets(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, what was found, and whether it is met."""
    found = {
        "one target": entry["one target, training steps per step"],
        "further target": entry["further target, training steps per step"],
        "memory": entry["memory beyond states, in steps"],
        "products": entry["frozen curvature"]["most"],
    }
    return [
        {
            "size": entry["size"],
            "target": name,
            "value": value,
            "bound": LIMITS[name],
            "met": value <= LIMITS[name],
        }
        for name, value in found.items()
    ]


def measure(size: str, rows: int, tokens: int, runs: int) -> dict[str, list[Any]]:
    """One size."""
    model, optimizer, data = setting(size, rows, tokens)
    twin, its, _ = setting(size, rows, tokens)
    seconds = interleaved(
        {
            "training": lambda: train(twin, its, data),
            "one": lambda: sweep(model, optimizer, data, TARGETS["one"]),
            "three": lambda: sweep(model, optimizer, data, TARGETS["three"]),
            "prediction": lambda: prediction(model, optimizer, data),
        },
        runs,
        f"trajectory, {size}",
    )
    step, one, three, whole = (statistics.median(found) for found in seconds.values())
    bytes_of = {
        what: elsewhere("benchmarks.prediction", "--peak", what, "--sizes", size, *_shape(rows, tokens))
        for what in ("step", "sweep")
    }
    states = 4 * STEPS * sum(p.numel() * 4 for p in model.parameters())
    entry = {
        "size": size,
        "one target, training steps per step": one / step,
        "further target, training steps per step": (three - one) / 2 / step,
        "three points and both ends, training steps per step": whole / step,
        "peak of a step": bytes_of["step"],
        "peak of a sweep": bytes_of["sweep"],
        "stored states": states,
        "memory beyond states, in steps": (bytes_of["sweep"] - states) / bytes_of["step"],
        "frozen curvature": frozen(model, data),
    }
    shape = {"rows": rows, "tokens": tokens, "steps": STEPS, "runs": runs}
    return {
        "prediction": [entry],
        "targets": targets(entry),
        "provenance": [provenance("benchmarks.prediction", size, shape)],
    }


def _shape(rows: int, tokens: int) -> list[str]:
    return ["--rows", str(rows), "--tokens", str(tokens)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=[s for s in SIZES if s != WARM], default=["1M"])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peak", choices=["step", "sweep"])
    given = parser.parse_args()
    np.random.seed(0)
    for size in given.sizes:
        if given.peak:
            print(json.dumps(peak(size, given.rows, given.tokens, given.peak)))
            continue
        found = measure(size, given.rows, given.tokens, given.runs)
        replace_size("prediction.json", size, found)
        print(json.dumps(found["prediction"], indent=2))
        for one in found["targets"]:
            verdict = "met" if one["met"] else "MISSED"
            name = f"{one['size']:>5}  {one['target']:20}"
            print(f"{name}{one['value']:10.3g}  at most {one['bound']:g}: {verdict}")


if __name__ == "__main__":
    main()
