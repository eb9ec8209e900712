"""The published tables as exact numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from commute_verify.data import published

Pair = tuple[Fraction, Fraction]
"""One figure for each language: 1 = English, 2 = Russian."""

ROUNDING = Fraction(1, 20000)
"""Half a unit of the fourth decimal: the error of one printed excess."""

INTERVENTION = 4000
"""Steps of one stage, Δt (§4.2)."""

LEARNING_RATE = Fraction(3, 20000)
"""γ (appendix C)."""

DELTAS = {
    "table2": (Fraction(3, 20), Fraction(3, 10), Fraction(9, 20)),
    "table3": (Fraction(3, 100), Fraction(3, 50), Fraction(9, 100)),
}
"""The degrees of intervention Δw that §4.2 and §4.3 name, for the experiment of each table."""


@dataclass(frozen=True)
class Row:
    """A checkpoint of table 2 or 3; "12" and "21" are the paper's labels."""

    t: int
    losses: Pair
    excess_12: Pair
    excess_21: Pair
    predicted: Pair

    def relabelled(self) -> Row:
        """The same figures with the columns of 12 and 21 exchanged."""
        return Row(self.t, self.losses, self.excess_21, self.excess_12, self.predicted)


Rows = tuple[Row, ...]


def exact(value: float | str) -> Fraction:
    """A decimal figure as it is printed.

    >>> exact(0.0195)
    Fraction(39, 2000)
    """
    return Fraction(str(value))


def rows(table: str) -> Rows:
    """The rows of ``table2`` or ``table3``.

    >>> rows("table2")[1].predicted
    (Fraction(-1, 500), Fraction(-37, 5000))
    """
    return tuple(_row(line) for line in published()[table]["rows"])


def column(table: str, name: str) -> tuple[Fraction, ...]:
    """One column of ``table4``."""
    return tuple(exact(value) for value in published()[table][name])


def shown(values: Sequence[Fraction]) -> str:
    """Signed figures with four decimals.

    >>> shown((Fraction(1, 80), Fraction(-3, 100)))
    '(+0.0125, −0.0300)'
    """
    return f"({', '.join(f'{float(value):+.4f}' for value in values)})".replace("-", "−")


def _row(line: Sequence[float]) -> Row:
    t, *figures = line
    l1, l2, e12_1, e12_2, e21_1, e21_2, p1, p2 = map(exact, figures)
    return Row(int(t), (l1, l2), (e12_1, e12_2), (e21_1, e21_2), (p1, p2))
