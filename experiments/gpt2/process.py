"""What a run asks of its process: numbers that repeat, and a stop that waits for the step to end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from experiments.gpt2 import checkpoint as checkpoints


@contextmanager
def repeatable(device: torch.device, seed: int, rng: Mapping[str, str] | None) -> Iterator[None]:
    """Set PyTorch's generators from a checkpoint or the seed; on a GPU, choose kernels that repeat.

    CPU kernels give the same bits every time by themselves. What was set before comes back at the end.
    """
    before, strict = checkpoints.rng_states(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(seed)
    if rng is not None:
        checkpoints.restore_rng(rng)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        checkpoints.restore_rng(before)
        torch.use_deterministic_algorithms(strict)


class Stop:
    """Whether someone asked the run to stop."""

    asked = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop after the step; the second stops at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        stop.asked = True
        signal.signal(number, before[number] or signal.SIG_DFL)

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
