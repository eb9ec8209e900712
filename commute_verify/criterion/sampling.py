"""Batches for independent roles: each batch is drawn once and serves one role of one replicate."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Batch
from commute_verify.criterion.ranks import Ranks
from commute_verify.errors import CommuteError

GROUP = 10
"""Batches of a domain in one replicate, where there are enough."""
FEWEST_GROUPS, SMALLEST_GROUP = 4, 2
_END = object()


class Drawn(NamedTuple):
    """A batch and its number in its domain, from 1."""

    number: int
    batch: Batch


class Roles(NamedTuple):
    """One domain's batches in one replicate: for its own field, g and H, and for the target's gradient."""

    field: list[Drawn]
    target: list[Drawn]

    @staticmethod
    def sizes(batches: int) -> tuple[int, int]:
        """How many batches of a replicate serve the field, and how many the target."""
        return batches - batches // 2, batches // 2


def group_sizes(batches: int, ranks: int = 1) -> list[int]:
    """How many batches each replicate takes of every domain; where they suffice, a replicate for each rank.

    >>> group_sizes(100), group_sizes(9)
    ([10, 10, 10, 10, 10, 10, 10, 10, 10, 10], [3, 2, 2, 2])
    """
    fewest = FEWEST_GROUPS * SMALLEST_GROUP
    batches = checked.whole(
        batches,
        "batches",
        fewest,
        but=f"of at least {fewest}: {FEWEST_GROUPS} replicates of {SMALLEST_GROUP} independent batches",
    )
    groups = max(
        FEWEST_GROUPS, min(batches // SMALLEST_GROUP, max(min(round(batches / GROUP), GROUP), ranks))
    )
    size, rest = divmod(batches, groups)
    return [size + (number < rest) for number in range(groups)]


class Supply:
    """The batches of every domain, drawn in turn and never twice; ranks in step end and fail together."""

    def __init__(
        self, domains: Mapping[str, Iterable[Batch]], seed: int, needed: int = 1, in_step: Ranks | None = None
    ) -> None:
        """Start each domain's iterable once; those that know that they hold fewer than needed are refused."""
        self._ranks = in_step or Ranks()
        self._iterators: dict[str, Iterator[Batch]] = {}
        with self._ranks.failing_together():
            self._start(domains, needed)
        self._drawn = dict.fromkeys(domains, 0)
        self._random = random.Random(seed)
        self._waiting: dict[str, Drawn] = {}

    def _start(self, domains: Mapping[str, Iterable[Batch]], needed: int) -> None:
        for name, batches in domains.items():
            length = _length(batches)
            if length is not None and length < needed:
                raise ExhaustedError(
                    f"domain {name!r} holds {length} batches of the {needed} that are needed; give more, or "
                    "ask for fewer with batches="
                )
        try:
            for name, batches in domains.items():
                self._iterators[name] = checked.started(batches, f"domain {name!r}")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End loaders' workers and generators now, even while the traceback of an error holds them."""
        for iterator in self._iterators.values():
            end(iterator)
        self._iterators.clear()

    def peek(self, name: str) -> Batch:
        """The next batch of a domain, which stays in line."""
        if name not in self._waiting:
            self._waiting[name] = self._next(name)
        return self._waiting[name].batch

    def take(self, name: str, size: int) -> list[Drawn]:
        """The next ``size`` batches of a domain, shuffled."""
        drawn = [self._waiting.pop(name)] if name in self._waiting else []
        while len(drawn) < size:
            drawn.append(self._next(name))
        self._random.shuffle(drawn)
        return drawn

    def roles(self, name: str, size: int) -> Roles:
        """The next ``size`` batches of a domain, dealt to the roles at random."""
        drawn = self.take(name, size)
        field, _ = Roles.sizes(size)
        return Roles(drawn[:field], drawn[field:])

    def skip(self, name: str, size: int) -> None:
        """Leave as many batches to another rank: the next are dealt as they would be after them."""
        self._random.shuffle([None] * size)

    def _next(self, name: str) -> Drawn:
        with self._ranks.failing_together():
            batch = next(self._iterators[name], _END)
        if any(self._ranks.exchange(batch is _END)):
            raise ExhaustedError(
                f"domain {name!r} ran out after {self._drawn[name]} batches; give more, or ask for fewer "
                "with batches="
            )
        self._drawn[name] += 1
        return Drawn(self._drawn[name], batch)


def end(iterator: Iterator[Batch]) -> None:
    """End a loader's workers or a generator, if the iterator is one."""
    finish = getattr(iterator, "_shutdown_workers", None) or getattr(iterator, "close", None)
    if finish is not None:
        finish()


class ExhaustedError(CommuteError):
    """A domain has no batch left."""


def _length(batches: Iterable[Batch]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:
        return None
