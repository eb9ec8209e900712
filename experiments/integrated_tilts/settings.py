"""What tilts are run and predicted with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import NamedTuple, Self

from commute_verify.errors import CommuteError
from experiments.optimizer_windows.cases import Case
from experiments.optimizer_windows.settings import FEWEST
from experiments.optimizer_windows.settings import Settings as Windows
from experiments.positive import check_positive

WINDOWS = Windows(lengths=(1, 5, 10, 20, 50), tail=1)


class Cell(NamedTuple):
    """Tilts of ``first`` ahead of ``second`` from ``windows.starts[start]``, a number from 0."""

    start: int
    first: str
    second: str


class Counts(NamedTuple):
    """How many seeds two stages of ``k`` steps are observed on, and predicted from at ``points`` points."""

    k: int
    observed: int
    predicted: int
    points: int = 3


@dataclass(frozen=True)
class Settings:
    """Models and windows as in the study of optimizer windows, and how many of each.

    Each of ``cells`` is tilted by ``delta`` over two stages of k steps, for every k of ``counts``, without a
    common tail. Predictions take seeds of batches from ``predicted_from`` on, and observed runs those from
    ``observed_from`` on that no prediction takes. ``level`` is the confidence of intervals. At k = 20 three
    points leave too much of the largest effects unexplained.
    """

    windows: Windows = field(default=WINDOWS)
    cells: tuple[Cell, ...] = (Cell(0, "a", "b"), Cell(1, "c", "d"), Cell(2, "a", "c"))
    counts: tuple[Counts, ...] = (
        Counts(1, 24, 32),
        Counts(5, 24, 24),
        Counts(10, 24, 8),
        Counts(20, 24, 16, 5),
        Counts(50, 8, 6),
    )
    delta: float = 0.15
    observed_from: int = 0
    predicted_from: int = 8
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive, too few seeds, other lengths, and starts not there."""
        check_positive(self, but=("windows", "cells", "counts", "observed_from"))
        if not all(min(told.observed, told.predicted) >= FEWEST for told in self.counts):
            raise CommuteError(f"counts {self.counts}: expected at least {FEWEST} seeds of each kind")
        if tuple(told.k for told in self.counts) != self.windows.lengths:
            raise CommuteError(f"counts {self.counts}: expected one for each of {self.windows.lengths}")
        if not self.cells or not all(0 <= cell.start < len(self.windows.starts) for cell in self.cells):
            raise CommuteError(
                f"cells {self.cells}: expected at least one, of a start below {len(self.windows.starts)}"
            )

    def predicted(self, k: int) -> range:
        """The seeds that a window of 2k steps is predicted from; no observed run has their batches."""
        return range(self.predicted_from, self.predicted_from + self.of(k).predicted)

    def observed(self, k: int) -> list[int]:
        """The seeds that a window of 2k steps is observed on."""
        last = self.predicted_from + max(told.predicted for told in self.counts)
        others = (seed for seed in count(self.observed_from) if not self.predicted_from <= seed < last)
        return list(islice(others, self.of(k).observed))

    def of(self, k: int) -> Counts:
        """What is run of a window of 2k steps."""
        return next(told for told in self.counts if told.k == k)

    def case(self, cell: Cell, k: int) -> Case:
        """The tilt, held against the same tilt in the other order."""
        return Case("tilt", self.delta, cell.first, cell.second, k, 0)

    @classmethod
    def full(cls) -> Self:
        """The committed study: about five hours of one core."""
        return cls()

    @classmethod
    def other_sizes(cls) -> tuple[Self, Self]:
        """Tilts by 0.05 and by 0.3, each on batches of its own: about three and a half hours of one core.

        0.3 is more than two of the domains weigh, so that it is taken between the two others.
        """
        small = (Counts(1, 24, 24, 2), Counts(5, 24, 16, 2), Counts(10, 24, 8, 2), Counts(20, 24, 8, 2))
        large = (Counts(1, 24, 24), Counts(5, 24, 16), Counts(10, 24, 8), Counts(20, 24, 8, 5))
        return (
            cls(counts=(*small, Counts(50, 8, 4, 2)), delta=0.05, observed_from=56, predicted_from=64),
            cls(
                cells=tuple(Cell(start, "a", "b") for start in (0, 2)),
                counts=(*large, Counts(50, 8, 4)),
                delta=0.3,
                observed_from=104,
                predicted_from=112,
            ),
        )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: one start of one layer, under a minute."""
        small = replace(Windows.default(), lengths=(1, 3), tail=1)
        return cls(small, (Cell(0, "a", "b"),), (Counts(1, 4, 4), Counts(3, 4, 4)), predicted_from=4)

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path."""
        small = replace(Windows.smoke(), lengths=(1, 2), tail=1)
        return cls(small, (Cell(0, "a", "b"),), (Counts(1, 2, 2), Counts(2, 2, 2)), predicted_from=2)
