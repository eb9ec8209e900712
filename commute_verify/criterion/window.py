"""A domain's batches from where the last estimate stopped, round and round, none twice in one estimate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from commute_verify.criterion.objective import Batch
from commute_verify.criterion.sampling import end
from commute_verify.criterion.undisturbed import apart


class Window:
    """A re-iterable of one domain's batches that starts at ``start`` and wraps round to end where it began.

    ``next`` is where the estimate after this one starts: behind the last batch that was taken. A sequence is
    entered by index; another iterable is read from its front, and the batches before ``start`` are dropped.
    """

    def __init__(self, batches: Iterable[Batch], start: int) -> None:
        """Look at a domain from its batch number ``start``, counted from 0."""
        self._batches, self.start, self.next = batches, start, start

    def __iter__(self) -> Iterator[Batch]:
        """Batches from ``start`` on, then those before it."""
        self.next = self.start
        if isinstance(self._batches, Sequence):
            return self._by_index(self._batches)
        return self._in_turn()

    def __len__(self) -> int:
        """How many batches the domain holds; TypeError where it does not know."""
        if not isinstance(self._batches, Sized):
            raise TypeError("a stream has no length")
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        """The domain's own: the generator of a loader, and its samplers."""
        return getattr(self.__dict__["_batches"], name)

    def _by_index(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        start = self.start % max(len(batches), 1)
        for place in (*range(start, len(batches)), *range(start)):
            self.next = place + 1
            yield batches[place]

    def _in_turn(self) -> Iterator[Batch]:
        length = 0
        for first in (True, False):
            inner = iter(apart(self._batches))
            try:
                for place, batch in enumerate(inner):
                    if first:
                        length = place + 1
                    elif place == min(self.start, length):
                        return
                    if not first or place >= self.start:
                        self.next = place + 1
                        yield batch
            finally:
                end(inner)
