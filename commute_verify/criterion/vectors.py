"""Vectors in parameter space: dicts from parameter name to tensor, all with the same names.

Tensors may be DTensors whose shards lie on several ranks, all spread alike: what is elementwise is done on
the shards, and ``dots``, lengths and ``is_finite`` are reduced over the ranks, which all get one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from commute_verify.criterion.shards import local, over_ranks

Vector = dict[str, Tensor]
SQUARES = (1e-12, 1e15)
"""Lengths between which the squares of all entries that count are float32 numbers."""
STRETCH = (2**19, 2**26)
"""Entries cast to float64 at a time for dot products, all vectors together: on a CPU, and on a GPU."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums are kept in: float32 for half precision, else the dtype itself."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def zeros_like(vector: Mapping[str, Tensor]) -> Vector:
    """The zero vector, in the wide dtype."""
    return {name: torch.zeros_like(t, dtype=wide(t.dtype)) for name, t in vector.items()}


def add_to(total: Vector, vector: Mapping[str, Tensor], factor: float = 1.0) -> None:
    """total += factor · vector, in place."""
    for name, t in total.items():
        t.add_(vector[name].to(t.dtype), alpha=factor)


def scale(vector: Vector, factor: float) -> None:
    """vector *= factor, in place."""
    for t in vector.values():
        t.mul_(factor)


def dots(x: Sequence[Mapping[str, Tensor]], y: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """⟨x_a, y_b⟩ as (A, B) in float64 on their device, stretch by stretch, so that casts stay small."""
    one = next(iter(x[0].values()))
    device = one.device
    total = torch.zeros(len(x), len(y), dtype=torch.float64, device=device)
    stretch = STRETCH[device.type == "cuda"] // (len(x) + len(y))
    for name in x[0]:
        left, right = ([local(vector[name]).reshape(-1) for vector in vectors] for vectors in (x, y))
        for start in range(0, left[0].numel(), stretch):
            a, b = (
                torch.stack([flat[start : start + stretch] for flat in flats]).double()
                for flats in (left, right)
            )
            total.addmm_(a, b.T)
    return over_ranks(total, one)


def dot(x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> Tensor:
    """⟨x, y⟩ as a float64 scalar on the vectors' device."""
    return dots([x], [y])[0, 0]


def norm(x: Mapping[str, Tensor]) -> float:
    """‖x‖."""
    return _length(lambda: x.values())


def _length(tensors: Callable[[], Iterable[Tensor]]) -> float:
    """The root of the sum of all squares; where float32 could not hold a square, in float64."""
    for dtype in (None, torch.float64):
        lengths = []
        for one in tensors():
            shard = local(one)
            lengths.append(torch.linalg.vector_norm(shard, dtype=dtype or wide(shard.dtype)).double())
        own = torch.stack(lengths).norm()
        length = float(own if local(one) is one else over_ranks(own.square(), one).sqrt())
        if SQUARES[0] < length < SQUARES[1]:
            break
    return length


def is_finite(x: Mapping[str, Tensor]) -> bool:
    """Whether every entry is a number."""
    finite = torch.stack([local(t).sum() for t in x.values()]).isfinite().all()
    return bool(over_ranks(finite.double(), next(iter(x.values())), least=True))


def relative_gap(x: Mapping[str, Tensor], y: Mapping[str, Tensor], least: float = 0.0) -> float:
    """‖x − y‖ over the largest of ‖x‖, ‖y‖ and ``least``; 0 where all three are."""
    size = max(norm(x), norm(y), least)
    return _length(lambda: (t - y[name] for name, t in x.items())) / size if size else 0.0
