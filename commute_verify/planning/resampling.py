"""How far an estimate may be off: draws of its error, and what choosing the best of many gains by luck."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.statistics import look_factor
from commute_verify.errors import CommuteError
from commute_verify.planning.ordering import layers

Array = NDArray[np.float64]
Method = Literal["student", "bootstrap"]


@dataclass(frozen=True)
class Resampling:
    """How an estimate is drawn again: ``draws`` times, and ``alpha`` for every interval.

    "student" draws the mean with the replicates' covariance and R − 1 degrees of freedom, so that every
    linear combination of its entries has exactly its Student interval; "bootstrap" draws replicates with
    replacement, scaled to the same variance, and needs some tens of them.
    """

    draws: int = 1000
    alpha: float = 0.05
    seed: int = 0
    method: Method = "student"

    def __post_init__(self) -> None:
        """Refuse an alpha that the draws cannot resolve."""
        if not 0 < self.alpha < 1 or self.draws * self.alpha < 10:
            raise CommuteError(
                f"{self.draws} draws at alpha={self.alpha}; give an alpha below 1 and draws ≥ 10/alpha"
            )
        if self.method not in ("student", "bootstrap"):
            raise CommuteError(f"method {self.method!r}; give 'student' or 'bootstrap'")

    def shared(self, looks: int, targets: int = 1) -> Resampling:
        """The same with draws enough for an alpha that repeated looks and several targets share."""
        needed = math.ceil(10 * look_factor(looks) * targets / self.alpha)
        return replace(self, draws=max(self.draws, needed))

    def errors(self, replicates: Array, stream: int = 0) -> Array:
        """Draws (N, …) of the error of the mean of the replicates (R, …); equal streams give equal draws."""
        R = len(replicates)
        rng = np.random.default_rng([self.seed, stream])
        apart = replicates - replicates.mean(axis=0)
        if self.method == "student":
            factors = rng.normal(size=(self.draws, R)) / np.sqrt(R * (R - 1))
            factors *= np.sqrt((R - 1) / rng.chisquare(R - 1, size=(self.draws, 1)))
        else:
            counts = rng.multinomial(R, np.full(R, 1 / R), size=self.draws)
            factors = (counts - 1) / R * np.sqrt(R / (R - 1))
        drawn: Array = np.tensordot(factors, apart, axes=1)
        return drawn


@dataclass(frozen=True)
class Robustness:
    """How sure a planned gain is, a gain being a loss that ends lower than with constant weights.

    The interval [low, high] holds at level 1 − ``alpha`` for the best of all schedules at once, so that it
    covers the gain of the one that was chosen *because* it looked best. ``beats_constant`` and ``wins`` are
    the shares of ``draws`` in which the schedule gains, and in which none gains more; ``wins`` is None where
    the best of a draw was not computed.
    """

    gain: float
    low: float
    high: float
    beats_constant: float
    wins: float | None
    draws: int
    alpha: float
    floor: float = 0.0

    @property
    def resolved(self) -> bool:
        """Whether the schedule is better than constant weights beyond what luck and arithmetic can do."""
        return self.low > self.floor and self.beats_constant >= 1 - self.alpha

    def __str__(self) -> str:
        """The interval and the shares, in words."""
        wins = "" if self.wins is None else f", and is the best of all in {self.wins:.0%}"
        return (
            f"The gain of {self.gain:.3g} lies between {self.low:.3g} and {self.high:.3g} "
            f"({1 - self.alpha:.0%}, for the best of all schedules at once); drawn again {self.draws} times, "
            f"the schedule beats constant weights in {self.beats_constant:.0%}{wins}."
        )


@dataclass(frozen=True)
class Turn:
    """What would change a plan most easily: ``quantity``, higher by ``change`` or ``stderrs`` errors.

    It compares two domains, ``first`` before ``then`` in the plan.
    """

    first: str
    then: str
    quantity: str
    change: float
    stderrs: float

    def __str__(self) -> str:
        """The change in words."""
        return (
            f"Another schedule would be best if {self.quantity} were higher by {self.change:.3g} "
            f"({self.stderrs:.2g} standard errors), {self.first} coming before {self.then} here."
        )


def half_width(luck: Array, alpha: float, looks: int) -> float:
    """Half the width of the interval that covers every schedule's gain at once, over repeated looks.

    It is the 1 − alpha quantile of ``luck`` (N,), the best gain that each drawn error alone gives.

    >>> half_width(np.arange(20.0), 0.5, 0)
    10.0
    """
    return float(np.quantile(luck, 1 - alpha / look_factor(looks), method="higher"))


def robustness(
    gain: float,
    drawn: Array,
    luck: Array,
    best: Array | None,
    alpha: float,
    *,
    looks: int = 0,
    floor: float = 0.0,
    near: float = 1e-9,
) -> Robustness:
    """From the schedule's gain in each draw (N,), and the best gain that the drawn errors alone give (N,).

    ``best`` (N,) is the best gain of all schedules in each draw, and a draw is won by what comes within the
    share ``near`` of it.

    >>> robustness(1.0, np.full(20, 1.0), np.linspace(0, 0.19, 20), None, 0.5).resolved
    True
    """
    width = half_width(luck, alpha, looks)
    wins = None if best is None else float(np.mean(drawn >= best - near * np.abs(best)))
    beats = float(np.mean(drawn > 0))
    return Robustness(gain, gain - width, gain + width, beats, wins, len(drawn), alpha, floor)


def least_costs(cost: Array, memory: int = 1 << 23) -> Array:
    """The cost (N,) of the best order of each antisymmetric cost (N, K, K), by subsets in batches.

    ``memory`` bounds the numbers that are held at once.

    >>> least_costs(np.array([[[0.0, 2.0], [-2.0, 0.0]]])).tolist()
    [-2.0]
    """
    N, K, _ = cost.shape
    size = max(1, memory >> K)
    return np.concatenate([_least(cost[at : at + size]) for at in range(0, N, size)])


def _least(cost: Array) -> Array:
    N, K, _ = cost.shape
    best = np.full((1 << K, N), np.inf)
    best[0] = 0.0
    members = (np.arange(1 << K)[:, None] >> np.arange(K) & 1).astype(np.float64)
    for layer in layers(K)[1:]:
        for k in range(K):
            having = layer[layer >> k & 1 == 1]
            rest = having ^ 1 << k
            best[having] = np.minimum(best[having], best[rest] + members[rest] @ cost[:, :, k].T)
    found: Array = best[-1]
    return found
