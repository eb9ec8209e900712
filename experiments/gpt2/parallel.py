"""Data parallel training: who I am among the ranks, and the one sum that a step needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from commute_verify.errors import CommuteError

PATIENCE = timedelta(hours=6)
"""How long ranks wait for the first one, which tokenises the data."""


@dataclass(frozen=True)
class Ranks:
    """Rank ``rank`` of ``count`` processes, of which 0 is the one that writes."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """The ranks of the process group, or one rank where there is none."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def main(self) -> bool:
        """Whether this rank writes."""
        return self.rank == 0

    def add(self, numbers: Tensor) -> None:
        """Put the sum over all ranks in place of the numbers."""
        if self.count > 1:
            dist.all_reduce(numbers)

    def on_main(self, action: Callable[[], object]) -> None:
        """Let the rank that writes do something while the others wait; if it fails, all of them fail.

        The first rank raises its own CommuteError, the others one that points to it.
        """
        failure: CommuteError | None = None
        if self.main:
            try:
                action()
            except CommuteError as error:
                failure = error
        if self.count > 1:
            device = "cuda" if dist.get_backend() == "nccl" else "cpu"
            failed = torch.tensor([float(failure is not None)], device=device)
            dist.all_reduce(failed)
            if failed.item() and failure is None:
                raise CommuteError("the first rank failed: see its message")
        if failure is not None:
            raise failure


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the process group that torchrun started, gloo or NCCL, for the length of a run."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield Ranks.here()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield Ranks.here()
    finally:
        dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End this process; a rank ends at once.

    Gloo's threads may still hold tensors when the group is gone, and one that lets go of a tensor while the
    interpreter shuts down aborts the process.
    """
    if "RANK" not in os.environ:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Reduced:
    """Gradients of a model and a few numbers beside them, summed over the ranks in one all-reduce.

    With one rank gradients are PyTorch's own and nothing is copied. With more, they are views of one buffer,
    and ``numbers`` is its end.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, extra: int) -> None:
        """Make room for the gradients, if there is more than one rank, and for ``extra`` numbers."""
        self._ranks = ranks
        self._parameters = list(model.parameters())
        device = self._parameters[0].device
        size = sum(p.numel() for p in self._parameters) if ranks.count > 1 else 0
        self._buffer = torch.zeros(size + extra, device=device)
        self.numbers = self._buffer[size:]
        if ranks.count > 1:
            place = 0
            for p in self._parameters:
                p.grad = self._buffer[place : place + p.numel()].view_as(p)
                place += p.numel()

    def clear(self) -> None:
        """Start a step: no gradient, numbers 0."""
        self._buffer.zero_()
        if self._ranks.count == 1:
            for p in self._parameters:
                p.grad = None

    def add_up(self) -> None:
        """Sum over the ranks."""
        self._ranks.add(self._buffer)
