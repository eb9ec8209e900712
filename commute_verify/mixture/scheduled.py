"""``ScheduledMixture``: samples of several domains in the order that a weight schedule asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from commute_verify.errors import CommuteError
from commute_verify.mixture.progress import Order, Progress
from commute_verify.mixture.settings import check_settings
from commute_verify.mixture.sources import EndOfDomain, Exhausted, Reader, check_source, reader, sized
from commute_verify.mixture.state import pack, unpack
from commute_verify.mixture.turns import Turns
from commute_verify.mixture.units import Unit, counted
from commute_verify.schedules import WeightSchedule


class ScheduledMixture(IterableDataset[Any]):
    r"""Follow a schedule exactly: at every prefix no domain is a sample away from ∫w.

        |x_k(n) − ∫₀ⁿ w_k| ≤ 1 − 1/(2K − 2)        samples of domain k among the first n, for every n and k

    ``domains`` maps names to datasets: with a length and numbers (shuffled anew in every epoch by ``seed``;
    None keeps their order), or iterable (in their own order; what another worker or rank has is read and
    passed over, and one with a ``state_dict`` goes on where it stood). An iterable one must give the same
    samples in every worker; those of Hugging Face's ``datasets`` are read so. The bound is that of
    ``order="exact"``; "random" draws each sample's domain with its weight, and keeps the plan in mean only.

    The schedule's durations are ``unit``: "samples"; "steps" of ``batch_size`` samples on each of ``ranks``;
    or "tokens", its weights shares of tokens. These are kept in samples by ``tokens_per_sample``, the mean
    tokens of a sample of each domain; or as tokens, to within the longest sample, by ``length(sample)``, for
    which every process reads every sample.

    The order is one for all ranks and workers, which share it out: rank r has the samples r, r + ranks, …,
    and workers have whole batches in turn, as a DataLoader collects them: give it the same ``batch_size``.
    Iteration ends with the schedule, and goes on where it stopped. A domain that ends begins again
    (``exhausted="repeat"``), ends the mixture ("stop") or is an error ("error").

    ``state_dict()`` and ``load_state_dict()`` go on at the next sample, with other numbers of ranks and
    workers too. Where a DataLoader has workers, they run ahead on copies, and only the loop knows what has
    been trained: tell it with ``trained(samples)``, counted on this rank, before ``state_dict()`` or
    ``follow``. (torchdata's StatefulDataLoader keeps a state of its own, to be loaded by itself.)
    ``follow(schedule)`` changes the plan from here on; a running loader with workers must be begun anew.

    Raises CommuteError for domains that the schedule does not have, or lacks, an empty domain, a total that
    is not whole, and a state of another mixture.

    >>> from commute_verify import WeightSchedule
    >>> swap = WeightSchedule.blocks({"ru": 2, "en": 4})
    >>> list(ScheduledMixture({"en": "abcdef", "ru": "xyz"}, swap, seed=None))
    ['x', 'y', 'a', 'b', 'c', 'd']
    """

    def __init__(
        self,
        domains: Mapping[str, Any],
        schedule: WeightSchedule,
        *,
        unit: Unit = "samples",
        batch_size: int = 1,
        tokens_per_sample: Mapping[str, float] | None = None,
        length: Callable[[Any], int] | None = None,
        order: Order = "exact",
        rank: int = 0,
        ranks: int = 1,
        seed: int | None = 0,
        exhausted: Exhausted = "repeat",
        with_domain: bool = False,
    ) -> None:
        """Hold all of it to what can be followed; nothing is read."""
        super().__init__()
        if not isinstance(domains, Mapping) or not domains:
            raise CommuteError(f"domains is {type(domains).__name__}: give a mapping from names to datasets")
        check_settings(unit, batch_size, tokens_per_sample, length, order, rank, ranks, seed, exhausted)
        for name, dataset in domains.items():
            check_source(name, dataset)
        self.domains, self.unit, self.batch_size = dict(domains), unit, batch_size
        self.tokens_per_sample, self.length, self.order = tokens_per_sample, length, order
        self.rank, self.ranks, self.seed, self.exhausted = rank, ranks, seed, exhausted
        self.with_domain = with_domain
        self.names = tuple(self.domains)
        self._streams: dict[str, Any] = {}
        self._live: list[Reader] | None = None
        self._begun, self._group = 0, 0
        self._process: int | None = None
        none, turns = [0] * len(self.names), Turns.of(self._counted(schedule))
        self._progress = Progress(self.names, turns, none, list(none), order, seed, length)

    def follow(self, schedule: WeightSchedule) -> None:
        """Follow another schedule from the next sample on; what the plan owes a domain by then stays owed."""
        now = self._progress
        now.turns = Turns.of(self._counted(schedule), now.clock, now.turns.plan(now.clock))

    def trained(self, samples: int) -> None:
        """Say that this rank has trained on so many more samples, where workers have read them."""
        if type(samples) is not int or samples < 0:
            raise CommuteError(f"trained({samples!r}): give the number of samples of this rank")
        self._stop()
        readers, now = self._start() if self.length else [], self._progress
        for n in range(samples):
            try:
                if now.ended:
                    raise EndOfDomain
                for _ in range(self.ranks):
                    if not now.ended:
                        now.give(now.turn(readers), readers, read=False)
            except EndOfDomain:
                raise CommuteError(f"trained({samples}): the mixture ends after {n} of this rank") from None
        self._stop()

    def counts(self) -> dict[str, int]:
        """Samples of each domain so far, on all ranks together."""
        return dict(zip(self.names, self._progress.counts, strict=True))

    def tokens(self) -> dict[str, int]:
        """Tokens of each domain so far, on all ranks together, where ``length`` measures them."""
        if self.length is None:
            raise CommuteError("tokens() without length=: give a function from a sample to its tokens")
        return dict(zip(self.names, self._progress.spent, strict=True))

    def epochs(self) -> dict[str, float]:
        """How often each domain that has a length has been gone through: 1.5 is once and a half."""
        return {
            name: count / len(self.domains[name])
            for name, count in self.counts().items()
            if sized(self.domains[name])
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the mixture stands, for all ranks alike: plain data."""
        info = get_worker_info()
        worker = [info.id, info.num_workers, self._group] if info else None
        now = self._progress
        return pack(self._identity(), now.position, now.counts, now.spent, now.turns, self._records(), worker)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` stood, with the schedule that was followed then."""
        known, turns = unpack(state, self._identity())
        info, worker = get_worker_info(), known["worker"]
        if worker is not None and (info is None or worker[:2] != [info.id, info.num_workers]):
            raise CommuteError(
                "the state of one worker, which had run ahead: load it in its own loader, with as many "
                "workers, or give the mixture's own state_dict() after trained(samples)"
            )
        self._stop()
        now = self._progress
        now.turns, now.counts, now.spent = turns, list(known["counts"]), list(known["spent"])
        self._streams = dict(known["streams"])
        self._group, self._process = worker[2] if worker else 0, None

    def __iter__(self) -> Iterator[Any]:
        """The samples of this rank, and in a DataLoader's worker of this worker, from here on."""
        info, now = get_worker_info(), self._progress
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if info and self._process == os.getpid() and not now.ended:
            raise CommuteError("a worker that had run ahead is begun anew: give persistent_workers=False")
        self._process = os.getpid()
        readers = self._start()
        begun, stopped = self._begun, False
        while not (now.ended or stopped):
            mine = self._group // self.batch_size % workers == worker
            found = []
            for rank in range(self.ranks):
                if now.ended:
                    break
                k, here = now.turn(readers), mine and rank == self.rank
                try:
                    sample = now.give(k, readers, read=here)
                except EndOfDomain:
                    self._refuse_end(k)
                    stopped = True
                    break
                if here:
                    found.append((self.names[k], sample) if self.with_domain else sample)
            self._group += info is not None
            yield from found
            if begun != self._begun:
                raise CommuteError("the mixture was begun anew or set elsewhere: go on with a new iterator")

    def __getstate__(self) -> dict[str, Any]:
        """What a worker's copy begins with: where the streams stand, and none of the open ones."""
        return self.__dict__ | {"_streams": self._records(), "_live": None}

    def _start(self) -> list[Reader]:
        """Open every domain where it stands; iterators of before are told."""
        self._stop()
        self._live = [
            reader(
                name,
                self.domains[name],
                None if self.seed is None else (self.seed, k),
                self.exhausted,
                count,
                self._streams.get(name),
            )
            for k, (name, count) in enumerate(self.counts().items())
        ]
        return self._live

    def _stop(self) -> None:
        self._streams, self._live = self._records(), None
        self._progress.reopened()
        self._begun += 1

    def _records(self) -> dict[str, Any]:
        """Where the streams stood last that can say it; what has been read since is read again and let go."""
        found = (
            {} if self._live is None else dict(zip(self.names, (r.record() for r in self._live), strict=True))
        )
        return self._streams | {name: record for name, record in found.items() if record}

    def _refuse_end(self, k: int) -> None:
        if self.exhausted == "error":
            raise CommuteError(
                f"domain {self.names[k]!r} ends after {self._progress.counts[k]} samples, before the "
                "schedule does: give it more, or exhausted='repeat'"
            ) from None

    def _identity(self) -> dict[str, Any]:
        return {
            "domains": list(self.names),
            "sizes": [len(one) if sized(one) else None for one in self.domains.values()],
            "seed": self.seed,
            "order": self.order,
            "count": "tokens" if self.length else "samples",
        }

    def _counted(self, schedule: WeightSchedule) -> WeightSchedule:
        per_step = self.batch_size * self.ranks
        return counted(
            schedule, self.names, self.unit, per_step, self.tokens_per_sample, self.length is not None
        )
