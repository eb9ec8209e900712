"""How far predictions agree with observations: signs, ranks and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from experiments.gpt2.comparison.cases import Case
from experiments.gpt2.comparison.results import BRACKETS
from experiments.quadratic.statistics import share_of

LEVEL = 0.95
"""Level of every interval."""

FEWEST_RANKS = 4
"""Fewer figures have no rank correlation worth stating."""


@dataclass(frozen=True)
class Share:
    """How many of how many, with the exact binomial interval (Clopper and Pearson); (0, 1) of none."""

    count: int
    total: int

    @property
    def share(self) -> float | None:
        """count / total, or None of none."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The interval at ``LEVEL``, as if all cases were independent."""
        if not self.total:
            return 0.0, 1.0
        found = share_of(self.count, self.total, LEVEL)
        return found["low"], found["high"]


@dataclass(frozen=True)
class Agreement:
    """Signs over all cases that the predictor calls and over the resolved ones, ranks and ratios over all.

    ``ratio`` is (p10, median, p90) of observed over predicted; None for rules that predict no size.
    """

    cases: int
    all: Share
    resolved: Share
    rank: float | None
    ratio: tuple[float, float, float] | None


def agreement(cases: Sequence[Case], by: str) -> Agreement:
    """How far a predictor agrees with the cases; those on which it makes no call count in ``cases`` only."""
    called = [case for case in cases if case.predicted[by] is not None]
    resolved = [case for case in called if case.resolved(by)]
    observed = [case.observed.value for case in called]
    predicted = [found.value for case in called if (found := case.predicted[by]) is not None]
    return Agreement(
        len(cases),
        Share(sum(case.agrees(by) for case in called), len(called)),
        Share(sum(case.agrees(by) for case in resolved), len(resolved)),
        rank_correlation(observed, predicted),
        ratios(observed, predicted) if by in BRACKETS else None,
    )


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for too few figures, or where all are the same.

    >>> rank_correlation([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 5.0, 9.0])
    1.0
    """
    if len(one) < FEWEST_RANKS or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    return round(float(spearmanr(one, other).statistic), 12)


def ratios(observed: Sequence[float], predicted: Sequence[float]) -> tuple[float, float, float] | None:
    """10th percentile, median and 90th percentile of observed over predicted, or None of none."""
    found = [o / p for o, p in zip(observed, predicted, strict=True) if p]
    if not found:
        return None
    low, middle, high = np.percentile(found, [10, 50, 90])
    return float(low), float(middle), float(high)
