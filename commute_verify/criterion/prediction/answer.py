"""What a prediction answers with: values, errors, a verdict on its own validity, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from commute_verify.errors import CommuteError


class DivergenceError(CommuteError):
    """What is followed leaves all numbers; ``auto`` takes it for an abstention."""


class Verdict(NamedTuple):
    """Whether a prediction may be relied on: ``quantity`` has ``value``, and ``limit`` is the most it may be.

    ``words`` says the same in a sentence.
    """

    valid: bool
    quantity: str
    value: float
    limit: float
    words: str


class Predicted(NamedTuple):
    """The predicted excess of one target's loss, and its standard error (nan from a single replicate).

    ``predictor`` is the rung that it is from.
    """

    value: float
    stderr: float
    verdict: Verdict
    predictor: str

    @property
    def answered(self) -> bool:
        """Whether the predictor stands by it; it abstains otherwise."""
        return self.verdict.valid


@dataclass(frozen=True)
class PredictionCost:
    """What it took. ``gradients`` and ``products`` are passes over one batch.

    ``gradient_equivalents`` counts a product as 2 gradients by finite differences and by double backward
    beside its gradient; ``training_steps`` is that number over the passes of one step of the constant
    schedule, one for each domain that it trains; all replicates are counted.
    """

    gradients: int
    products: int
    gradient_equivalents: int
    training_steps: float


@dataclass(frozen=True, repr=False)
class Prediction:
    """The loss after a schedule less that after its reference, by one predictor, for every target.

    ``prediction["mixture"]`` is that target's :class:`Predicted`. ``tried`` holds what ``predictor="auto"``
    went through before, in its order.
    """

    predictor: str
    excess: Mapping[str, Predicted]
    cost: PredictionCost
    notes: tuple[str, ...] = ()
    tried: tuple[Prediction, ...] = ()

    def __getitem__(self, target: str) -> Predicted:
        """One target's prediction."""
        if target not in self.excess:
            raise CommuteError(f"no target {target!r}; the targets are {', '.join(self.excess)}")
        return self.excess[target]

    def __iter__(self) -> Iterator[str]:
        """The names of the targets."""
        return iter(self.excess)

    @property
    def answered(self) -> bool:
        """Whether every target is answered."""
        return all(found.answered for found in self.excess.values())

    def __repr__(self) -> str:
        """A line for each target."""
        width = max(map(len, self.excess))
        lines = [
            f"  {name:<{width}}  {_value(found)}  {found.verdict.words}"
            for name, found in self.excess.items()
        ]
        price = (
            f"{self.cost.gradient_equivalents} gradients, as much as {self.cost.training_steps:.3g} "
            "training steps"
        )
        return "\n".join([f"Excess loss by {self.predictor} ({price})", *lines, *self.notes])


def _value(found: Predicted) -> str:
    error = "" if math.isnan(found.stderr) else f" ± {found.stderr:.2g}"
    return f"{found.value:+.3g}{error}"


def verdict(quantity: str, value: float, limit: float, meaning: str) -> Verdict:
    """Valid where the value is at most the limit; a value that is no number is not."""
    valid = bool(value <= limit)
    said = "valid" if valid else "abstains"
    return Verdict(valid, quantity, value, limit, f"{said}: {quantity} is {value:.2g}, {meaning} {limit:.2g}")


def decisive(checks: Sequence[Verdict]) -> Verdict:
    """The first check that fails, or the one that comes nearest to its limit."""
    failed = [check for check in checks if not check.valid]
    return failed[0] if failed else max(checks, key=lambda check: check.value / check.limit)
