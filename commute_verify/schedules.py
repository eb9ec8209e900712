"""Numeric weight schedules: which domain is trained how much, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

_FORMAT = "commute_verify.weight_schedule"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class WeightSchedule:
    """Piecewise-constant domain weights w(t): w_k(t) = weights[s, k] on stage s, which lasts durations[s].

    The simplex: w_k(t) ≥ 0 and Σ_k w_k(t) = 1, the sum within 8·K·eps; the numbers are kept as given.
    Shapes: durations (S,) and weights (S, K), float64 and read-only; K = len(domains), S ≥ 1.
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
        domains = _names(self.domains)
        durations = _float_array(self.durations, "durations")
        weights = _float_array(self.weights, "weights")
        if durations.ndim != 1 or not durations.size or weights.shape != (durations.size, len(domains)):
            raise CommuteError(
                f"durations {durations.shape} and weights {weights.shape} do not fit {len(domains)} domains: "
                "give at least one stage, durations (S,) and weights (S, K)"
            )
        for s, (duration, row) in enumerate(zip(durations, weights, strict=True)):
            _check_duration(duration, f"stage {s}")
            _check_simplex(domains, row, f"stage {s}")
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
        if not stages:
            raise CommuteError("a schedule of no stages: give at least one (duration, weights)")
        domains = _names(tuple(stages[0][1]))
        rows = [_row(domains, weights, f"stage {s}") for s, (_, weights) in enumerate(stages)]
        return cls(domains, _float_array([duration for duration, _ in stages], "durations"), np.array(rows))

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
        domains = _names(tuple(weights))
        base = _row(domains, weights, "weights")
        _check_simplex(domains, base, "weights")
        _check_known(domains, {first: delta, second: delta}, "tilt")
        if first == second:
            raise CommuteError(f"tilt of {first!r} against itself: name two different domains")
        if not np.isfinite(before) or before < 0:
            raise CommuteError(f"before is {before}: give a finite length ≥ 0")
        shift = np.zeros(len(domains))
        shift[domains.index(first)] = delta
        shift[domains.index(second)] = -delta
        room = float(min(weights[first], weights[second]))
        if not abs(delta) <= room + _slack(len(domains)):
            raise CommuteError(
                f"tilt by {delta} leaves the simplex: give |delta| ≤ {room}, the smaller weight"
            )
        # base − δ may round to just below zero when δ equals the weight.
        up, down = np.maximum(base + shift, 0.0), np.maximum(base - shift, 0.0)
        rows, durations = [base, up, down], [before, stage, stage]
        start = 0 if before > 0 else 1
        return cls(domains, _float_array(durations[start:], "durations"), np.array(rows[start:]))

    @classmethod
    def blocks(cls, totals: Mapping[str, float]) -> WeightSchedule:
        """One block for each domain, in the mapping's order, as long as its total.

        >>> WeightSchedule.blocks({"ru": 1.0, "en": 3.0}).weights.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        domains = tuple(totals)
        return cls(domains, _float_array(list(totals.values()), "totals"), np.eye(len(domains)))

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
        if depth not in (1, 2, 3):
            raise CommuteError(f"signature of depth {depth}: give 1, 2 or 3")
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
                "format": _FORMAT,
                "version": _VERSION,
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
        try:
            data = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise CommuteError(f"not the JSON text of a schedule, or cut short: {error}") from error
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise CommuteError(f"not a schedule: expected an object with format {_FORMAT!r}")
        version = data.get("version")
        if type(version) is not int or version != _VERSION:
            raise CommuteError(f"schedule of version {version!r}: this package reads version {_VERSION}")
        if set(data) != {"format", "version", "domains", "durations", "weights"}:
            raise CommuteError(
                f"schedule with fields {sorted(data)}: expected domains, durations and weights"
            )
        weights = data["weights"]
        if not isinstance(weights, list):
            raise CommuteError(f"weights are {weights!r}: expected a list of lists of numbers")
        durations = _json_numbers(data["durations"], "durations")
        rows = [_json_numbers(row, f"weights of stage {s}") for s, row in enumerate(weights)]
        return cls(data["domains"], _float_array(durations, "durations"), _float_array(rows, "weights"))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) and name for name in names):
        raise CommuteError(f"domains are {names!r}: give a tuple of non-empty strings")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise CommuteError(f"domains {tuple(names)} repeat {repeated}: give at least one, each name once")
    return tuple(names)


def _float_array(values: object, what: str) -> Array:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise CommuteError(f"{what} are ragged: give rows of one length ({error})") from error
    if array.dtype.kind not in "iuf":
        raise CommuteError(f"{what} are {values!r}: give real numbers")
    return np.array(array, dtype=np.float64)


def _json_numbers(values: object, what: str) -> list[float]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise CommuteError(f"{what} are {values!r}: expected a list of numbers")
    return values


def _check_known(domains: tuple[str, ...], mapping: Mapping[str, float], where: str) -> None:
    unknown = [name for name in mapping if name not in domains]
    if unknown:
        raise CommuteError(f"{where} names unknown domains {unknown}: the domains are {domains}")


def _row(domains: tuple[str, ...], weights: Mapping[str, float], where: str) -> Array:
    _check_known(domains, weights, where)
    missing = [name for name in domains if name not in weights]
    if missing:
        raise CommuteError(
            f"{where} leaves out {missing}: give every domain a weight, 0.0 if it is not trained"
        )
    return _float_array([weights[name] for name in domains], f"weights of {where}")


def _slack(count: int) -> float:
    return float(8 * count * np.finfo(np.float64).eps)


def _check_duration(duration: float, where: str) -> None:
    if not (np.isfinite(duration) and duration > 0):
        raise CommuteError(f"{where} has duration {duration}: give a finite length > 0")


def _check_simplex(domains: tuple[str, ...], row: Array, where: str) -> None:
    weights = dict(zip(domains, row.tolist(), strict=True))
    if not np.isfinite(row).all() or row.min() < 0:
        raise CommuteError(f"{where} has weights {weights}: give finite weights ≥ 0")
    if abs(row.sum() - 1) > _slack(len(domains)):
        raise CommuteError(f"{where} has weights {weights}, sum {row.sum()}: divide them by their sum")
