"""What every experiment's settings are held to first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_positive(settings: DataclassInstance, but: Collection[str] = ("seed",)) -> None:
    """Refuse fields, ``but`` those named, with a number that is not above 0, and tuples without an entry.

    >>> from dataclasses import make_dataclass
    >>> check_positive(make_dataclass("Sizes", ["seed", "widths"])(0, ((8, 0.5), (16, 0.1))))
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in but and (value == () or min(_numbers(value), default=1.0) <= 0):
            raise CommuteError(f"{field.name} is {value}: expected positive numbers, at least one")


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, tuple):
        for entry in value:
            yield from _numbers(entry)
    elif isinstance(value, int | float):
        yield value
