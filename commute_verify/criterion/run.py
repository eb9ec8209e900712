"""The work of an estimate: replicate after replicate, counted and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from commute_verify.criterion.answers import Cost
from commute_verify.criterion.effect import Array, OrderEffect
from commute_verify.criterion.meter import Meter
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.probe import Probe
from commute_verify.criterion.replicate import IN_GRADIENTS, Estimate, Work, estimate, holds, passes
from commute_verify.criterion.sampling import Roles, Supply
from commute_verify.criterion.vectors import Vector

ROUNDOFF = 8
"""Units of roundoff in a Hessian-vector product, relative to its size."""


class Run:
    """Replicates of one estimate, and what they have cost so far."""

    def __init__(
        self,
        objective: Objective,
        supply: Supply,
        domains: Sequence[str],
        mixing: Mapping[str, Mapping[str, float]],
        probe: Probe,
        D: Vector | None,
        meter: Meter,
        progress: bool,
    ) -> None:
        """Take over from the start-up probe, whose work the meter has seen."""
        from tqdm import tqdm

        self.objective, self.supply, self.probe = objective, supply, probe
        self.meter, self.start_up_seconds = meter, meter.seconds
        self.domains, self.mixing = tuple(domains), mixing
        self.estimates: list[Estimate] = []
        self.gradient_passes = self.hvp_passes = 0
        self._bar = tqdm(total=0, unit="gradient", desc="order effect", disable=not progress, leave=False)
        matrix = np.array([[target.get(name, 0.0) for name in domains] for target in mixing.values()])
        self.weights: dict[str, dict[tuple[int, int], float]] = {name: {} for name in domains}
        self._work = Work(objective, matrix, probe.method, probe.steps, D, self._bar.update, self.weights)

    def passes(self, size: int) -> tuple[int, int]:
        """Gradient passes and products, of one batch each, that a replicate of this size takes."""
        (field, target), T, K = Roles.sizes(size), len(self.mixing), len(self.domains)
        gradients = target if holds(T, K) else target + field
        return gradients * K, field * passes(T, K)

    def expect(self, sizes: Sequence[int]) -> None:
        """Lengthen the progress bar by replicates to come."""
        self._bar.total += sum(map(self.gradient_equivalents, sizes))
        self._bar.refresh()

    def replicate(self, size: int) -> None:
        """One more replicate of ``size`` batches from every domain."""
        roles = {name: self.supply.roles(name, size) for name in self.domains}
        self.keep(estimate(self._work, roles), size)

    def work(self, weights: Mapping[str, dict[tuple[int, int], float]], rank: int) -> Work:
        """The work of a rank that knows these weights."""
        return self._work._replace(weights=weights, rank=rank)

    def keep(self, found: Estimate, size: int) -> None:
        """Add a replicate of ``size`` batches from every domain, here or on another rank, to those so far."""
        self.estimates.append(found)
        gradients, products = self.passes(size)
        self.gradient_passes += gradients
        self.hvp_passes += products

    def gradient_equivalents(self, size: int = 0) -> int:
        """Passes so far, or of one replicate: a product counts 2 by finite differences and 3 otherwise."""
        gradients, products = self.passes(size) if size else (self.gradient_passes, self.hvp_passes)
        return gradients + products * IN_GRADIENTS[self.probe.method]

    def seconds_for(self, sizes: Sequence[int]) -> float:
        """What further replicates of these sizes will take, at the speed of those so far or of the probe."""
        if self.estimates:
            speed = (self.meter.seconds - self.start_up_seconds) / self.gradient_equivalents()
            return speed * sum(map(self.gradient_equivalents, sizes))
        gradients, products = np.sum([self.passes(size) for size in sizes], axis=0)
        return float(gradients * self.probe.gradient_seconds + products * self.probe.product_seconds)

    def effect(self, looks: int, stopped: str) -> OrderEffect:
        """What the replicates say so far."""
        probe = self.probe
        steps = {name: step for name, step in probe.steps.items() if step is not None}
        told = [f"{k}: step {s.size:.1e}, relative error {s.relative_error:.1e}" for k, s in steps.items()]
        notes = [
            f"start-up probe: {probe.words}",
            *(f"{method} is out: {why}" for method, why in probe.refused.items()),
            *(["; ".join(told)] if told else []),
            *self._ragged(),
        ]
        relative = ROUNDOFF * torch.finfo(self.objective.precision).eps
        relative += max((step.relative_error for step in steps.values()), default=0.0)
        return OrderEffect(
            self.domains,
            self.mixing,
            np.stack([e.P for e in self.estimates]),
            np.stack([e.slopes for e in self.estimates]),
            Cost(
                self.gradient_passes,
                self.hvp_passes,
                passes(len(self.mixing), len(self.domains)),
                self.objective.evaluations,
                self.meter.seconds,
                self.meter.peak_bytes,
                self.start_up_seconds,
            ),
            self.probe.method,
            looks,
            stopped,
            tuple(notes),
            relative * np.mean([e.terms for e in self.estimates], axis=0),
        )

    def _ragged(self) -> list[str]:
        """How much the weights of each domain's batches vary, where they do."""
        spread = {k: np.std(list(w.values())) / np.mean(list(w.values())) for k, w in self.weights.items()}
        told = ", ".join(f"{name} {part:.0%}" for name, part in spread.items() if part)
        return [f"batch weights vary ({told}): P is consistent, not unbiased"] if told else []

    def amplification(self) -> float:
        """How many times larger the two terms of P are than P: the factor by which rounding grows. Median."""
        terms = np.mean([e.terms for e in self.estimates], axis=0)
        P: Array = np.abs(np.mean([e.P for e in self.estimates], axis=0))
        upper = np.triu_indices(len(self.domains), k=1)
        ratios = terms[:, upper[0], upper[1]] / np.maximum(P[:, upper[0], upper[1]], 1e-300)
        return float(np.median(ratios))

    def close(self) -> None:
        """Put the progress bar away."""
        self._bar.close()
