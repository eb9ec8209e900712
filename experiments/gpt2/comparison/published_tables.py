"""The paper's tables 2 and 3, re-analysed.

The one place that knows how they are labelled: the columns 12 of tables 2 and 3 are of the run that ends
better on language 1, so that they are order "21" here, and their P(L_2, L_1; L_i) is the P(L_1, L_2; L_i) of
eq. 6 (``proofs/19_languages.py``). Language 1 is English. The tables state no errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Literal

from experiments.gpt2.comparison.agreement import Share, rank_correlation
from proofs.figures import DELTAS, INTERVENTION, LEARNING_RATE, Row, rows

PAPER_LABEL: dict[str, Literal["12", "21"]] = {"12": "21", "21": "12"}
"""What the paper's tables call an order of ours."""

TABLES = ("table2", "table3")

Pair = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """A language at a checkpoint of a table: excesses of both orders, as "12" is meant here, and P for 12."""

    table: str
    t: int
    language: int
    excess_12: float
    excess_21: float
    predicted: float

    @property
    def contrast(self) -> float:
        """(EL^12 − EL^21)/2."""
        return (self.excess_12 - self.excess_21) / 2

    @property
    def total(self) -> float:
        """EL^12 + EL^21, 0 at second order."""
        return self.excess_12 + self.excess_21


def paper_rows(table: str) -> tuple[Row, ...]:
    """The rows of a table with 12 as it is meant here."""
    return tuple(row.relabelled() for row in rows(table))


def entries(table: str) -> tuple[Entry, ...]:
    """Every language and checkpoint of a table."""
    return tuple(
        Entry(
            table,
            row.t,
            language,
            float(row.excess_12[language]),
            float(row.excess_21[language]),
            float(row.predicted[language]),
        )
        for row in paper_rows(table)
        for language in (0, 1)
    )


@dataclass(frozen=True)
class Reanalysis:
    """What the published figures say of P and EL.

    ``signs`` counts the sign of P against EL^12, −EL^21 and their mean; ``last_wins`` counts the rule "the
    language raised last ends lower" against the mean. ``rank`` is Spearman's, ``size_rank`` that of absolute
    values, ``factor`` the smallest, median and largest |mean / P|. ``relative_sum`` is the median of
    |EL^12 + EL^21| / |EL^12 − EL^21|, and ``positive_sums`` counts the sums above zero.
    """

    entries: int
    signs: dict[Literal["12", "21", "orders"], Share]
    last_wins: Share
    rank: float | None
    size_rank: float | None
    factor: tuple[float, float, float]
    relative_sum: float
    positive_sums: Share


def reanalyse(found: Sequence[Entry]) -> Reanalysis:
    """Signs, ranks, factor and asymmetry of some entries."""
    observed = {
        "12": [each.excess_12 for each in found],
        "21": [-each.excess_21 for each in found],
        "orders": [each.contrast for each in found],
    }
    predicted = [each.predicted for each in found]
    n = len(found)
    contrast = observed["orders"]
    factors = sorted(abs(c / p) for c, p in zip(contrast, predicted, strict=True))
    return Reanalysis(
        n,
        {
            "12": _same_sign(observed["12"], predicted),
            "21": _same_sign(observed["21"], predicted),
            "orders": _same_sign(contrast, predicted),
        },
        _same_sign(contrast, [(1.0, -1.0)[each.language] for each in found]),
        rank_correlation(contrast, predicted),
        rank_correlation([abs(c) for c in contrast], [abs(p) for p in predicted]),
        (factors[0], median(factors), factors[-1]),
        median(abs(each.total) / (2 * abs(each.contrast)) for each in found),
        Share(sum(each.total > 0 for each in found), n),
    )


@dataclass(frozen=True)
class Implied:
    """Δw (γΔt)², less what the printed P is supposed to contain, for one table and Δw."""

    table: str
    delta: float
    nothing: float
    gamma: float
    gamma_and_dt: float


def implied_factors(table: str) -> tuple[Implied, ...]:
    """EL/P as the constants of §4.2 and appendix C imply it, if P contains nothing, γ², or γ²Δt²."""
    return tuple(
        Implied(
            table,
            float(delta),
            float(delta * (LEARNING_RATE * INTERVENTION) ** 2),
            float(delta * Fraction(INTERVENTION) ** 2),
            float(delta),
        )
        for delta in DELTAS[table]
    )


def _same_sign(one: Sequence[float], other: Sequence[float]) -> Share:
    return Share(sum(a * b > 0 for a, b in zip(one, other, strict=True)), len(one))
