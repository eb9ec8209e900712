"""What a schedule is built from, held to: real numbers, names, mappings of weights, the simplex, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

FORMAT = "commute_verify.weight_schedule"
VERSION = 1


def real_array(values: object, what: str) -> Array:
    """A float64 copy of an array or of nested sequences of real numbers, Fractions included."""
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
        ragged = any(isinstance(value, list | tuple | np.ndarray) for value in array.flat)
    except ValueError:
        ragged = True
    if ragged:
        raise CommuteError(f"{what} are ragged: give rows of one length")
    if array.dtype.kind not in "iuf" and not all(map(_is_real, array.flat)):
        raise CommuteError(f"{what} are {values!r}: give real numbers")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise CommuteError(f"float64 cannot hold {what}: give real numbers below 1.8e308") from None


def real_number(value: object, what: str) -> float:
    """The float64 of one real number."""
    if not _is_real(value):
        raise CommuteError(f"{what} is {value!r}: give a real number")
    return float(real_array([value], what)[0])


def names(domains: object) -> tuple[str, ...]:
    """A tuple of unique, non-empty names, at least one."""
    if not isinstance(domains, tuple | list) or not all(isinstance(name, str) and name for name in domains):
        raise CommuteError(f"domains are {domains!r}: give a tuple of non-empty strings")
    if not domains:
        raise CommuteError("a schedule of no domains: give at least one")
    repeated = sorted({name for name in domains if domains.count(name) > 1})
    if repeated:
        raise CommuteError(f"domains {tuple(domains)} repeat {repeated}: give each name once")
    return tuple(domains)


def mapping(numbers: object, what: str) -> Mapping[str, Any]:
    """The mapping itself, if it is one."""
    if not isinstance(numbers, Mapping):
        raise CommuteError(f"{what} are {numbers!r}: give a mapping from domain names to numbers")
    return numbers


def stage(pair: object, where: str) -> tuple[Any, Mapping[str, Any]]:
    """A stage's (duration, weights)."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise CommuteError(f"{where} is {pair!r}: give (duration, weights)")
    return pair[0], mapping(pair[1], f"the weights of {where}")


def row(domains: tuple[str, ...], weights: Mapping[str, Any], where: str) -> Array:
    """The weights in the order of the domains, all of which must be there, and no other."""
    check_known(domains, weights, where)
    missing = [name for name in domains if name not in weights]
    if missing:
        raise CommuteError(
            f"{where} leaves out {missing}: give every domain a weight, 0.0 if it is not trained"
        )
    return real_array([weights[name] for name in domains], f"the weights of {where}")


def check_known(domains: tuple[str, ...], named: Iterable[object], where: str) -> None:
    """CommuteError, naming them, for names that are not among the domains."""
    unknown = [name for name in named if name not in domains]
    if unknown:
        raise CommuteError(f"{where} names unknown domains {unknown}: the domains are {domains}")


def slack(count: int) -> float:
    """How far the sum of so many weights may be from 1."""
    return float(8 * count * np.finfo(np.float64).eps)


def check_duration(duration: float, where: str) -> None:
    """CommuteError unless finite and above 0."""
    if not (np.isfinite(duration) and duration > 0):
        raise CommuteError(f"{where} has duration {duration}: give a finite length > 0")


def check_simplex(domains: tuple[str, ...], weights: Array, where: str) -> None:
    """CommuteError unless the weights (K,) are finite, ≥ 0, and sum to 1 within the slack."""
    named = dict(zip(domains, weights.tolist(), strict=True))
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise CommuteError(f"{where} has weights {named}: give finite weights ≥ 0")
    if abs(weights.sum() - 1) > slack(len(domains)):
        raise CommuteError(f"{where} has weights {named}, sum {weights.sum()}: divide them by their sum")


def read_json(text: str) -> tuple[Any, list[float], list[list[float]]]:
    """Domains, durations and weights of the JSON text of a schedule, which hold numbers where they should."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise CommuteError(f"not the JSON text of a schedule, or cut short: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CommuteError(f"not a schedule: expected an object with format {FORMAT!r}")
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        raise CommuteError(f"schedule of version {version!r}: this package reads version {VERSION}")
    if set(data) != {"format", "version", "domains", "durations", "weights"}:
        raise CommuteError(f"schedule with fields {sorted(data)}: expected domains, durations and weights")
    if not isinstance(data["weights"], list):
        raise CommuteError(f"weights are {data['weights']!r}: expected a list of lists of numbers")
    rows = [_json_numbers(values, f"weights of stage {s}") for s, values in enumerate(data["weights"])]
    return data["domains"], _json_numbers(data["durations"], "durations"), rows


def _json_numbers(values: object, what: str) -> list[float]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise CommuteError(f"{what} are {values!r}: expected a list of numbers")
    return values


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
