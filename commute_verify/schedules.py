"""Numeric weight schedules: which domain is trained how much, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from commute_verify import _schedule_input as given
from commute_verify._schedule_input import Array
from commute_verify.errors import CommuteError


@dataclass(frozen=True, eq=False)
class WeightSchedule:
    """Piecewise-constant domain weights w(t): w_k(t) = weights[s, k] on stage s, which lasts durations[s].

    The simplex: w_k(t) ≥ 0 and Σ_k w_k(t) = 1, the sum within 8·K·eps; the numbers are kept as given.
    Shapes: durations (S,) and weights (S, K), float64 and read-only; K = len(domains), S ≥ 1. Numbers
    may be given as any real type, Fractions included.
    Units: durations are flow time ∫γ dt, or steps where a function says so.
    Convention: W(t) = ∫₀ᵗ w, and a letter of a signature that stands earlier is trained earlier.
    Raises CommuteError for weights off the simplex, durations that are not positive and finite, repeated
    or empty names, and shapes that do not fit. Two schedules are equal when all their numbers are.

    >>> swap = WeightSchedule.blocks({"en": 2.0, "ru": 2.0})
    >>> swap.totals()
    {'en': 2.0, 'ru': 2.0}
    >>> swap.levy_area().tolist()
    [[0.0, 2.0], [-2.0, 0.0]]
    >>> swap.averaged().weights.tolist()
    [[0.5, 0.5]]
    """

    domains: tuple[str, ...]
    durations: Array
    weights: Array

    def __post_init__(self) -> None:
        """Hold the schedule to its algebra; arrays become read-only float64 copies."""
        domains = given.names(self.domains)
        durations = given.real_array(self.durations, "durations")
        weights = given.real_array(self.weights, "weights")
        if durations.ndim != 1 or not durations.size or weights.shape != (durations.size, len(domains)):
            raise CommuteError(
                f"durations {durations.shape} and weights {weights.shape} do not fit {len(domains)} domains: "
                "give at least one stage, durations (S,) and weights (S, K)"
            )
        for s, (duration, row) in enumerate(zip(durations, weights, strict=True)):
            given.check_duration(duration, f"stage {s}")
            given.check_simplex(domains, row, f"stage {s}")
        durations.setflags(write=False)
        weights.setflags(write=False)
        object.__setattr__(self, "domains", domains)
        object.__setattr__(self, "durations", durations)
        object.__setattr__(self, "weights", weights)

    def __eq__(self, other: object) -> bool:
        """Equal names, durations and weights, exactly."""
        if not isinstance(other, WeightSchedule):
            return NotImplemented
        return (
            self.domains == other.domains
            and np.array_equal(self.durations, other.durations)
            and np.array_equal(self.weights, other.weights)
        )

    def __hash__(self) -> int:
        """Hash of the numbers that `==` compares."""
        return hash((self.domains, tuple(self.durations.tolist()), tuple(self.weights.ravel().tolist())))

    @classmethod
    def constant(cls, weights: Mapping[str, float], duration: float) -> WeightSchedule:
        """One stage: w(t) = weights for all of duration.

        >>> WeightSchedule.constant({"en": 0.75, "ru": 0.25}, 4.0).totals()
        {'en': 3.0, 'ru': 1.0}
        """
        return cls.piecewise([(duration, weights)])

    @classmethod
    def piecewise(cls, stages: Sequence[tuple[float, Mapping[str, float]]]) -> WeightSchedule:
        """Stages (duration, weights) in time order; the first stage's names, in its order, are the domains.

        Raises CommuteError when a later stage leaves a domain out or names another: write 0.0 for a domain
        that a stage does not train.

        >>> WeightSchedule.piecewise([(1.0, {"en": 1.0, "ru": 0.0}), (2.0, {"en": 0.5, "ru": 0.5})]).duration
        3.0
        """
        if not isinstance(stages, Sequence) or not stages:
            raise CommuteError(f"no stages in {stages!r}: give a list of at least one (duration, weights)")
        pairs = [given.stage(pair, f"stage {s}") for s, pair in enumerate(stages)]
        domains = given.names(tuple(pairs[0][1]))
        rows = [given.row(domains, weights, f"stage {s}") for s, (_, weights) in enumerate(pairs)]
        durations = given.real_array([duration for duration, _ in pairs], "durations")
        return cls(domains, durations, np.array(rows))

    @classmethod
    def tilt(
        cls,
        weights: Mapping[str, float],
        first: str,
        second: str,
        delta: float,
        stage: float,
        *,
        before: float = 0.0,
    ) -> WeightSchedule:
        """Tilted weights (paper, eq. 8, 9, 10): more of `first`, then as much more of `second`.

        w for `before`; then (w_first + δ, w_second − δ) for `stage`; then (w_first − δ, w_second + δ) for
        `stage`. Totals are those of the constant weights. δ < 0 exchanges the two orders.
        Raises CommuteError for an unknown name, first = second, |δ| > min(w_first, w_second), before < 0.

        >>> tilt = WeightSchedule.tilt({"en": 0.75, "ru": 0.25}, "en", "ru", 0.125, 2.0)
        >>> tilt.weights.tolist()
        [[0.875, 0.125], [0.625, 0.375]]
        >>> tilt.levy_area().tolist()
        [[0.0, 0.5], [-0.5, 0.0]]
        """
        domains = given.names(tuple(given.mapping(weights, "the weights of the tilt")))
        base = given.row(domains, weights, "the tilt")
        given.check_simplex(domains, base, "the tilt")
        given.check_known(domains, (first, second), "the tilt")
        if first == second:
            raise CommuteError(f"tilt of {first!r} against itself: name two different domains")
        lead, length = given.real_number(delta, "delta"), given.real_number(before, "before")
        if not np.isfinite(length) or length < 0:
            raise CommuteError(f"before is {before}: give a finite length ≥ 0")
        i, j = domains.index(first), domains.index(second)
        room = float(min(base[i], base[j]))
        if not abs(lead) <= room + given.slack(len(domains)):
            raise CommuteError(
                f"tilt by {delta} leaves the simplex: give |delta| ≤ {room}, the smaller weight"
            )
        shift = np.zeros(len(domains))
        shift[i], shift[j] = lead, -lead
        # base − δ may round to just below zero when δ equals the weight.
        up, down = np.maximum(base + shift, 0.0), np.maximum(base - shift, 0.0)
        rows, durations = [base, up, down], [length, stage, stage]
        start = 0 if length > 0 else 1
        return cls(domains, given.real_array(durations[start:], "durations"), np.array(rows[start:]))

    @classmethod
    def blocks(cls, totals: Mapping[str, float]) -> WeightSchedule:
        """One block for each domain, in the mapping's order, as long as its total.

        >>> WeightSchedule.blocks({"ru": 1.0, "en": 3.0}).weights.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        domains = given.names(tuple(given.mapping(totals, "totals")))
        return cls(domains, given.real_array(list(totals.values()), "totals"), np.eye(len(domains)))

    @property
    def duration(self) -> float:
        """T, the length of all stages together."""
        return float(self.durations.sum())

    def totals(self) -> dict[str, float]:
        """∫₀ᵀ w_k dt of each domain, in the units of the durations."""
        return dict(zip(self.domains, (self.durations @ self.weights).tolist(), strict=True))

    def averaged(self) -> WeightSchedule:
        """The constant schedule with the same domains, T and totals (to roundoff)."""
        totals = self.durations @ self.weights
        return WeightSchedule(self.domains, np.array([self.duration]), (totals / totals.sum())[np.newaxis])

    def signature(self, depth: int = 2) -> tuple[Array, ...]:
        """Iterated integrals S_{k1…kn} = ∫_{0<t1<…<tn<T} w_{k1}(t1)…w_{kn}(tn) dt for n = 1, …, depth ≤ 3.

        Shapes (K,), (K, K), (K, K, K), float64; the letter that stands first is trained earliest. Joined
        stage by stage with Chen's identity (1954). Raises CommuteError unless depth is 1, 2 or 3.

        >>> WeightSchedule.blocks({"en": 2.0, "ru": 2.0}).signature()[1].tolist()
        [[2.0, 4.0], [0.0, 2.0]]
        """
        if not isinstance(depth, Integral) or isinstance(depth, bool) or not 1 <= depth <= 3:
            raise CommuteError(f"signature of depth {depth!r}: give 1, 2 or 3")
        k = len(self.domains)
        s1, s2, s3 = np.zeros(k), np.zeros((k, k)), np.zeros((k, k, k))
        for x in self.durations[:, np.newaxis] * self.weights:
            xx = np.multiply.outer(x, x) / 2
            s3 += np.multiply.outer(s2, x) + np.multiply.outer(s1, xx) + np.multiply.outer(xx, x) / 3
            s2 += np.multiply.outer(s1, x) + xx
            s1 += x
        return (s1, s2, s3)[:depth]

    def levy_area(self) -> Array:
        """Lévy area A_ij = ½ (S_ij − S_ji), (K, K) antisymmetric: A_ij > 0 when i runs ahead of j."""
        s2 = self.signature(2)[1]
        return (s2 - s2.T) / 2

    def then(self, other: WeightSchedule) -> WeightSchedule:
        """This schedule and after it the other; both must name the same domains in the same order."""
        if not isinstance(other, WeightSchedule):
            raise CommuteError(f"a schedule then {other!r}: give a WeightSchedule")
        if other.domains != self.domains:
            raise CommuteError(
                f"domains {self.domains} then {other.domains}: give the same names in one order"
            )
        return WeightSchedule(
            self.domains,
            np.concatenate([self.durations, other.durations]),
            np.concatenate([self.weights, other.weights]),
        )

    def reversed(self) -> WeightSchedule:
        """The last stage first: w(T − t), same totals, the opposite Lévy area."""
        return WeightSchedule(self.domains, self.durations[::-1], self.weights[::-1])

    def to_json(self) -> str:
        """JSON text that `from_json` reads back bit for bit."""
        return json.dumps(
            {
                "format": given.FORMAT,
                "version": given.VERSION,
                "domains": list(self.domains),
                "durations": self.durations.tolist(),
                "weights": self.weights.tolist(),
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> WeightSchedule:
        """The schedule that `to_json` wrote; CommuteError if cut short, of another version or ill-typed.

        >>> swap = WeightSchedule.blocks({"en": 2.0, "ru": 2.0})
        >>> WeightSchedule.from_json(swap.to_json()) == swap
        True
        """
        domains, durations, weights = given.read_json(text)
        return cls(domains, given.real_array(durations, "durations"), given.real_array(weights, "weights"))
