"""``ScheduledMixture``: samples of several domains in the order that a weight schedule asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from commute_verify.errors import CommuteError
from commute_verify.mixture.sources import Exhausted, ExhaustedError, Reader, reader
from commute_verify.mixture.turns import Turns
from commute_verify.schedules import WeightSchedule

Unit = Literal["samples", "steps", "tokens"]
FORMAT, VERSION = "commute_verify.scheduled_mixture", 1


class ScheduledMixture(IterableDataset[Any]):
    r"""Follow a schedule exactly: at every prefix no domain is a sample away from ∫w.

        |x_k(n) − ∫₀ⁿ w_k| ≤ 1 − 1/(2K − 2)        samples of domain k among the first n, for every n and k

    ``domains`` maps names to datasets: with a length and numbers (shuffled anew in every epoch by ``seed``;
    None keeps their order), or iterable (in their own order; what another worker, another rank or an earlier
    run has is read and passed over). The schedule's durations are ``unit``: "samples"; "steps" of
    ``batch_size`` samples on each of ``ranks``; or "tokens", with the mean tokens of a sample of each domain
    in ``tokens_per_sample``: then its weights are shares of tokens, and the plan is kept in samples.

    The order is one for all ranks and workers, which share it out: rank r has the samples r, r + ranks, …,
    and workers have whole batches in turn, as a DataLoader collects them: give it the same ``batch_size``.
    Iteration ends with the schedule, and goes on where it stopped. A domain that ends begins again
    (``exhausted="repeat"``), ends the mixture ("stop") or is an error ("error").

    ``state_dict()`` and ``load_state_dict()`` go on at the next sample, with other numbers of ranks and
    workers too. Where a DataLoader has workers, they run ahead on copies, and only the loop knows what has
    been trained: tell it with ``trained(samples)``, counted on this rank, before ``state_dict()``.
    ``follow(schedule)`` changes the plan from here on.

    Raises CommuteError for domains that the schedule does not have, or lacks, an empty domain, and a state of
    another mixture.

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
        for what, number, least in (("batch_size", batch_size, 1), ("ranks", ranks, 1), ("rank", rank, 0)):
            if type(number) is not int or number < least:
                raise CommuteError(f"{what}={number!r}: give a whole number of at least {least}")
        if rank >= ranks:
            raise CommuteError(f"rank {rank} of {ranks}: ranks are counted from 0")
        if exhausted not in ("repeat", "stop", "error"):
            raise CommuteError(f"exhausted={exhausted!r}: give 'repeat', 'stop' or 'error'")
        if unit not in ("samples", "steps", "tokens"):
            raise CommuteError(f"unit={unit!r}: give 'samples', 'steps' or 'tokens'")
        self.domains, self.unit, self.batch_size = dict(domains), unit, batch_size
        self.tokens_per_sample = dict(tokens_per_sample or {})
        self.rank, self.ranks, self.seed, self.exhausted = rank, ranks, seed, exhausted
        self.with_domain = with_domain
        self.names = tuple(self.domains)
        self._position, self._counts = 0, [0] * len(self.names)
        self._turns = Turns.of(self._in_samples(schedule))

    def follow(self, schedule: WeightSchedule) -> None:
        """Follow another schedule from the next sample on; what the plan owes a domain by then stays owed."""
        base = self._turns.plan(self._position)
        self._turns = Turns.of(self._in_samples(schedule), self._position, base)

    def trained(self, samples: int) -> None:
        """Say that this rank has trained on so many more samples, where workers have read them."""
        if type(samples) is not int or samples < 0:
            raise CommuteError(f"trained({samples!r}): give the number of samples of this rank")
        for _ in range(samples * self.ranks):
            if self._position >= self._length:
                break
            self._turn()

    def counts(self) -> dict[str, int]:
        """Samples of each domain so far, on all ranks together."""
        return dict(zip(self.names, self._counts, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Where the mixture stands, for all ranks alike: plain data."""
        turns = self._turns
        return {
            "format": FORMAT,
            "version": VERSION,
            "domains": list(self.names),
            "seed": self.seed,
            "position": self._position,
            "counts": list(self._counts),
            "plan": [list(turns.starts), [list(b) for b in turns.bases], [list(w) for w in turns.weights]],
            "end": turns.end,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` stood, with the schedule that was followed then."""
        if not isinstance(state, Mapping) or (state.get("format"), state.get("version")) != (FORMAT, VERSION):
            raise CommuteError(
                "not the state of a ScheduledMixture, or of another version: give state_dict()"
            )
        if (tuple(state["domains"]), state["seed"]) != (self.names, self.seed):
            raise CommuteError(
                f"a state of {', '.join(state['domains'])} with seed {state['seed']}, and the mixture is of "
                f"{', '.join(self.names)} with seed {self.seed}: build it as it was"
            )
        starts, bases, weights = state["plan"]
        self._position, self._counts = int(state["position"]), list(state["counts"])
        self._turns = Turns(tuple(starts), tuple(map(tuple, bases)), tuple(map(tuple, weights)), state["end"])

    def __iter__(self) -> Iterator[Any]:
        """The samples of this rank, and in a DataLoader's worker of this worker, from here on."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        readers = self._readers()
        group = 0
        while self._position < self._length:
            mine = group // self.batch_size % workers == worker
            found = []
            for rank in range(min(self.ranks, self._length - self._position)):
                k = self._turn()
                try:
                    if mine and rank == self.rank:
                        found.append((self.names[k], readers[k].take()))
                    else:
                        readers[k].skip()
                except ExhaustedError:
                    if self.exhausted == "stop":
                        return
                    raise CommuteError(
                        f"domain {self.names[k]!r} ends after {self._counts[k] - 1} samples, before the "
                        "schedule does: give it more, or exhausted='repeat'"
                    ) from None
            group += 1
            for name, sample in found:
                yield (name, sample) if self.with_domain else sample

    @property
    def _length(self) -> int:
        return round(self._turns.end)

    def _turn(self) -> int:
        k = self._turns.next(self._position, self._counts)
        self._counts[k] += 1
        self._position += 1
        return k

    def _readers(self) -> list[Reader]:
        return [
            reader(name, self.domains[name], None if self.seed is None else (self.seed, k), self.exhausted, n)
            for k, (name, n) in enumerate(zip(self.names, self._counts, strict=True))
        ]

    def _in_samples(self, schedule: WeightSchedule) -> WeightSchedule:
        """Durations and weights in samples, in the order of the domains."""
        if not isinstance(schedule, WeightSchedule):
            raise CommuteError(f"schedule is {type(schedule).__name__}: give a WeightSchedule")
        odd = sorted(set(schedule.domains) ^ set(self.names))
        if odd:
            raise CommuteError(
                f"schedule and datasets differ in {', '.join(odd)}: give each domain weights and a dataset"
            )
        rows = schedule.weights[:, [schedule.domains.index(name) for name in self.names]]
        lengths = np.asarray(schedule.durations)
        if self.unit == "steps":
            lengths = lengths * (self.batch_size * self.ranks)
        if self.unit == "tokens":
            means = np.array([self.tokens_per_sample.get(name, math.nan) for name in self.names])
            if not (means > 0).all():
                raise CommuteError(
                    f"tokens_per_sample={self.tokens_per_sample}: a schedule in tokens needs a mean above 0 "
                    f"for each of {', '.join(self.names)}"
                )
            counts = lengths[:, None] * rows / means
            lengths = counts.sum(axis=1)
            rows = counts / lengths[:, None]
        return WeightSchedule(self.names, lengths, rows)
