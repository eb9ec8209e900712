"""What is asked of a predictor: losses, optimizer, window and targets, checked once for all rungs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Batch
from commute_verify.criterion.prediction.answer import PredictionCost
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.surface import PRODUCT, Surface, Tally
from commute_verify.criterion.prediction.window import Dynamics, Window
from commute_verify.criterion.undisturbed import apart
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Question:
    """One replicate of a question.

    ``fields`` holds the batches that are trained on and ``held_out`` those that targets are taken from;
    ``mixing`` (T, K) weighs the domains in each target.
    """

    fields: Surface
    held_out: Surface
    window: Window
    optimizer: Optimizer
    targets: tuple[str, ...]
    mixing: Array
    dynamics: Dynamics
    target_model: str
    tolerance: float
    max_products: int
    basis_device: torch.device | None
    freezings: int
    points: int | None
    exchange: int
    seed: int
    states: Path | None

    @property
    def asked(self) -> list[int]:
        """The domains that some target weighs."""
        return np.flatnonzero(self.mixing.any(axis=0)).tolist()

    def average(self) -> Array:
        """The reference's weights over the whole window (K,)."""
        weights: Array = self.window.reference.averaged().weights[0]
        return weights

    def averages(self) -> list[Array]:
        """The weights over the whole window of the reference and, where it differs, of the schedule."""
        own: Array = self.window.schedule.averaged().weights[0]
        reference = self.average()
        return [reference] if np.allclose(own, reference, rtol=1e-9, atol=1e-12) else [reference, own]

    def cost(self, tally: Tally) -> PredictionCost:
        """What a tally means for a training run."""
        per_product = PRODUCT if self.fields.method == "double-backward" else 0
        equivalents = tally.gradients + per_product * tally.products
        active = int(np.count_nonzero(self.window.reference.weights.any(axis=0)))
        return PredictionCost(tally.gradients, tally.products, equivalents, equivalents / active)


def listed(domains: Mapping[str, Iterable[Batch]], what: str) -> dict[str, list[Batch]]:
    """Every domain's batches; CommuteError where there are none."""
    if not isinstance(domains, Mapping) or not domains:
        raise CommuteError(
            f"{what} is {type(domains).__name__}; give a mapping from each name to its batches"
        )
    found = {}
    for name, batches in domains.items():
        if not isinstance(name, str) or not name:
            raise CommuteError(f"a domain named {name!r}; give names that are texts")
        iterator = checked.started(apart(batches), f"domain {name!r} in {what}")
        found[name] = list(iterator)
        if not found[name]:
            raise CommuteError(f"domain {name!r} holds no batch in {what}; give at least one")
    return found


def dealt(batches: Mapping[str, Sequence[Batch]], replicates: int, what: str) -> list[dict[str, list[Batch]]]:
    """Each domain's batches in ``replicates`` consecutive parts of equal size; a rest is left unused."""
    parts: list[dict[str, list[Batch]]] = [{} for _ in range(replicates)]
    for name, every in batches.items():
        size = len(every) // replicates
        if not size:
            raise CommuteError(
                f"domain {name!r} holds {len(every)} batches in {what} for {replicates} replicates; give more"
            )
        for r, part in enumerate(parts):
            part[name] = list(every[r * size : (r + 1) * size])
    return parts
