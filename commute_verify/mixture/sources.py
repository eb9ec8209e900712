"""The samples of one domain, one after another, from any number on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol

import numpy as np

from commute_verify.errors import CommuteError

Exhausted = Literal["repeat", "stop", "error"]


class ExhaustedError(Exception):
    """A domain has no further sample, and is not to begin again."""


class Reader(Protocol):
    """Goes through a domain's samples; both raise ExhaustedError at the end."""

    def take(self) -> Any:
        """The next sample."""

    def skip(self) -> None:
        """Pass over the next sample, unread where that is possible."""


class Indexed:
    """A map-style dataset: every epoch in an order drawn from the seed, or as it stands without one."""

    def __init__(
        self, name: str, dataset: Any, seed: tuple[int, ...] | None, exhausted: Exhausted, first: int
    ) -> None:
        """Begin at sample ``first``; CommuteError where there is none at all."""
        if len(dataset) == 0:
            raise CommuteError(f"domain {name!r} is empty: give it at least one sample")
        self._name, self._dataset, self._seed, self._exhausted = name, dataset, seed, exhausted
        self._number, self._epoch, self._order = first, -1, np.zeros(0, np.int64)

    def take(self) -> Any:
        """The next sample."""
        epoch, place = divmod(self._number, len(self._dataset))
        if epoch and self._exhausted != "repeat":
            raise ExhaustedError(self._name)
        if self._seed is not None and epoch != self._epoch:
            self._order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._dataset))
            self._epoch = epoch
        self._number += 1
        return self._dataset[place if self._seed is None else int(self._order[place])]

    def skip(self) -> None:
        """Nothing is read."""
        if self._number >= len(self._dataset) and self._exhausted != "repeat":
            raise ExhaustedError(self._name)
        self._number += 1


class Streamed:
    """An iterable dataset in its own order, pass after pass where it may begin again."""

    def __init__(self, name: str, dataset: Iterable[Any], exhausted: Exhausted, first: int) -> None:
        """Begin at sample ``first``, those before it read and let go."""
        if iter(dataset) is dataset:
            raise CommuteError(f"domain {name!r} is an iterator, which can be read once: give an iterable")
        self._name, self._dataset, self._exhausted = name, dataset, exhausted
        self._samples = self._passes()
        for _ in range(first):
            self.skip()

    def take(self) -> Any:
        """The next sample."""
        try:
            return next(self._samples)
        except StopIteration:
            raise ExhaustedError(self._name) from None

    def skip(self) -> None:
        """Read one and let it go."""
        self.take()

    def _passes(self) -> Iterator[Any]:
        again = True
        while again:
            count = 0
            for sample in self._dataset:
                count += 1
                yield sample
            if not count:
                raise CommuteError(f"domain {self._name!r} is empty: give it at least one sample")
            again = self._exhausted == "repeat"


def reader(name: str, dataset: Any, seed: tuple[int, ...] | None, exhausted: Exhausted, first: int) -> Reader:
    """A map-style dataset has a length and takes numbers, any other is iterated."""
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return Indexed(name, dataset, seed, exhausted, first)
    if isinstance(dataset, Iterable):
        return Streamed(name, dataset, exhausted, first)
    raise CommuteError(
        f"domain {name!r} is {type(dataset).__name__}: give a dataset with a length, or an iterable one"
    )
