"""Tensors and models that are spread over ranks: a DTensor's shard here, and sums over all shards."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn


def local(tensor: Tensor) -> Tensor:
    """A DTensor's shard on this rank, in place; any other tensor as it is."""
    shard = getattr(tensor, "to_local", None)
    return tensor if shard is None else shard()


def over_ranks(total: Tensor, tensor: Tensor, *, least: bool = False) -> Tensor:
    """The sum, or the least, of a number that each rank has of its shards; ``tensor`` tells who they are."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is not None:
        from torch import distributed

        operation = distributed.ReduceOp.MIN if least else distributed.ReduceOp.SUM
        distributed.all_reduce(total, operation, mesh.get_group())
    return total


def like(whole: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that every rank has in full, on the other's device, in its dtype and spread as it is."""
    mesh = getattr(tensor, "device_mesh", None)
    placed = whole.to(tensor.device, tensor.dtype)
    if mesh is None:
        return placed
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(placed, mesh, tensor.placements, src_data_rank=None)  # type: ignore[attr-defined]


def sharded_modules(model: nn.Module) -> list[Any]:
    """The modules that ``fully_shard`` was called on; without loading what it needs where it was not."""
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    return [m for m in model.modules() if isinstance(m, fsdp.FSDPModule)] if fsdp else []


def is_spread(model: nn.Module) -> bool:
    """Whether any parameter is spread over ranks, gathered for a pass or not."""
    return bool(sharded_modules(model)) or any(hasattr(p, "device_mesh") for p in model.parameters())
