"""``python -m benchmarks.criterion``: the order criterion for eight domains and one target, on GPT-2.

Beside it, in the same run and on the same batches: the sum of its passes; K gradients and K products of each
peer (one batch each: peers know no independent roles); the paper's way, two fresh products for each pair. The
paper's 28 pairs are computed in full at the smallest size, elsewhere one pair times 28, and marked so.
Sizes not asked for keep their entries in ``benchmarks/results/criterion.json``. Installation as for hvp.py.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import commute_verify as cv
from benchmarks.gpt2 import FUSED, PLAIN, SIZES, WARM, Batch, batches, build, loss_fn, plain_gradient
from benchmarks.measure import interleaved, provenance, replace_size
from benchmarks.ways import OURS, PAPER, PEER, WAYS, unit_gradient

K, DRAWN, SMALLEST = 8, 8, "1M"
PAIRS = K * (K - 1) // 2
METHODS = ("finite-difference", "double-backward")
EXAMPLES, EVERY, SEQUENCES, CLAIMED = 600, 1000, 512, 0.005
"""The paper: 600 examples of each domain, once in 1000 steps of 512 sequences, under half a percent."""
OVERHEAD = 0.10
Seconds = dict[str, list[float]]


def paper_pairs(model: Any, data: list[Batch], pairs: int) -> Callable[[], list[float]]:
    """P of so many pairs, two fresh products each, after one gradient of every domain given."""
    parameters = list(model.parameters())

    def dot(x: Any, y: Any) -> float:
        return sum(float(torch.dot(a.flatten(), b.flatten())) for a, b in zip(x, y, strict=True))

    def product(batch: Batch, v: Any) -> Any:
        g = torch.autograd.grad(loss_fn(model, batch)[0], parameters, create_graph=True)
        return torch.autograd.grad(g, parameters, v)

    def call() -> list[float]:
        g = [torch.autograd.grad(loss_fn(model, batch)[0], parameters) for batch in data]
        u = [sum(parts) / len(data) for parts in zip(*g, strict=True)]
        chosen = [(i, j) for i in range(len(data)) for j in range(i + 1, len(data))][:pairs]
        return [dot(product(data[j], g[i]), u) - dot(product(data[i], g[j]), u) for i, j in chosen]

    return call


def estimated(model: Any, method: Any, data: dict[str, list[Batch]]) -> tuple[float, cv.OrderEffect]:
    """Seconds of the whole call, start-up probe included, and the effect."""
    started = time.perf_counter()
    effect = cv.order_effect(
        model,
        loss_fn,
        data,
        targets={"mixture": dict.fromkeys(data, 1 / len(data))},
        batches=DRAWN,
        method=method,
        progress=True,
    )
    return time.perf_counter() - started, effect


class Timed:
    """Seconds of single passes, before and after every estimate, and of the estimates between them."""

    def __init__(self, size: str, options: argparse.Namespace) -> None:
        self.size, self.options = size, options
        self.models = {attention: build(size, attention) for attention in (FUSED, PLAIN)}
        self.data = {
            f"domain {k}": batches(size, DRAWN, options.rows, options.tokens, seed=k) for k in range(K)
        }
        self.first = [found[0] for found in self.data.values()]
        v = unit_gradient(self.models[FUSED], self.first[1])
        self._passes = {name: plain_gradient(model, self.first[0]) for name, model in self.models.items()}
        for name, way in WAYS.items():
            if way.owner == PEER or name in options.methods:
                self._passes[name] = way.prepare(self.models[way.attention], self.first[0], v)
        self.passes: Seconds = {name: [] for name in self._passes}
        self.whole: Seconds = {method: [] for method in options.methods}
        self.effects: dict[str, cv.OrderEffect] = {}
        self.replicates: Seconds = {method: [] for method in options.methods}
        for _ in range(options.runs):
            for method in options.methods:
                self._time_passes()
                taken, effect = estimated(self.models[WAYS[method].attention], method, self.data)
                self.effects[method] = effect
                self.whole[method].append(taken)
                self.replicates[method].append(effect.cost.seconds - effect.cost.start_up_seconds)
        self._time_passes()

    def _time_passes(self) -> None:
        for name, found in interleaved(self._passes, self.options.passes, f"{self.size}, passes").items():
            self.passes[name] += found

    def paper(self, full: bool) -> float:
        """Seconds of the paper's way for all pairs: in full, or K gradients and 28 times one pair."""
        call = paper_pairs(self.models[PLAIN], self.first if full else self.first[:2], PAIRS)
        taken = interleaved({"paper": call}, 1, f"{self.size}, paper's pairs")["paper"][0]
        gradient = statistics.median(self.passes[PLAIN])
        return taken if full else (taken - 2 * gradient) * PAIRS + K * gradient


