"""Where local prediction stops working: agreement by Δt, read by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.gpt2.comparison.agreement import Agreement, agreement
from experiments.gpt2.comparison.cases import Case, select

FACTOR = 2.0
"""A median ratio within this factor of 1 counts as the right size."""


@dataclass(frozen=True)
class Reach:
    """A predictor's agreement at each Δt, shortest first, and how far it reaches.

    ``signs`` is the longest Δt such that there and at all shorter ones the lower end of the interval of the
    sign agreement is above one half; ``sizes`` the longest such that the median ratio is within ``FACTOR`` of
    1. None where that fails at the shortest Δt already. ``against`` are the Δt at which the upper end is
    below one half: there the opposite of the prediction is right more often.
    """

    windows: tuple[tuple[int, Agreement], ...]

    @property
    def signs(self) -> int | None:
        """The longest Δt with signs better than chance, there and at all shorter ones."""
        return self._longest([window in self.better for window, _ in self.windows])

    @property
    def sizes(self) -> int | None:
        """The longest Δt with the right size, there and at all shorter ones."""
        return self._longest([right_size(found) for _, found in self.windows])

    @property
    def better(self) -> tuple[int, ...]:
        """Where the signs are better than chance."""
        return tuple(window for window, found in self.windows if found.all.interval[0] > 0.5)

    @property
    def against(self) -> tuple[int, ...]:
        """Where the prediction is wrong more often than chance."""
        return tuple(window for window, found in self.windows if found.all.interval[1] < 0.5)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Where the signs are not told from chance."""
        return tuple(
            window for window, found in self.windows if found.all.interval[0] <= 0.5 <= found.all.interval[1]
        )

    def _longest(self, works: Sequence[bool]) -> int | None:
        reached = None
        for (window, _), good in zip(self.windows, works, strict=True):
            if not good:
                break
            reached = window
        return reached


def right_size(found: Agreement) -> bool:
    """Whether the median ratio of observed to predicted is within a factor of 2 of 1."""
    return found.ratio is not None and 1 / FACTOR <= found.ratio[1] <= FACTOR


def reach(cases: Sequence[Case], by: str) -> Reach:
    """A predictor's reach over the cases given (of one kind, with or without the tail)."""
    windows = sorted({case.at.window for case in cases})
    return Reach(tuple((window, agreement(select(cases, window=window), by)) for window in windows))
