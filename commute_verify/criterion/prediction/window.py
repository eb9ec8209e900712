"""A schedule and its reference as stages, in flow time or in discrete steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.clock import Clock, Flow, Steps
from commute_verify.criterion.prediction.frozen import Stage
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]
Dynamics = Literal["steps", "flow"]
Span = tuple[float, float]
"""From where to where, in steps from the start of a window."""


class Part(NamedTuple):
    """A part of the window, in steps from its start: its ends, and ``before`` and ``after`` its middle.

    These two differ only where it has an even number of discrete steps, whose middle is half-way between:
    that of the points that steps start from.
    """

    begin: float
    before: float
    after: float
    end: float


START = Part(0.0, 0.0, 0.0, math.inf)
"""The whole window as one part whose middle is where it starts: the models of θ throughout."""


CLOSED = 1e-9
"""How far totals may differ by rounding, relative to the window, and durations from whole steps."""


@dataclass(frozen=True, eq=False)
class Window:
    """Two schedules of the same domains and length, and the learning rate on the way.

    ``schedule`` and ``reference`` are brought to the order of ``domains``. Durations are steps; ``rates`` is
    one learning rate for each, or a single one for all, and then durations may be any. A flow that stands for
    discrete steps is bent by ``bend`` · Σ η², and starts its stages ``lag`` steps late, at the rates of the
    first steps, each with ``fading`` of the weight of the one before.
    """

    domains: tuple[str, ...]
    schedule: WeightSchedule
    reference: WeightSchedule
    rates: Array
    bend: float = 0.0
    lag: float = 0.0
    fading: float = 0.0

    @classmethod
    def of(
        cls,
        domains: Sequence[str],
        schedule: WeightSchedule,
        against: WeightSchedule | None,
        lr: float | Sequence[float],
    ) -> Window:
        """Checked; ``against`` defaults to constant weights with the same totals."""
        first = _placed(schedule, domains, "schedule")
        other = first.averaged() if against is None else _placed(against, domains, "against")
        if not np.isclose(first.duration, other.duration, rtol=1e-9, atol=0):
            raise CommuteError(
                f"a schedule of {first.duration} steps against one of {other.duration}; give the same length"
            )
        try:
            rates = np.atleast_1d(np.asarray(math.nan if isinstance(lr, str) else lr, dtype=np.float64))
        except (TypeError, ValueError, RuntimeError):
            raise CommuteError(f"lr={lr!r}; give one number, or one per step") from None
        if rates.ndim != 1 or not np.isfinite(rates).all() or (rates < 0).any():
            raise CommuteError(f"lr={lr!r}; give finite learning rates of at least 0")
        if np.ndim(lr) and rates.size != first.duration:
            raise CommuteError(f"{rates.size} learning rates for {first.duration:g} steps; give one per step")
        return cls(tuple(domains), first, other, rates)

    @property
    def whole(self) -> bool:
        """Whether every stage is a whole number of steps."""
        every = np.concatenate([self.schedule.durations, self.reference.durations])
        return bool((every == np.rint(every)).all())

    @property
    def length(self) -> int:
        """The number of steps; CommuteError where a stage is no whole number of them."""
        if not self.whole:
            raise CommuteError(
                f"durations {self.schedule.durations.tolist()}; this predictor takes whole numbers of steps"
            )
        return round(self.schedule.duration)

    def per_step(self) -> tuple[Array, Array, Array]:
        """Weights of the schedule and of the reference (N, K), and learning rates (N,), step by step."""
        n = self.length
        weights = [
            np.repeat(s.weights, s.durations.astype(int), axis=0) for s in (self.schedule, self.reference)
        ]
        return weights[0], weights[1], np.broadcast_to(self.rates, (n,)).copy()

    def flow_time(self) -> float:
        """Σ η over the window."""
        if self.rates.size == 1:
            return float(self.rates[0]) * self.schedule.duration
        return float(self.rates.sum())

    def kept(self) -> float:
        """|∫ δW dt| / ∫ |δW| dt, each the largest of all domains: what is left of the area between orders.

        δW is how much more of a domain the schedule has trained than the reference, in flow time. It is 1 for
        a swap and for a tilt, with a tail too, and 0 for a palindrome, whose effect is of order 3. Where
        totals differ the effect is of order 1, and 1 is returned.
        """
        ways = self.schedule, self.reference
        times = [np.array([stage.clock.time for stage in self.stages(way, "flow")]) for way in ways]
        ends = [np.append(0.0, np.cumsum(time)) for time in times]
        grid = np.union1d(*ends)
        done = [
            np.array([np.interp(grid, end, np.append(0.0, np.cumsum(time * w))) for w in way.weights.T])
            for way, time, end in zip(ways, times, ends, strict=True)
        ]
        ahead = done[0] - done[1]
        small = CLOSED * self.flow_time()
        if np.abs(ahead[:, -1]).max() > small or np.abs(ahead).max() <= small:
            return 1.0
        here, there, width = ahead[:, :-1], ahead[:, 1:], np.diff(grid)
        size = np.abs(here) + np.abs(there)
        turned = (here**2 + there**2) / np.where(size > 0, size, 1.0)
        signed, absolute = (here + there) @ width, np.where(here * there < 0, turned, size) @ width
        return float(np.abs(signed).max() / absolute.max())

    def stages(self, schedule: WeightSchedule, dynamics: Dynamics, span: Span | None = None) -> list[Stage]:
        """The schedule's stages with the clock of each, cut to a part of the window where one is given."""
        begin, end = (0.0, math.inf) if span is None else span
        found, start = [], 0.0
        for duration, weights in zip(schedule.durations.tolist(), schedule.weights, strict=True):
            first, last = max(start, begin), min(start + duration, end)
            whole = (first, last) == (start, start + duration)
            if first < last:
                clock = self._clock(first, duration if whole else last - first, dynamics)
                late = self.lag * self._rate(first) if self.lag and first == start else 0.0
                found.append(Stage(weights, clock, late))
            start += duration
        return found

    def parts(self, halvings: int, dynamics: Dynamics) -> list[Part]:
        """The window halved so often: in flow time, or in steps, which stay whole and are not halved.

        The last part has no end, as the totals of the two schedules may differ by rounding.
        """
        if dynamics == "steps":
            marks = [0, self.length]
            for _ in range(halvings):
                marks = [0, *(mark for a, b in pairwise(marks) for mark in _halved(a, b))]
            found = [
                Part(float(a), float(a + (b - a - 1) // 2), float(a + (b - a) // 2), float(b))
                for a, b in pairwise(marks)
            ]
        else:
            times = np.linspace(0.0, self.flow_time(), 2 ** (halvings + 1) + 1)
            every = [0.0, *self._at_stages(self._steps(times))[1:].tolist()]
            every[-1] = self.schedule.duration
            found = [
                Part(a, middle, middle, b)
                for a, middle, b in zip(every[:-2:2], every[1::2], every[2::2], strict=True)
                if a < b
            ]
        return [*found[:-1], found[-1]._replace(end=math.inf)]

    def _steps(self, times: Array) -> Array:
        """How many steps, and parts of steps, take so much flow time."""
        total = self.schedule.duration
        if self.rates.size == 1:
            return np.linspace(0.0, total, len(times))
        done = np.append(0.0, np.cumsum(self.rates))
        found: Array = np.interp(times, done, np.arange(len(done)))
        return found

    def _at_stages(self, marks: Array) -> Array:
        """Marks, in steps, that are a stage's end but for rounding as that end."""
        known = np.concatenate([np.cumsum(s.durations) for s in (self.schedule, self.reference)])
        nearest = known[np.abs(marks[:, None] - known).argmin(axis=1)]
        found: Array = np.where(np.abs(marks - nearest) <= CLOSED * self.schedule.duration, nearest, marks)
        return found

    def _clock(self, start: float, duration: float, dynamics: Dynamics) -> Clock:
        if dynamics == "flow":
            bend = self.bend * self._sum(2, start, duration) if self.bend else 0.0
            return Flow(self._sum(1, start, duration), bend)
        _ = self.length
        if self.rates.size == 1:
            return Steps(np.full(round(duration), self.rates[0]))
        return Steps(self.rates[round(start) : round(start + duration)])

    def _rate(self, at: float) -> float:
        """(1 − μ) Σ_n μⁿ η_{at + n}: the rates that what momentum holds meets."""
        if self.rates.size == 1:
            return float(self.rates[0])
        to_come = self.rates[int(at) :]
        return (1 - self.fading) * float(to_come @ self.fading ** np.arange(len(to_come)))

    def _sum(self, power: int, start: float, duration: float) -> float:
        """Σ η^power over a span, parts of steps counted as such."""
        rates = self.rates**power
        if rates.size == 1:
            return float(rates[0]) * duration
        done = np.append(0.0, np.cumsum(rates))
        before, after = np.interp([start, start + duration], np.arange(len(done)), done)
        return float(after - before)


def _halved(a: int, b: int) -> list[int]:
    """The ends of two halves of whole steps, the first no shorter, or of a single step."""
    return [(a + b + 1) // 2, b] if b > a + 1 else [b]


def _placed(schedule: WeightSchedule, domains: Sequence[str], what: str) -> WeightSchedule:
    if not isinstance(schedule, WeightSchedule):
        raise CommuteError(f"{what} is {type(schedule).__name__}; give a WeightSchedule")
    odd = sorted(set(schedule.domains) ^ set(domains))
    if odd:
        raise CommuteError(f"{what} misses or does not know {', '.join(odd)}; name {', '.join(domains)}")
    order = [schedule.domains.index(name) for name in domains]
    return WeightSchedule(tuple(domains), in_steps(schedule.durations), schedule.weights[:, order])


def in_steps(durations: Array) -> Array:
    """Durations that are whole numbers of steps but for rounding as those numbers.

    >>> in_steps(np.array([(0.1 + 0.2) * 10, 2.5, 1e-12])).tolist()
    [3.0, 2.5, 1e-12]
    """
    steps = np.rint(durations)
    found: Array = np.where(np.abs(durations - steps) <= CLOSED * steps, steps, durations)
    return found
