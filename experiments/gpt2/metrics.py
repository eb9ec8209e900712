"""What a run tells: metrics.jsonl, the line on the terminal, TensorBoard if asked."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.storage import reason, write

METRICS = "metrics.jsonl"
Losses = Mapping[str, float | None]


class Metrics:
    """One JSON object a line: of every step, and of every evaluation; each step stands there once."""

    def __init__(
        self, run: Path, resumed: int | None, bytes_per_token: Mapping[str, Mapping[str, float]], board: bool
    ) -> None:
        """Start, or go on after so many steps: what an interrupted run wrote of later ones is dropped.

        What the file holds of earlier steps stays, and is not written again. ``bytes_per_token`` is of each
        split ("train" and "validation") and domain.
        """
        self._board = _board(run) if board else None
        self._bytes = bytes_per_token
        self._path = run / METRICS
        kept = [
            line
            for line in (read(run) if resumed is not None else [])
            if line["step"] < resumed or ("validation" in line and line["step"] == resumed)
        ]
        self._told = {_place(line) for line in kept}
        write(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115

    def step(self, step: int, lr: float, loss: Losses, speed: float, mfu: float | None) -> None:
        """Losses in nats per token of one training step (numbered from 0), tokens per second, MFU."""
        bits = self.bits("train", loss)
        line = {
            "step": step,
            "lr": lr,
            "loss": dict(loss),
            "bits_per_byte": bits,
            "tokens_per_second": round(speed, 1),
            "mfu": None if mfu is None else round(mfu, 4),
        }
        if self._write(line):
            self._show("train", step, bits)

    def evaluation(self, step: int, loss: Mapping[str, float]) -> None:
        """Validation losses, in nats per token, after so many steps."""
        bits = self.bits("validation", loss)
        if self._write({"step": step, "validation": dict(loss), "bits_per_byte": bits}):
            self._show("validation", step, bits)

    def bits(self, split: str, loss: Losses) -> dict[str, float | None]:
        """Nats per token as bits per byte, by domain."""
        size = self._bytes[split]
        return {
            name: None if nats is None else nats / math.log(2) / size[name] for name, nats in loss.items()
        }

    def sync(self) -> None:
        """Put on the disk what is written so far."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Close the files."""
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            if self._board is not None:
                self._board.close()

    def _write(self, line: Mapping[str, Any]) -> bool:
        """Write a line, unless one of its kind and step is there; whether it was written."""
        if _place(line) in self._told:
            return False
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        return True

    def _unwritable(self, error: OSError) -> CommuteError:
        return CommuteError(
            f"cannot write {self._path} ({reason(error)}): make room; saved checkpoints are untouched"
        )

    def _show(self, what: str, step: int, bits: Losses) -> None:
        if self._board is not None:
            for name, value in bits.items():
                if value is not None:
                    self._board.add_scalar(f"{what}/{name} (bits per byte)", value, step)


def _place(line: Mapping[str, Any]) -> tuple[str, int]:
    return "validation" if "validation" in line else "train", line["step"]


def read(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that was cut off is left out."""
    try:
        text = (run / METRICS).read_text(encoding="utf-8")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def evaluations(run: Path) -> dict[int, dict[str, float]]:
    """Validation losses of a run in nats per token, by the number of steps done."""
    return {line["step"]: line["validation"] for line in read(run) if "validation" in line}


class Clock:
    """Tokens per second since the last reading."""

    def __init__(self) -> None:
        """Start now."""
        self._at = time.perf_counter()

    def rate(self, tokens: int) -> float:
        """Tokens per second, of so many since the last reading."""
        now = time.perf_counter()
        rate = tokens / max(now - self._at, 1e-9)
        self._at = now
        return rate

    def restart(self) -> None:
        """Leave out what happened since the last reading."""
        self._at = time.perf_counter()


def _board(run: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CommuteError(
            "tensorboard is not installed: pip install tensorboard, or this project with [tensorboard]"
        ) from error
    return SummaryWriter(str(run / "tensorboard"))
