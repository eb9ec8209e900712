"""Excess losses EL = L(branch) − L(base), over seeds, with their errors.

A branch and its base train on the same batches of each domain, so an excess of one seed is their
difference; seeds go on from the checkpoint with other data. "orders" is half of L(θ_12) − L(θ_21), which
needs no base: at second order it equals EL^12, and what both orders share cancels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Literal, NamedTuple

from experiments.gpt2.comparison.results import Branch, Results, Run

Kind = Literal["12", "21", "orders"]
KINDS: tuple[Kind, ...] = ("12", "21", "orders")
Basis = Literal["seeds", "pooled", "none"]

ENOUGH_SEEDS = 3
"""Fewer seeds have no standard error of their own."""

ENOUGH_POOLED = 4
"""Degrees of freedom from which the pooled spread of other cells stands in for a missing one."""

RESOLVED = 2.0
"""Standard errors beyond which a figure is resolved."""


class At(NamedTuple):
    """Where an excess stands: number of the run, checkpoint, Δt, Δw, order, after the tail or not, target."""

    run: int
    step: int
    window: int
    delta: float
    kind: Kind
    tail: bool
    target: str


@dataclass(frozen=True)
class Excess:
    """An excess loss, nats per token: the mean over seeds and its standard error.

    ``basis`` says where the error comes from: "seeds" (three or more here), "pooled" (fewer here; the spread
    over seeds of the same run, window and target, taken to grow with Δw and not to shrink below it), or
    "none": then ``error`` is None and the excess counts as not resolved.
    """

    values: tuple[float, ...]
    error: float | None
    basis: Basis

    @classmethod
    def of(cls, values: Sequence[float]) -> Excess:
        """The excess of these seeds, with their own error where there are enough of them."""
        n = len(values)
        if n < ENOUGH_SEEDS:
            return cls(tuple(values), None, "none")
        return cls(tuple(values), math.sqrt(variance(values) / n), "seeds")

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def resolved(self) -> bool:
        """Whether it lies more than two standard errors from 0."""
        return self.error is not None and abs(self.value) > RESOLVED * self.error

    @property
    def sign(self) -> int:
        """−1 or 1 where it is resolved, else 0."""
        return (self.value > 0) - (self.value < 0) if self.resolved else 0


def excesses(results: Results) -> dict[At, Excess]:
    """Every excess of every run, in the order of runs, checkpoints, windows and tilts."""
    values: dict[At, list[float]] = {}
    for number, run in enumerate(results.runs):
        values |= _by_seed(results, number, run)
    spreads = _pooled(values)
    return {at: _excess(at, found, spreads) for at, found in values.items()}


def _by_seed(results: Results, number: int, run: Run) -> dict[At, list[float]]:
    branches = {(b.step, b.window, b.delta, b.order, b.seed): b for b in run.branches}
    found: dict[At, list[float]] = defaultdict(list)
    for step, window, delta in sorted({(b.step, b.window, b.delta) for b in run.branches if b.delta}):
        for seed in sorted({b.seed for b in run.branches}):
            one, other = (branches.get((step, window, delta, order, seed)) for order in ("12", "21"))
            base = branches.get((step, window, 0.0, "base", seed))
            if one is None or other is None or base is None:
                continue
            for tail in (False, True):
                for target in results.targets:
                    losses = [_loss(results, branch, tail, target) for branch in (one, other, base)]
                    if None in losses:
                        continue
                    l12, l21, l0 = (loss for loss in losses if loss is not None)
                    for kind, value in zip(KINDS, (l12 - l0, l21 - l0, (l12 - l21) / 2), strict=True):
                        found[At(number, step, window, delta, kind, tail, target)].append(value)
    return found


def _loss(results: Results, branch: Branch, tail: bool, target: str) -> float | None:
    losses = branch.losses(tail)
    return None if losses is None else results.target_loss(losses, target)


_Group = tuple[int, int, bool, str, bool]


def _group(at: At) -> _Group:
    return at.run, at.window, at.tail, at.target, at.kind == "orders"


def _pooled(values: Mapping[At, Sequence[float]]) -> dict[_Group, tuple[float, float]]:
    """Root mean square deviation over seeds, and root mean square Δw that it was seen at, of each group."""
    cells: dict[_Group, list[tuple[int, float, float]]] = defaultdict(list)
    for at, found in values.items():
        if len(found) > 1:
            cells[_group(at)].append((len(found) - 1, variance(found), at.delta**2))
    pooled = {}
    for group, entries in cells.items():
        freedom = sum(n for n, _, _ in entries)
        if freedom >= ENOUGH_POOLED:
            pooled[group] = (
                math.sqrt(sum(n * v for n, v, _ in entries) / freedom),
                math.sqrt(sum(n * d for n, _, d in entries) / freedom),
            )
    return pooled


def _excess(at: At, values: Sequence[float], spreads: Mapping[_Group, tuple[float, float]]) -> Excess:
    found = Excess.of(values)
    if found.error is None and _group(at) in spreads:
        spread, delta = spreads[_group(at)]
        error = spread * max(1.0, at.delta / delta) / math.sqrt(len(values))
        return Excess(found.values, error, "pooled")
    return found
