"""What is run and predicted: tilts and whole swaps of two domains, each against the other order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from commute_verify import WeightSchedule
from experiments.optimizer_windows.settings import DOMAINS, Settings

TILTS = (
    (0.05, "a", "b"),
    (0.15, "a", "b"),
    (0.15, "c", "d"),
    (0.15, "a", "c"),
    (0.3, "a", "b"),
)
"""δ, the domain that has more of the first stage, and the one that has more of the second."""
SWAPS = (("a", "b"), ("c", "d"))
"""The first order, against the second; each domain trains alone."""
MAIN = (0.15, "a", "b")
"""The tilt that the trajectory is taken for by itself, and that the map of validity has."""
KINDS = ("tilt", "raise", "swap")
Start = tuple[float, int]
"""Learning rate and step of a checkpoint."""


@dataclass(frozen=True)
class Case:
    """Two stages of ``k`` steps, ``first`` ahead of ``second``, and ``tail`` common steps.

    A "tilt" by ``delta`` is held against the same tilt in the other order, a "raise" against constant
    weights, a "swap" (``delta`` 0) against the other order of the two.
    """

    kind: str
    delta: float
    first: str
    second: str
    k: int
    tail: int

    @property
    def name(self) -> str:
        """A key for JSON."""
        return f"{self.kind} {self.delta:g} {self.first}{self.second} k{self.k} tail{self.tail}"

    def schedules(self, settings: Settings) -> tuple[WeightSchedule, WeightSchedule]:
        """The schedule and its reference, in steps."""
        mixture = dict(zip(DOMAINS, settings.weights, strict=True))
        constant = WeightSchedule.constant(mixture, 2 * self.k)
        if self.kind == "swap":
            one, other = (_alone(name, self.k) for name in (self.first, self.second))
            ways = (one.then(other), other.then(one))
        else:
            tilts = [
                WeightSchedule.tilt(mixture, self.first, self.second, sign * self.delta, self.k)
                for sign in (1, -1)
            ]
            ways = (tilts[0], tilts[1] if self.kind == "tilt" else constant)
        if not self.tail:
            return ways
        tail = WeightSchedule.constant(mixture, self.tail)
        return ways[0].then(tail), ways[1].then(tail)


def cases(settings: Settings, start: Start) -> list[Case]:
    """All cases from one checkpoint."""
    shapes = [
        *(("tilt", *tilt) for tilt in TILTS),
        ("raise", *MAIN),
        *(("swap", 0.0, *pair) for pair in SWAPS),
    ]
    return [Case(*shape, k, tail) for k, tail in windows(settings, start) for shape in shapes]


def windows(settings: Settings, start: Start) -> list[tuple[int, int]]:
    """Every (k, tail) from one checkpoint; the longest ones from the main start alone."""
    lengths = [k for k in settings.lengths if start == settings.main or k < settings.long_from]
    return [(k, tail) for k in lengths for tail in (0, settings.tail)]


def per_step(schedule: WeightSchedule) -> list[list[float]]:
    """Weights in the order of ``DOMAINS``, step by step."""
    order = [schedule.domains.index(name) for name in DOMAINS]
    steps: list[list[float]] = np.repeat(
        schedule.weights[:, order], schedule.durations.astype(int), axis=0
    ).tolist()
    return steps


def _alone(name: str, k: int) -> WeightSchedule:
    return WeightSchedule.constant({each: float(each == name) for each in DOMAINS}, k)
