"""Parameters that a step does not reach: torch skips them there, their memory and their decay included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict, verdict
from commute_verify.criterion.prediction.question import Question

Array = NDArray[np.float64]


class Reach(NamedTuple):
    """The parameters that each domain's training loss depends on, by its first batch, and each target's."""

    domains: Sequence[frozenset[str]]
    targets: Mapping[str, frozenset[str]]

    def skipped(self, rows: Array, target: str) -> list[str]:
        """What steps with weights ``rows`` (S, K) leave out, of all that they train and the target needs."""
        steps = [
            _union([self.domains[k] for k in np.flatnonzero(on).tolist()])
            for on in np.unique(rows > 0, axis=0)
        ]
        return sorted((_union(steps) | self.targets[target]) - frozenset.intersection(*steps))

    def verdict(self, rows: Array, target: str) -> Verdict:
        """None of them may be left out."""
        count = len(self.skipped(rows, target))
        return verdict("the number of parameters that some steps do not reach", count, 0.0, "allowed")


def reach(question: Question) -> Reach | None:
    """By a gradient of each batch; None where nothing moves a parameter whose gradient is 0."""
    if not question.optimizer.drifts:
        return None
    names = question.window.domains
    domains = [question.fields.reached(name) for name in names]
    own = tested_on_training(question)
    asked = {k: domains[k] if own else question.held_out.reached(names[k]) for k in question.asked}
    targets = {
        target: _union([asked[k] for k in np.flatnonzero(row).tolist()])
        for target, row in zip(question.targets, question.mixing, strict=True)
    }
    return Reach(domains, targets)


def tested_on_training(question: Question) -> bool:
    """Whether targets are taken from the batches that are trained on, as they are by default."""
    trained, tested = question.fields.batches, question.held_out.batches
    return all(tested[name][0] is trained[name][0] for name in question.window.domains)


def _union(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)
