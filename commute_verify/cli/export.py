"""A schedule as the text to paste into a trainer.

examples:
  commute-verify export schedule.json --to levanter
  commute-verify export schedule.json --to megatron --sequence-length 2048
  commute-verify export schedule.json --to hf-datasets --tokens-per-sample en=512,ru=300
"""

from __future__ import annotations

import argparse
from pathlib import Path

from commute_verify.cli import DONE, files, formats
from commute_verify.cli.asked import numbers
from commute_verify.cli.counting import Asked
from commute_verify.cli.printing import show
from commute_verify.cli.schedule_file import read

HELP = "the text to paste into a trainer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("schedule", type=Path, metavar="SCHEDULE.json", help="from commute-verify plan")
    parser.add_argument("--to", required=True, choices=formats.FORMATS, help="the trainer")
    parser.add_argument(
        "--tokens-per-sample",
        metavar="NAME=MEAN,…",
        help="mean tokens of a sample, for hf-datasets and mosaic",
    )
    parser.add_argument("--sequence-length", type=int, help="tokens of a sequence, for megatron and mosaic")
    parser.add_argument("--batch-size", type=int, help="sequences of a step, all devices together")
    parser.add_argument("--out", type=Path, help="write it to a file (default: print it)")


def run(options: argparse.Namespace) -> int:
    """Print or write the text."""
    means = options.tokens_per_sample
    held = Asked(
        read(options.schedule),
        numbers(means, "--tokens-per-sample") if means else {},
        options.sequence_length,
        options.batch_size,
    )
    text = formats.export(options.to, held)
    if options.out:
        files.write(options.out, text)
    else:
        show(text, end="")
    return DONE
