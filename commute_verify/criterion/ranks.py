"""The ranks of a process group that estimate together: what one finds, or fails at, all know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from commute_verify.criterion import checked
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")


class RankError(CommuteError):
    """Another rank failed, ended or fell silent."""


class _Failure(NamedTuple):
    words: str


class Ranks:
    """The ranks of a group, or with None this process alone.

    Scalars go through ``exchange`` as Python objects; no vector is sent. A rank that ends or stays silent
    for longer than the group's timeout (``init_process_group(timeout=)``) is a RankError on the others.
    """

    def __init__(self, group: ProcessGroup | None = None) -> None:
        """Find this process's place in the group."""
        from torch import distributed

        self.number, self.size, self._group = 0, 1, group
        if group is None:
            return
        if not distributed.is_available() or not isinstance(group, distributed.ProcessGroup):
            raise CommuteError(
                f"{checked.shown('process_group', group)}; give torch.distributed.group.WORLD after "
                "init_process_group, or a new_group that this rank belongs to"
            )
        self.number, self.size = distributed.get_rank(group), distributed.get_world_size(group)

    def exchange(self, mine: T) -> list[T]:
        """What every rank gives here, by rank; RankError where one failed since the last exchange."""
        if self.size == 1:
            return [mine]
        found = self._gather(mine)
        for number, theirs in enumerate(found):
            if isinstance(theirs, _Failure):
                raise RankError(f"rank {number} failed: {theirs.words}")
        return cast("list[T]", found)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """An error inside ends the exchange that the other ranks wait in, or come to next."""
        try:
            yield
        except RankError:
            raise
        except Exception as error:
            if self.size > 1:
                with suppress(RankError):
                    self._gather(_Failure(f"{type(error).__name__}: {error}"))
            raise

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A collective inside that breaks, as where a rank ends, is a RankError."""
        from torch import distributed

        try:
            yield
        except RuntimeError as error:
            if "gloo" in str(error) or isinstance(error, getattr(distributed, "DistError", ())):
                raise self._in_vain(error) from error
            raise

    def _gather(self, mine: object) -> list[object]:
        from torch import distributed

        found: list[object] = [None] * self.size
        try:
            if distributed.get_backend(self._group) == "gloo":
                distributed.monitored_barrier(self._group)
            distributed.all_gather_object(found, mine, group=self._group)
        except RuntimeError as error:
            raise self._in_vain(error) from error
        return found

    def _in_vain(self, error: RuntimeError) -> RankError:
        told = re.split(r"\n|\. This is typically", str(error).strip())[0]
        return RankError(
            f"rank {self.number} waited in vain for the others ({told}); look for the first error in the "
            "logs of all ranks, or give init_process_group a longer timeout"
        )
