"""What trainers read: a schedule as the text to paste into each.

A trainer that packs tokens into sequences of one length counts sequences, and shares of sequences are shares
of tokens. ``datasets`` counts documents, and MosaicML's streams may: there a domain's share of tokens is
divided by its mean tokens per sample. Stages are rounded to whole steps or samples, and the
text says what was rounded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from math import gcd
from shlex import quote

from commute_verify.cli.counting import Asked, Stages
from commute_verify.errors import CommuteError

BLOCK = 2048
"""Levanter's default mixture_block_size, in sequences: a stage must begin at a multiple of it."""


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
            "# streams that go on. It ends early once all of its domains have run out. Shares hold on",
            "# average: commute_verify.ScheduledMixture keeps them to within a sample.",
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
    batch = asked.sequences_per_step()
    every = BLOCK // gcd(BLOCK, batch) if batch else 1
    stages = asked.steps(every)
    lines = ["# Sequences are of one length, so that weights are shares of tokens."]
    if len(stages) > 1:
        lines.append(
            f"# A stage begins at a multiple of {every} steps, as mixture_block_size {BLOCK} asks for at "
            f"batch size {batch}."
            if batch
            else f"# Steps × batch size must be multiples of mixture_block_size ({BLOCK} by default): "
            "give --batch-size."
        )
    lines += ["data:", "  train_weights:"]
    start = 0
    for length, weights in stages:
        named = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {w!r}" for name, w in weights.items())
        lines.append(f"    - [{start}, {{{named}}}]")
        start += int(length)
    return "\n".join([*lines, ""])


def nanotron(asked: Asked) -> str:
    """Nanotron: one entry of ``data_stages`` for each stage, steps counted from 1."""
    stages = asked.steps()
    lines = [
        "# Replace PATH: folders of Nanosets, in this order. Nanosets count sequences of one length, so that",
        "# weights are shares of tokens. A stage begins its folders again: split them by stage where no",
        f"# sequence may come twice. tokens.train_steps is {sum(int(length) for length, _ in stages)}.",
        "data_stages:",
    ]
    start = 1
    for n, (length, weights) in enumerate(stages):
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
        "# the first step of all. A stage reads its blend from where it would stand had the whole run",
        "# had it, so that a sequence may come twice or not at all: split the files by stage to rule",
        "# that out. Replace PATH.",
    ]
    end = 0
    for n, (length, weights) in enumerate(asked.sequences()):
        end += int(length)
        blend = " ".join(f"{w!r} {quote(f'PATH/{name}')}" for name, w in weights.items() if w > 0)
        lines.append(f"# stage {n + 1}")
        lines.append(f"--data-path {blend} --train-samples {end} --seq-length {asked.sequence_length}")
    return "\n".join([*lines, ""])


def mosaic(asked: Asked) -> str:
    """MosaicML Streaming: a dataset for each stage, streams in proportion, counted in samples.

    Samples are token sequences of one length, unless their mean tokens are given.
    """
    stages: Stages = asked.samples() if asked.tokens_per_sample else asked.sequences()
    counted = (
        "# Proportions are shares of samples, from shares of tokens and the mean tokens of a sample."
        if asked.tokens_per_sample
        else f"# Samples are taken to be sequences of {asked.sequence_length} tokens: give "
        "--tokens-per-sample where they are not."
    )
    lines = [
        "# One dataset for each stage, trained one after another; a stage draws its samples afresh.",
        counted,
        "# batch_size = …, samples in the batch of one device, as given to the DataLoader",
        "from streaming import Stream, StreamingDataset",
        "",
        "stages = [",
    ]
    for n, (length, weights) in enumerate(stages):
        lines += ["    StreamingDataset(", "        streams=["]
        for name, w in weights.items():
            if w > 0:
                local = f"LOCAL/stage{n + 1}/{name}"  # streams of one process may not share a folder
                lines.append(
                    f"            Stream(remote={f'REMOTE/{name}'!r}, local={local!r}, proportion={w!r}),"
                )
        lines += ["        ],", f"        epoch_size={int(length)},", "        batch_size=batch_size,"]
        lines += ["        shuffle=True,", "    ),"]
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

COUNT_SAMPLES = ("hf-datasets", "mosaic")


def export(to: str, asked: Asked) -> str:
    """The text for one trainer; CommuteError for mean tokens that it would not look at."""
    if asked.tokens_per_sample and to not in COUNT_SAMPLES:
        raise CommuteError(
            f"--tokens-per-sample is for {' and '.join(COUNT_SAMPLES)}; {to} takes shares of tokens "
            "as they are: leave it out"
        )
    return FORMATS[to](asked)
