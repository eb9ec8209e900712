"""What every step of a run trains on: which windows, and the weight of each in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.gpt2.order import Counts, counts_equal, counts_exact, counts_sampled, window_indices
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards

KINDS = ("sampled", "exact")


@dataclass(frozen=True)
class Rows:
    """One rank's share of a step: windows (b, context + 1), their domains (b,), and weights (b,) in the loss.

    The loss is Σ_rows weight · Σ_tokens nats over all ranks; a weight already holds 1/(number of tokens).
    """

    windows: Tensor
    domains: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Plan:
    """The steps first, …, last − 1 of a run, its stages measured in steps.

    ``kind`` says how the sequences of a step are shared out under the sampling paradigm: "sampled" draws each
    sequence's domain, "exact" spreads them without chance (see `order.counts_exact`). The weighted-loss
    paradigm always takes equal numbers, and puts the weights into the loss.
    """

    settings: Training
    shards: Shards
    stages: WeightSchedule
    first: int
    kind: str = "sampled"

    def __post_init__(self) -> None:
        """Refuse stages that are not whole steps, unknown domains, and domains that are too small."""
        if self.kind not in KINDS:
            raise CommuteError(f"counts are {self.kind!r}: choose from {', '.join(KINDS)}")
        if any(float(length) != int(length) for length in self.stages.durations):
            raise CommuteError(f"stages last {self.stages.durations.tolist()}: give whole numbers of steps")
        unknown = [name for name in self.stages.domains if name not in self.shards.domains]
        if unknown:
            raise CommuteError(f"stages name {unknown}, and the shards hold {self.shards.domains}")
        if self.settings.paradigm == "weighted-loss" and self.settings.batch < len(self.stages.domains):
            raise CommuteError(
                f"a batch of {self.settings.batch} for {len(self.stages.domains)} domains: the weighted-loss "
                "paradigm takes one or more sequences of each"
            )
        self.shards.check_training(
            dict.fromkeys(self.stages.domains, 1.0), self.settings.batch, self.settings.architecture.context
        )

    @property
    def last(self) -> int:
        """The number of steps that are done when the run is over."""
        return self.first + int(self.stages.duration)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.stages.durations).astype(np.int64)

    @cached_property
    def _tables(self) -> dict[int, Counts]:
        return {}

    def counts(self, step: int) -> Counts:
        """Sequences of each domain in a step, (K,)."""
        stage = int(np.searchsorted(self._ends, step - self.first, side="right"))
        weights, batch = self.stages.weights[stage], self.settings.batch
        if self.settings.paradigm == "weighted-loss":
            return counts_equal(len(weights), batch, step)
        if self.kind == "sampled":
            return counts_sampled(self.settings.seed, weights, batch, step)
        if stage not in self._tables:
            self._tables[stage] = counts_exact(weights, batch, 0, int(self.stages.durations[stage]))
        start = int(self._ends[stage - 1]) if stage else 0
        counts: Counts = self._tables[stage][step - self.first - start]
        return counts

    def rows(self, step: int, cursor: Mapping[str, int], rank: int = 0, ranks: int = 1) -> Rows:
        """What one rank trains on in a step; together the ranks hold the batch, domain by domain."""
        counts, batch = self.counts(step), self.settings.batch
        context = self.settings.architecture.context
        begin, end = rank * batch // ranks, (rank + 1) * batch // ranks
        ends = np.cumsum(counts)
        pieces: list[Tensor] = []
        for k, name in enumerate(self.stages.domains):
            low, high = max(begin, int(ends[k] - counts[k])), min(end, int(ends[k]))
            if low < high:
                skipped = low - int(ends[k] - counts[k])
                windows = self.shards.windows(name, "train", context)
                first = cursor[name] + skipped
                indices = window_indices(self.settings.seed, name, windows, first, high - low)
                pieces.append(self.shards.batch(name, "train", indices, context))
        domains = np.repeat(np.arange(len(counts)), counts)[begin:end]
        return Rows(torch.cat(pieces), torch.from_numpy(domains), self._weights(step, counts)[domains])

    def _weights(self, step: int, counts: Counts) -> Tensor:
        context = self.settings.architecture.context
        if self.settings.paradigm == "sampling":
            each: NDArray[Any] = np.full(len(counts), 1 / (self.settings.batch * context))
        else:
            stage = int(np.searchsorted(self._ends, step - self.first, side="right"))
            each = self.stages.weights[stage] / (counts * context)
        return torch.from_numpy(each.astype(np.float32))
