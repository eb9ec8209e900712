"""What tilts are run and predicted with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from commute_verify.errors import CommuteError
from experiments.optimizer_windows.cases import Case
from experiments.optimizer_windows.settings import FEWEST
from experiments.optimizer_windows.settings import Settings as Windows
from experiments.positive import check_positive

WINDOWS = Windows(lengths=(1, 5, 10, 20, 50), tailed=(50,), tail=1)


class Cell(NamedTuple):
    """Tilts of ``first`` ahead of ``second`` from ``windows.starts[start]``, a number from 0."""

    start: int
    first: str
    second: str


@dataclass(frozen=True)
class Settings:
    """Models and windows as in the study of optimizer windows, and how many of each.

    Each of ``cells`` is tilted by ``delta`` over two stages of k steps, for every k of ``windows.lengths``,
    without a common tail. It is observed on ``observed`` seeds of batches, and predicted from ``predicted``
    others, of which windows of ``costly_from`` steps or more take the first ``costly``. ``level`` is the
    confidence of intervals.
    """

    windows: Windows = field(default=WINDOWS)
    cells: tuple[Cell, ...] = (Cell(0, "a", "b"), Cell(1, "c", "d"), Cell(2, "a", "c"))
    delta: float = 0.15
    observed: int = 8
    predicted: int = 8
    costly_from: int = 100
    costly: int = 6
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive, too few seeds, and starts that are not there."""
        check_positive(self, but=("windows", "cells"))
        if min(self.observed, self.predicted, self.costly) < FEWEST or self.costly > self.predicted:
            raise CommuteError(
                f"observed {self.observed}, predicted {self.predicted}, costly {self.costly}: expected at "
                f"least {FEWEST} seeds of each, and no more costly ones than predicted"
            )
        if not self.cells or not all(0 <= cell.start < len(self.windows.starts) for cell in self.cells):
            raise CommuteError(
                f"cells {self.cells}: expected at least one, of a start below {len(self.windows.starts)}"
            )

    def seeds(self, k: int) -> range:
        """The seeds that a window of 2k steps is predicted from; no observed run has their batches."""
        count = self.costly if 2 * k >= self.costly_from else self.predicted
        return range(self.observed, self.observed + count)

    def case(self, cell: Cell, k: int) -> Case:
        """The tilt, held against the same tilt in the other order."""
        return Case("tilt", self.delta, cell.first, cell.second, k, 0)

    @classmethod
    def full(cls) -> Self:
        """The committed study: about two hours of one core."""
        return cls()

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: one start of one layer, under a minute."""
        small = replace(Windows.default(), lengths=(1, 3), tailed=(3,), tail=1)
        return cls(small, (Cell(0, "a", "b"),), observed=4, predicted=4, costly=4)

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path."""
        small = replace(Windows.smoke(), lengths=(1, 2), tailed=(2,), tail=1)
        return cls(small, (Cell(0, "a", "b"),), observed=2, predicted=2, costly=2)
