"""Orthonormal vectors that become more, kept in blocks so that none is copied."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 8
"""Vectors in a block."""


class Basis:
    """Q (m, n), rows orthonormal, of vectors like ``start`` (n,), on ``device`` or else where that is.

    ``len`` is m. A basis on the CPU leaves a GPU's memory to the model; what is orthogonalised, or combined
    of it, is then moved there and back, n numbers each time.

    >>> basis = Basis(torch.ones(2))
    >>> basis.append(torch.tensor([1.0, 0.0]))
    >>> w, along = basis.orthogonalised(torch.tensor([3.0, 4.0]))
    >>> w.tolist(), along.tolist()
    ([0.0, 4.0], [3.0])
    """

    def __init__(self, start: Tensor, device: torch.device | None = None) -> None:
        """Begin with nothing."""
        self._home = start.device
        self._empty = torch.empty(0, len(start), dtype=start.dtype, device=device or start.device)
        self._blocks: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        """Vectors so far."""
        return self._count

    def append(self, row: Tensor) -> None:
        """One vector (n,) more, of length 1; it is copied."""
        place = self._count % ROWS
        if not place:
            self._blocks.append(self._empty.new_empty(ROWS, len(row)))
        self._blocks[-1][place] = row
        self._count += 1

    @property
    def last(self) -> Tensor:
        """The latest vector (n,), where the start was."""
        return self._filled()[-1][-1].to(self._home)

    def orthogonalised(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """What of w (n,) is orthogonal to Q, by two passes of Gram–Schmidt, and its parts (m,) along Q."""
        left, along = w.to(self._empty), self._empty.new_zeros(self._count)
        for _ in range(2):
            parts = torch.cat([block @ left for block in self._filled()])
            left, along = left - self._combined(parts), along + parts
        return left.to(self._home), along

    def combined(self, coefficients: Tensor) -> Tensor:
        """Σ c_i q_i (n,) of coefficients (m,), where the start was."""
        return self._combined(coefficients.to(self._empty)).to(self._home)

    def matrix(self) -> Tensor:
        """Q (m, n) as one tensor, a copy."""
        return torch.cat(self._filled())

    def _filled(self) -> list[Tensor]:
        return [*self._blocks[:-1], self._blocks[-1][: (self._count - 1) % ROWS + 1]]

    def _combined(self, parts: Tensor) -> Tensor:
        blocks = self._filled()
        total = self._empty.new_zeros(self._empty.shape[1])
        for some, block in zip(torch.split(parts, [len(block) for block in blocks]), blocks, strict=True):
            total.addmv_(block.T, some)
        return total
