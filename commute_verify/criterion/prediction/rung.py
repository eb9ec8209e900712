"""What a predictor finds, in one replicate and in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.variation import resolved
from commute_verify.criterion.statistics import mean_and_stderr, p_values

Array = NDArray[np.float64]


class Found(NamedTuple):
    """One replicate: excess losses (T,), a verdict for each target, and what else is worth saying."""

    excess: Array
    verdicts: list[Verdict]
    notes: tuple[str, ...] = ()


class Replicated(NamedTuple):
    """All replicates: excess losses (R, T), a verdict on the mean of each target, and notes."""

    excess: Array
    verdicts: list[Verdict]
    notes: tuple[str, ...] = ()

    def mean(self) -> tuple[Array, Array, list[Verdict]]:
        """Means (T,), their standard errors, nan from one replicate, and verdicts, on the signs as well."""
        if len(self.excess) == 1:
            return self.excess[0], np.full(self.excess.shape[1], math.nan), self.verdicts
        signs = [resolved(float(p)) for p in p_values(self.excess)]
        judged = [v if not v.valid or s.valid else s for v, s in zip(self.verdicts, signs, strict=True)]
        return *mean_and_stderr(self.excess), judged


Rung = Callable[[Sequence[Question]], Replicated]


def each(predictor: Callable[[Question], Found]) -> Rung:
    """A rung that judges its replicates one by one."""
    return lambda questions: together([predictor(question) for question in questions])


def together(found: Sequence[Found]) -> Replicated:
    """All replicates: the mean is as valid as the worst of them."""
    verdicts = [_worst(judged) for judged in zip(*(one.verdicts for one in found), strict=True)]
    return Replicated(np.stack([one.excess for one in found]), verdicts, found[0].notes)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda v: (not v.valid, v.value / v.limit if v.limit else v.value))
