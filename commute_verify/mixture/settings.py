"""What a mixture is asked for, held to."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

from commute_verify.errors import CommuteError


def check_settings(
    unit: object,
    batch_size: object,
    tokens_per_sample: object,
    length: object,
    order: object,
    rank: int,
    ranks: int,
    seed: object,
    exhausted: object,
) -> None:
    """CommuteError for the first setting that is none, or that does not go with another."""
    for what, number, least in (("batch_size", batch_size, 1), ("ranks", ranks, 1), ("rank", rank, 0)):
        if type(number) is not int or number < least:
            raise CommuteError(f"{what}={number!r}: give a whole number of at least {least}")
    if rank >= ranks:
        raise CommuteError(f"rank {rank} of {ranks}: ranks are counted from 0")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise CommuteError(f"seed={seed!r}: give a whole number of at least 0, or None to keep the order")
    for what, given, known in (
        ("exhausted", exhausted, ("repeat", "stop", "error")),
        ("unit", unit, ("samples", "steps", "tokens")),
        ("order", order, ("exact", "random")),
    ):
        if given not in known:
            raise CommuteError(f"{what}={given!r}: give {', '.join(map(repr, known[:-1]))} or {known[-1]!r}")
    if order == "random" and seed is None:
        raise CommuteError("order='random' without a seed: give seed=, a whole number")
    if length is None:
        return
    if not callable(length):
        raise CommuteError(f"length={length!r}: give a function from a sample to its number of tokens")
    if unit != "tokens" or tokens_per_sample is not None:
        raise CommuteError("length= counts real tokens: give unit='tokens', and no tokens_per_sample with it")
    if order == "random":
        raise CommuteError(
            "order='random' draws samples: give tokens_per_sample, the means, in place of length"
        )


def length_of(name: str, length: Callable[[Any], int], sample: Any) -> int:
    """The tokens of a sample, at least one."""
    tokens: object = length(sample)
    if not isinstance(tokens, Integral) or isinstance(tokens, bool) or tokens < 1:
        raise CommuteError(
            f"length is {tokens!r} for a sample of domain {name!r}: give a whole number of at least 1"
        )
    return int(tokens)
