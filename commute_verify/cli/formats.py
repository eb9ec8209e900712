"""What trainers read: a schedule as the text to paste into each.

A trainer that packs tokens into sequences of one length counts sequences, and shares of sequences are shares
of tokens. ``datasets`` counts documents: there a domain's share of tokens is divided by its mean tokens per
sample. Stages are rounded to whole steps or samples, and the text says what was rounded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from commute_verify.cli.schedule_file import ScheduleFile
from commute_verify.errors import CommuteError

Stages = list[tuple[float, dict[str, float]]]


@dataclass(frozen=True)
class Asked:
    """A schedule, and what a format may ask for: tokens in a sample of each domain, or in a sequence."""

    file: ScheduleFile
    tokens_per_sample: Mapping[str, float] = field(default_factory=dict)
    sequence_length: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are not above 0, and names that the schedule does not know."""
        for name, value in self.tokens_per_sample.items():
            if name not in self.file.schedule.domains or not value > 0:
                raise CommuteError(
                    f"--tokens-per-sample {name}={value:g}: give a number above 0 for each of "
                    f"{', '.join(self.file.schedule.domains)}"
                )
        for option, number in (("sequence-length", self.sequence_length), ("batch-size", self.batch_size)):
            if number is not None and number < 1:
                raise CommuteError(f"--{option} {number}: give 1 or more")

    def steps(self) -> Stages:
        """Stages in whole steps, their ends rounded."""
        return _whole(self._file().stages("steps"), "step")

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
            found.append((total, {name: count / total for name, count in counts.items()}))
        return _whole(found, "sample")

    def _file(self) -> ScheduleFile:
        held = self.file
        if held.tokens_per_step is None and self.sequence_length and self.batch_size:
            return ScheduleFile(held.schedule, held.unit, float(self.sequence_length * self.batch_size))
        return held


def hf_datasets(asked: Asked) -> str:
    """Hugging Face ``datasets``: one interleaved part for each stage, one after another."""
    parts = []
    for n, (samples, weights) in enumerate(asked.samples()):
        used = {name: w for name, w in weights.items() if w > 0}
        parts.append(
            f"    interleave_datasets(\n"
            f"        [domains[name] for name in {list(used)!r}],\n"
            f"        probabilities={list(used.values())!r},\n"
            f"        seed={n},\n"
            f'        stopping_strategy="all_exhausted",\n'
            f"    ).take({int(samples)}),"
        )
    names = ", ".join(f"{name!r}: …" for name in asked.file.schedule.domains)
    return "\n".join(
        [
            "# Shares of samples, from shares of tokens and the mean tokens of a sample of each domain.",
            "# A part starts its domains from their beginning: .skip() what earlier parts have used, or give",
            "# streams that go on. Short parts differ from their shares by chance.",
            "from datasets import concatenate_datasets, interleave_datasets",
            "",
            f"# domains = {{{names}}}, iterable (load_dataset(…, streaming=True))",
            "stages = [",
            *parts,
            "]",
            "train = concatenate_datasets(stages)",
            "",
        ]
    )


def levanter(asked: Asked) -> str:
    """Levanter: ``train_weights`` as a list of [step, weights]."""
    lines = [
        "# Steps times the batch size must be multiples of mixture_block_size (2048 unless you set it).",
        "data:",
        "  train_weights:",
    ]
    start = 0
    for length, weights in asked.steps():
        named = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {w!r}" for name, w in weights.items())
        lines.append(f"    - [{start}, {{{named}}}]")
        start += int(length)
    return "\n".join([*lines, ""])


def nanotron(asked: Asked) -> str:
    """Nanotron: one entry of ``data_stages`` for each stage, steps counted from 1."""
    lines = ["# Replace PATH: folders of Nanosets, in this order. Nanosets count sequences of one length."]
    lines.append("data_stages:")
    start = 1
    for n, (length, weights) in enumerate(asked.steps()):
        used = {name: w for name, w in weights.items() if w > 0}
        folders = ", ".join(json.dumps(f"PATH/{name}", ensure_ascii=False) for name in used)
        shares = ", ".join(repr(w) for w in used.values())
        lines += [
            f"  - name: stage {n + 1}",
            f"    start_training_step: {start}",
            "    data:",
            "      dataset:",
            f"        dataset_folder: [{folders}]",
            f"        dataset_weights: [{shares}]",
            "      num_loading_workers: 1",
            "      seed: 42",
        ]
        start += int(length)
    return "\n".join([*lines, ""])


def megatron(asked: Asked) -> str:
    """Megatron-LM: one run for each stage, with a blend of weights and prefixes; samples are sequences."""
    lines = [
        "# One run for each stage, each resumed from the one before (--load); --train-samples counts from",
        "# the first step of all. A stage's blend begins each prefix again: split the files by stage where",
        "# no sequence may come twice. Replace PATH.",
    ]
    end = 0
    for n, (length, weights) in enumerate(asked.sequences()):
        end += int(length)
        blend = " ".join(f"{w!r} {_quoted(f'PATH/{name}')}" for name, w in weights.items() if w > 0)
        lines.append(f"# stage {n + 1}")
        lines.append(f"--data-path {blend} --train-samples {end} --seq-length {asked.sequence_length}")
    return "\n".join([*lines, ""])


def mosaic(asked: Asked) -> str:
    """MosaicML Streaming: a dataset for each stage, streams in proportion; samples are sequences."""
    lines = [
        "# One dataset for each stage, trained one after another; samples are token sequences of one length.",
        "from streaming import Stream, StreamingDataset",
        "",
        "stages = [",
    ]
    for length, weights in asked.sequences():
        lines.append("    StreamingDataset(")
        lines.append("        streams=[")
        for name, w in weights.items():
            if w > 0:
                lines.append(
                    f"            Stream(remote={f'REMOTE/{name}'!r}, local={f'LOCAL/{name}'!r}, "
                    f"proportion={w!r}),"
                )
        lines += ["        ],", f"        epoch_size={int(length)},", "        shuffle=True,", "    ),"]
    return "\n".join([*lines, "]", ""])


def table(asked: Asked) -> str:
    """CSV: the stage, where it starts and ends, and each domain's share of tokens."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    unit = asked.file.unit
    rows.writerow(["stage", f"start_{unit}", f"end_{unit}", *asked.file.schedule.domains])
    start = 0.0
    for n, (length, weights) in enumerate(asked.file.stages(unit)):
        rows.writerow([n + 1, repr(start), repr(start + length), *map(repr, weights.values())])
        start += length
    return out.getvalue()


FORMATS: dict[str, Callable[[Asked], str]] = {
    "hf-datasets": hf_datasets,
    "levanter": levanter,
    "nanotron": nanotron,
    "megatron": megatron,
    "mosaic": mosaic,
    "csv": table,
}


def _whole(stages: Stages, what: str) -> Stages:
    """Lengths rounded so that every stage ends at the whole number nearest to where it should."""
    found, exact, last = [], 0.0, 0
    for length, weights in stages:
        exact += length
        end = round(exact)
        if end == last:
            raise CommuteError(
                f"a stage of {length:.3g} {what}s is shorter than one {what}: give longer stages"
            )
        found.append((float(end - last), weights))
        last = end
    return found


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)
