"""How far a run is, and when it will end: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from experiments.gpt2.metrics import Losses

SECONDS = 30.0
"""Between two lines of a log."""


class Progress:
    """Tells the steps done of a total, losses in bits per byte, tokens per second, MFU and the time left."""

    def __init__(self, done: int, total: int, shown: bool) -> None:
        """Start with so many steps done; tell nothing unless `shown`."""
        self._done, self._total, self._shown = done, total, shown
        self._begun, self._at, self._told = done, time.monotonic(), time.monotonic()
        self._bar = _bar(done, total) if shown and sys.stderr.isatty() else None

    def tell(self, steps: int, bits: Losses, speed: float, mfu: float | None) -> None:
        """So many more steps are done."""
        self._done += steps
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(_figures(bits, speed, mfu), refresh=False)
            self._bar.update(steps)
        elif self._shown and (now - self._told >= SECONDS or self._done == self._total):
            self._told = now
            left = (now - self._at) / (self._done - self._begun) * (self._total - self._done)
            line = f"step {self._done}/{self._total}: {_figures(bits, speed, mfu)}; about {_clock(left)} left"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


def _figures(bits: Losses, speed: float, mfu: float | None) -> str:
    losses = ", ".join(f"{name} {value:.3f}" for name, value in bits.items() if value is not None)
    return f"bits/byte {losses}; {speed:,.0f} tokens/s" + ("" if mfu is None else f", MFU {mfu:.0%}")


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _bar(done: int, total: int) -> Any:
    from tqdm import tqdm

    layout = "{n_fmt}/{total_fmt} steps |{bar}| {elapsed} gone, about {remaining} left  {postfix}"
    return tqdm(total=total, initial=done, bar_format=layout, mininterval=0.5)
