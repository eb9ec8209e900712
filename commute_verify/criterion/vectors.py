"""Vectors in parameter space: dicts from parameter name to tensor, all with the same names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Vector = dict[str, Tensor]


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


def combine(factors: Iterable[float], vectors: Iterable[Mapping[str, Tensor]]) -> Vector:
    """Σ factor · vector."""
    pairs = [(factor, vector) for factor, vector in zip(factors, vectors, strict=True) if factor]
    total = zeros_like(pairs[0][1])
    for factor, vector in pairs:
        add_to(total, vector, factor)
    return total


def dot(x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> Tensor:
    """⟨x, y⟩ as a float64 scalar on the vectors' device."""
    products = (
        (x[name].to(wide(x[name].dtype)) * y[name].to(wide(y[name].dtype))).sum(dtype=torch.float64)
        for name in x
    )
    return torch.stack(list(products)).sum()


def norm(x: Mapping[str, Tensor]) -> float:
    """‖x‖."""
    lengths = [torch.linalg.vector_norm(t.to(wide(t.dtype))).double() for t in x.values()]
    return float(torch.stack(lengths).norm())
