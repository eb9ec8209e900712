"""The order effect along a series of checkpoints: how it grows, turns and fades, and when to act on it.

examples:
  commute-verify scan runs/pretrain --out scan --domain en=en.txt --domain ru=ru.txt
  commute-verify scan 'runs/checkpoint-*' --out scan --domain en=en.txt --domain ru=ru.txt \\
      --target mix=en:0.5,ru:0.5 --weights en=0.9,ru=0.1

DIR holds scan.json (all numbers), scan.svg, scan.html, and effect_STEP.json of each checkpoint, for
commute-verify plan (effect_STEP-2.json of another of the same step). What is kept there of the same
checkpoint, text and settings is not computed again.

exit codes: 0 every sign is resolved at every checkpoint; 3 not so; 2 bad input (what was measured is kept).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commute_verify.cli import BAD_INPUT, DONE, NOT_RESOLVED
from commute_verify.cli.asked import add_data_arguments
from commute_verify.cli.printing import show
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.cli.estimate import Asked
    from commute_verify.cli.series import Kept, Scanned

HELP = "the effect along a series of checkpoints, with a table and a plot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoints, the folder, and the domains."""
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="checkpoints, quoted patterns of them, or folders that hold checkpoint-* or step-*; sorted by "
        "step",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where results go and are kept"
    )
    add_data_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Measure what is not kept, print the table, write the rest into DIR."""
    from commute_verify.cli.estimate import Asked, require
    from commute_verify.cli.scan_report import publish, table
    from commute_verify.cli.series import Kept, checkpoints

    require("matplotlib", "report")
    asked = Asked.of(options)
    paths = checkpoints(options.checkpoints)
    series, failed = _measured(paths, asked, Kept(options.out))
    for error in failed:
        print(f"commute-verify scan: {error}", file=sys.stderr)
    if not series:
        return BAD_INPUT
    for line in table(series, asked.weights):
        show(line)
    publish(series, asked.weights, options.out)
    if failed:
        return BAD_INPUT
    return DONE if all(one.effect.unresolved() == 0 for one in series) else NOT_RESOLVED


def _measured(paths: list[Path], asked: Asked, kept: Kept) -> tuple[list[Scanned], list[CommuteError]]:
    """Every checkpoint's effect, by step; and what went wrong, one error for each that has none."""
    from commute_verify.cli.estimate import Tokenised, measure, read, say
    from commute_verify.cli.series import Scanned, key

    series: list[Scanned] = []
    failed: list[CommuteError] = []
    texts = Tokenised()
    for place, path in enumerate(paths):
        try:
            name = key(path, asked)
            held = kept.load(name)
            if held is None:
                say(asked.options, f"checkpoint {place + 1} of {len(paths)}")
                checkpoint = read(str(path), asked)
                held = checkpoint.step, measure(checkpoint, asked, texts).effect
                kept.save(name, *held)
            else:
                say(asked.options, f"checkpoint {place + 1} of {len(paths)}: kept from before")
        except CommuteError as error:
            failed.append(error if str(path) in str(error) else CommuteError(f"{path}: {error}"))
            continue
        step, effect = held
        series.append(Scanned(path.name, place if step is None else step, effect))
    return sorted(series, key=lambda one: one.step), failed
