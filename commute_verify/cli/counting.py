"""What a trainer counts: the stages of a schedule in whole steps, sequences or samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from commute_verify.cli.schedule_file import ScheduleFile
from commute_verify.errors import CommuteError

Stages = list[tuple[float, dict[str, float]]]


@dataclass(frozen=True)
class Asked:
    """A schedule, and what a format may ask for: tokens in a sample of each domain, or in a sequence.

    Raises CommuteError for numbers that are not above 0, unknown names, and a sequence length and batch size
    that contradict the tokens per step that the schedule was planned with.
    """

    file: ScheduleFile
    tokens_per_sample: Mapping[str, float] = field(default_factory=dict)
    sequence_length: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be counted with."""
        for name, value in self.tokens_per_sample.items():
            if name not in self.file.schedule.domains or not 0 < value < math.inf:
                raise CommuteError(
                    f"--tokens-per-sample {name}={value:g}: give a number above 0 for each of "
                    f"{', '.join(self.file.schedule.domains)}"
                )
        for option, number in (("sequence-length", self.sequence_length), ("batch-size", self.batch_size)):
            if number is not None and number < 1:
                raise CommuteError(f"--{option} {number}: give 1 or more")
        planned = self.file.tokens_per_step
        if planned is None or self.sequence_length is None or self.batch_size is None:
            return
        if not math.isclose(self.sequence_length * self.batch_size, planned):
            raise CommuteError(
                f"--batch-size {self.batch_size} sequences of {self.sequence_length} tokens are "
                f"{self.sequence_length * self.batch_size:,} tokens a step, and the schedule has "
                f"{planned:,.6g}: give those that it was planned with, or plan again"
            )

    def sequences_per_step(self) -> int | None:
        """The batch size in sequences, where it is known."""
        tokens = self.file.tokens_per_step
        if self.batch_size is not None or tokens is None or self.sequence_length is None:
            return self.batch_size
        batch = round(tokens / self.sequence_length)
        return batch if batch and math.isclose(batch * self.sequence_length, tokens) else None

    def steps(self, every: int = 1) -> Stages:
        """Stages in whole steps, those after the first beginning at multiples of ``every``."""
        return _whole(self._file().stages("steps"), "step", every)

    def sequences(self) -> Stages:
        """Stages in whole sequences of ``sequence_length`` tokens."""
        if self.sequence_length is None:
            raise CommuteError("this format counts sequences: give --sequence-length")
        tokens = self._file().stages("tokens")
        return _whole([(length / self.sequence_length, weights) for length, weights in tokens], "sequence")

    def samples(self) -> Stages:
        """Stages in whole samples, and shares of samples: each domain's tokens over its tokens per sample."""
        missing = [name for name in self.file.schedule.domains if name not in self.tokens_per_sample]
        if missing:
            raise CommuteError(
                f"this format counts samples, not tokens: give --tokens-per-sample with the mean of "
                f"{', '.join(missing)}"
            )
        found = []
        for length, weights in self._file().stages("tokens"):
            counts = {name: length * w / self.tokens_per_sample[name] for name, w in weights.items()}
            total = sum(counts.values())
            if not math.isfinite(total):
                raise CommuteError("a stage of more samples than can be counted: give larger samples")
            found.append((total, {name: count / total for name, count in counts.items()}))
        return _whole(found, "sample")

    def _file(self) -> ScheduleFile:
        held = self.file
        if held.tokens_per_step is None and self.sequence_length and self.batch_size:
            return ScheduleFile(held.schedule, held.unit, float(self.sequence_length * self.batch_size))
        return held


def _whole(stages: Stages, what: str, every: int = 1) -> Stages:
    """Lengths rounded so that every stage begins at the multiple of ``every`` nearest to where it should.

    >>> _whole([(9.4, {}), (10.4, {})], "step", 4)
    [(8.0, {}), (12.0, {})]
    """
    found, exact, last = [], 0.0, 0
    for n, (length, weights) in enumerate(stages):
        exact += length
        unit = every if n < len(stages) - 1 else 1
        end = round(exact / unit) * unit
        if end <= last:
            short = f"one {what}" if every == 1 else f"{every} {what}s, in which its beginning is counted"
            raise CommuteError(f"a stage of {length:.3g} {what}s is shorter than {short}: give longer stages")
        found.append((float(end - last), weights))
        last = end
    return found
