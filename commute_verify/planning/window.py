"""One window of a run as a linear program in what is trained earlier, with draws of its error."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.effect import OrderEffect
from commute_verify.planning import given
from commute_verify.planning.resampling import Resampling, Turn
from commute_verify.planning.tilt_program import TiltBounds, best_shift, best_switch, worth

Array = NDArray[np.float64]
Switch = Literal["best", "half"]


class Window(NamedTuple):
    """T steps in which shifting a domain earlier by a step gains ``gain`` (K,) = −½ lr² T P w.

    ``replicates`` (R, K) and ``errors`` (N, K) are those of ``gain``, ``floor`` (K,) its roundoff; ``scale``
    is ½ lr² T, and ``rule`` says where to switch.
    """

    domains: tuple[str, ...]
    target: str
    T: int
    scale: float
    gain: Array
    replicates: Array
    errors: Array
    floor: Array
    bounds: TiltBounds
    rule: Switch

    @classmethod
    def of(
        cls,
        effect: OrderEffect,
        target: str,
        w: Array,
        T: int,
        lr: float,
        bounds: TiltBounds,
        rule: Switch,
        how: Resampling,
        stream: int = 0,
    ) -> Window:
        """The program of one effect and target; equal streams draw equal errors."""
        P, replicates, rounding = given.of_target(effect, target)
        scale = given.scale_of(lr, T)
        gain, each, errors = (-scale * x @ w for x in (P, replicates, how.errors(replicates, stream)))
        floor = scale * rounding @ w
        return cls(effect.domains, target, T, scale, gain, each, errors, floor, bounds, rule)

    def best(self, gain: Array) -> tuple[NDArray[np.int64], Array]:
        """The steps before the switch (…) and the shift D (…, K) of the greatest gain·D, for gain (…, K)."""
        if self.rule == "half":
            a = np.full(gain.shape[:-1], self.T // 2)
        else:
            a = best_switch(gain, self.bounds, self.T)
        return a, best_shift(gain, *self.bounds.box(a, self.T))

    def greatest(self, gain: Array) -> Array:
        """The greatest gain·D (…), for gain (…, K)."""
        return worth(gain, self.best(gain)[1])

    def turns(self, a: int, D: Array) -> list[Turn]:
        """For each pair with room to move weight from one to the other: the P of the tilt that does so."""
        below, above = self.bounds.box(a, self.T)
        slack, turns = 1e-9 * self.T, []
        lowered, raised = np.flatnonzero(D + below > slack), np.flatnonzero(above - D > slack)
        for i, j in ((i, j) for i in lowered for j in raised if i != j):
            apart = float(self.gain[i] - self.gain[j]) / self.scale
            each = (self.replicates[:, i] - self.replicates[:, j]) / self.scale
            error = float(each.std(ddof=1) / np.sqrt(len(each)))
            errors = apart / error if error > 0 else np.inf if apart else 0.0
            one, other = self.domains[i], self.domains[j]
            turns.append(Turn(one, other, f"P({one} − {other}, Σ w L; {self.target})", apart, errors))
        return turns
