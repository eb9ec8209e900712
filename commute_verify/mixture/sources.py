"""The samples of one domain, one after another, from any number on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.mixture.streams import Streamed

Exhausted = Literal["repeat", "stop", "error"]


class Reader(Protocol):
    """Goes through a domain's samples; all raise EndOfDomain where it has ended and does not begin again."""

    def take(self) -> Any:
        """The next sample."""

    def skip(self) -> None:
        """Pass over the next sample, unread where that is possible."""

    def peek(self) -> Any:
        """The next sample, which stays the next."""

    def record(self) -> dict[str, Any] | None:
        """Where a stream stands, plain data, if it can say."""


class EndOfDomain(Exception):
    """A domain has no further sample, and is not to begin again."""


def sized(dataset: Any) -> bool:
    """Whether a dataset is map-style: it has a length and takes numbers."""
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


def check_source(name: str, dataset: Any) -> None:
    """CommuteError for what cannot be read from, for a domain seen to be empty, and for one split by node."""
    if sized(dataset):
        if len(dataset) == 0:
            raise CommuteError(f"domain {name!r} is empty: give it at least one sample")
    elif not isinstance(dataset, Iterable):
        raise CommuteError(
            f"domain {name!r} is {type(dataset).__name__}: give a dataset with a length, or an iterable one"
        )
    elif hasattr(dataset, "__next__"):
        raise CommuteError(f"domain {name!r} is an iterator, which can be read once: give an iterable")
    elif getattr(dataset, "_distributed", None) is not None:
        raise CommuteError(
            f"domain {name!r} is split by node already: give every rank the whole of it, and rank= and ranks="
        )


class Indexed:
    """A map-style dataset: every epoch in an order drawn from the seed, or as it stands without one."""

    def __init__(self, dataset: Any, seed: tuple[int, ...] | None, repeat: bool, first: int) -> None:
        """Begin at sample ``first``."""
        self._dataset, self._seed, self._repeat = dataset, seed, repeat
        self._number, self._epoch, self._order = first, -1, np.zeros(0, np.int64)
        self._held: tuple[int, Any] | None = None

    def peek(self) -> Any:
        """The next sample, read once."""
        if self._held is None or self._held[0] != self._number:
            epoch, place = self._place()
            if self._seed is not None and epoch != self._epoch:
                self._order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._dataset))
                self._epoch = epoch
            index = place if self._seed is None else int(self._order[place])
            self._held = self._number, self._dataset[index]
        return self._held[1]

    def take(self) -> Any:
        """The next sample."""
        sample = self.peek()
        self._number, self._held = self._number + 1, None
        return sample

    def skip(self) -> None:
        """Nothing is read."""
        self._place()
        self._number += 1

    def record(self) -> None:
        """A number says it all."""

    def _place(self) -> tuple[int, int]:
        epoch, place = divmod(self._number, len(self._dataset))
        if epoch and not self._repeat:
            raise EndOfDomain
        return epoch, place


class Flowing:
    """An iterable dataset in its own order, pass after pass where it may begin again."""

    def __init__(self, stream: Streamed, first: int) -> None:
        """Begin at sample ``first``: from where the stream can go on, the rest read and let go."""
        self._stream = stream
        self._held: list[Any] = []
        self._peeked = False
        while stream.given < first:
            self.skip()

    def peek(self) -> Any:
        """The next sample, read once."""
        self._peeked = True
        if not self._held:
            self._held.append(self._read())
        return self._held[0]

    def take(self) -> Any:
        """The next sample."""
        return self._held.pop() if self._held else self._read()

    def skip(self) -> None:
        """Read one and let it go."""
        self.take()

    def record(self) -> dict[str, Any] | None:
        """None where samples are looked at ahead of their turn: the stream is past them."""
        return None if self._peeked else self._stream.record()

    def _read(self) -> Any:
        try:
            return next(self._stream)
        except StopIteration:
            raise EndOfDomain from None


def reader(
    name: str,
    dataset: Any,
    seed: tuple[int, ...] | None,
    exhausted: Exhausted,
    first: int,
    record: Mapping[str, Any] | None,
) -> Reader:
    """Read a domain from sample ``first`` on, a stream from its record where it has one."""
    check_source(name, dataset)
    if sized(dataset):
        return Indexed(dataset, seed, exhausted == "repeat", first)
    known = record if record and record["given"] <= first else None
    try:
        return Flowing(Streamed(name, dataset, exhausted == "repeat", known), first)
    except EndOfDomain:
        raise CommuteError(
            f"domain {name!r} ends before the {first} samples that were read of it: give the stream of then"
        ) from None