def measured(size: str, options: argparse.Namespace) -> dict[str, list[Any]]:
    """Units, rows, what stands beside them, and targets of one size."""
    timed = Timed(size, options)
    full = size == SMALLEST
    median = {name: statistics.median(found) for name, found in timed.passes.items()}
    unit = min(median[FUSED], median[PLAIN])
    peers = {name: K * (unit + median[name]) for name, way in WAYS.items() if way.owner == PEER}
    beside = [
        {"size": size, "way": name, "owner": PEER, "over_gradient": value / unit}
        for name, value in peers.items()
    ]
    paper = timed.paper(full)
    beside.append(
        {
            "size": size,
            "way": "two fresh products for each of 28 pairs",
            "owner": PAPER,
            "over_gradient": paper / unit,
            "extrapolated_from_one_pair": not full,
        }
    )
    rows = [row(timed, method, median, unit, options.rows) for method in options.methods]
    fastest = min(peers, key=lambda name: peers[name])
    return {
        "units": [
            {
                "size": size,
                "gradient_seconds": unit,
                "pass_over_gradient": {name: value / unit for name, value in median.items()},
            }
        ],
        "rows": rows,
        "beside": beside,
        "targets": [
            target for one in rows for target in targets(one, fastest, peers[fastest] / unit, paper / unit)
        ],
    }


def row(timed: Timed, method: str, median: dict[str, float], unit: float, rows: int) -> dict[str, Any]:
    """One method's estimate, in gradients."""
    cost = timed.effects[method].cost
    count = len(timed.effects[method].P_replicates)
    seconds = statistics.median(timed.replicates[method])
    passes = cost.gradient_passes * median[WAYS[method].attention] + cost.hvp_passes * median[method]
    start = statistics.median(timed.whole[method]) - seconds
    found = {
        "method": method,
        "size": timed.size,
        "domains": K,
        "targets": 1,
        "replicates": count,
        "gradient_passes": cost.gradient_passes,
        "hvp_passes": cost.hvp_passes,
        "hvps_per_estimate": cost.hvps_per_estimate,
        "seconds": seconds,
        "seconds_of_runs": timed.replicates[method],
        "overhead": seconds / passes - 1,
        "replicate_over_gradient": seconds / count / unit,
        "start_up_over_gradient": start / unit,
    }
    return found | {"training": [training(found, domains, rows) for domains in (2, K)]}


def training(found: dict[str, Any], domains: int, rows: int) -> dict[str, Any]:
    """The estimate from 600 sequences of every domain, in steps of training and as a share of 1000.

    Gradients and products in the proportion and at the speed measured; a step is 512 sequences' gradients.
    """
    a_batch = found["replicate_over_gradient"] * found["replicates"] / (K * DRAWN)
    gradients = a_batch * domains * EXAMPLES / rows
    steps = gradients * rows / SEQUENCES
    with_start = (gradients + found["start_up_over_gradient"]) * rows / SEQUENCES
    return {
        "domains": domains,
        "steps": steps,
        "share": steps / EVERY,
        "steps_with_start_up": with_start,
        "share_with_start_up": with_start / EVERY,
        "paper_claims_share": CLAIMED,
    }


def targets(one: dict[str, Any], fastest: str, peer: float, paper: float) -> list[dict[str, Any]]:
    """What was promised of one method, what was found, and whether it is met."""
    replicate = one["replicate_over_gradient"]
    found = [
        ("time beyond the sum of its passes", one["overhead"], OVERHEAD),
        (f"a batch a role, over K gradients and K products of {fastest}", replicate / peer, 1.0),
        ("a batch a role, over the paper's 56 products", replicate / paper, 1.0),
    ]
    found += [
        (f"share of training, {t['domains']} domains, start-up included", t["share_with_start_up"], CLAIMED)
        for t in one["training"]
    ]
    return [
        {
            "size": one["size"],
            "method": one["method"],
            "target": name,
            "value": value,
            "bound": bound,
            "met": value <= bound,
        }
        for name, value, bound in found
    ]


def show(result: dict[str, Any]) -> None:
    """Everything in gradients, then the targets."""
    print(f"{'size':>5}  {'all pairs of 8 domains, one target':60}{'gradients':>10}")
    for one in result["rows"]:
        print(f"{one['size']:>5}  {OURS + ', ' + one['method']:60}{one['replicate_over_gradient']:10.1f}")
        print(f"{one['size']:>5}  {'  start-up probe, once':60}{one['start_up_over_gradient']:10.1f}")
    for one in result["beside"]:
        mark = " (from one pair)" if one.get("extrapolated_from_one_pair") else ""
        print(f"{one['size']:>5}  {one['owner'] + ', ' + one['way'] + mark:60}{one['over_gradient']:10.1f}")
    for one in result["targets"]:
        verdict = "met" if one["met"] else "MISSED"
        name = f"{one['method']}: {one['target']}"
        print(f"{one['size']:>5}  {name:104}{one['value']:8.3f} ≤ {one['bound']:.3f}  {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choices = [name for name in SIZES if name != WARM]
    parser.add_argument("--sizes", nargs="+", choices=choices, default=choices)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--runs", type=int, default=1, help="estimates of each method")
    parser.add_argument("--passes", type=int, default=2, help="rounds of passes before each and after all")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {key: value for key, value in vars(options).items() if key not in ("sizes", "threads")}
    for size in options.sizes:
        record = provenance("benchmarks.criterion", size, settings)
        result = replace_size("criterion.json", size, {"provenance": [record], **measured(size, options)})
    show(result)


if __name__ == "__main__":
    main()
