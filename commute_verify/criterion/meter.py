"""What has been taken since the start: seconds, and peak memory."""

from __future__ import annotations

import sys
import time

import torch


class Meter:
    """A clock and the peak of memory, of the process on a CPU and of the allocator on a GPU."""

    def __init__(self, device: torch.device) -> None:
        """Start both."""
        self._device = device
        self._started = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def peak_bytes(self) -> int:
        """The most at once."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
