"""Data parallel training: who I am among the ranks, and the one sum that a step needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


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

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the process group that torchrun started, gloo or NCCL, for the length of a run."""
    if "RANK" not in os.environ or dist.is_initialized():
        yield Ranks.here()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks.here()
    finally:
        dist.destroy_process_group()


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
