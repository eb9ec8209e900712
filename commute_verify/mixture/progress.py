"""How far a mixture is, and whose turn it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from commute_verify.mixture.draws import drawn_turn
from commute_verify.mixture.lengths import earliest_end
from commute_verify.mixture.settings import length_of
from commute_verify.mixture.sources import EndOfDomain, Reader
from commute_verify.mixture.turns import Turns

Order = Literal["exact", "random"]


@dataclass
class Progress:
    """Samples and, where ``length`` measures them, tokens of each domain so far (K,), beside the plan.

    ``turns`` counts in tokens where there is a ``length``, and in samples otherwise.
    """

    names: tuple[str, ...]
    turns: Turns
    counts: list[int]
    spent: list[int]
    order: Order
    seed: int | None
    length: Callable[[Any], int] | None
    _ahead: dict[int, int] = field(default_factory=dict)

    @property
    def position(self) -> int:
        """Samples so far."""
        return sum(self.counts)

    @property
    def clock(self) -> int:
        """Where the plan stands: tokens or samples so far."""
        return sum(self.spent) if self.length else self.position

    @property
    def ended(self) -> bool:
        """Whether the plan is at its end."""
        return self.clock >= (self.turns.end if self.length else round(self.turns.end))

    def turn(self, readers: Sequence[Reader]) -> int:
        """Whose turn it is; the readers are looked at where lengths decide."""
        if self.length:
            return earliest_end(self.turns, self.spent, [self._next(k, readers) for k in range(len(readers))])
        if self.order == "random":
            return drawn_turn(self.turns, self.position, self.seed or 0)
        return self.turns.next(self.position, self.counts)

    def give(self, k: int, readers: Sequence[Reader], read: bool) -> Any:
        """The next sample of a domain, None if it is not to be read, and one step further."""
        sample = None
        if readers and read:
            sample = readers[k].take()
        elif readers:
            readers[k].skip()
        self.spent[k] += self._ahead.pop(k, 0)
        self.counts[k] += 1
        return sample

    def reopened(self) -> None:
        """The readers are new: what was looked at ahead is looked at again."""
        self._ahead.clear()

    def _next(self, k: int, readers: Sequence[Reader]) -> int:
        """The length of a domain's next sample; 1 where there is none, which its turn will tell."""
        if k not in self._ahead and self.length:
            try:
                self._ahead[k] = length_of(self.names[k], self.length, readers[k].peek())
            except EndOfDomain:
                self._ahead[k] = 1
        return self._ahead[k]
