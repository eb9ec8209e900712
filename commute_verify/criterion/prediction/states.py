"""Where a sweep keeps the states on its way: in memory, or in files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from commute_verify.errors import CommuteError


class Shelf:
    """Tensors under a number, on the CPU, or in a file each; what is taken is gone."""

    def __init__(self, folder: Path | None) -> None:
        """Keep files in this folder, or tensors in memory."""
        self._folder = folder
        self._held: dict[int, list[Tensor]] = {}

    def put(self, number: int, tensors: Sequence[Tensor]) -> None:
        """Keep tensors, which nobody writes to; CommuteError where a file cannot be written."""
        if self._folder is None:
            self._held[number] = [t.cpu() for t in tensors]
            return
        try:
            with open(self._folder / f"{number}", "wb") as file:
                for t in tensors:
                    np.save(file, t.cpu().numpy(), allow_pickle=False)
        except OSError as error:
            size = sum(t.numel() * t.element_size() for t in tensors) / 2**20
            reason = error.strerror or error
            raise CommuteError(
                f"cannot keep a state of {size:.3g} MiB in {self._folder.parent} ({reason}); "
                "make room there, or give another folder as states="
            ) from error

    def take(self, number: int, device: torch.device) -> list[Tensor]:
        """The tensors, on the device."""
        if self._folder is None:
            return [t.to(device) for t in self._held.pop(number)]
        path = self._folder / f"{number}"
        found = []
        with open(path, "rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                found.append(torch.from_numpy(np.load(file, allow_pickle=False)).to(device))
        path.unlink()
        return found


@contextmanager
def shelf(folder: Path | None) -> Iterator[Shelf]:
    """A shelf that is gone at the end, with all its files, which lie in a new folder under ``folder``."""
    if folder is None:
        yield Shelf(None)
        return
    try:
        own = TemporaryDirectory(prefix="states-", dir=folder)
    except OSError as error:
        raise CommuteError(
            f"cannot keep states in {folder} ({error.strerror}); give a folder that can be written to"
        ) from error
    with own as name:
        yield Shelf(Path(name))
