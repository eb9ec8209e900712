"""Which domain to train last at a checkpoint, by how much, how sure that is, and what it cost to know.

examples:
  commute-verify effect runs/checkpoint-5000 --domain en=en.txt --domain ru=ru.jsonl.gz
  commute-verify effect runs/checkpoint-5000 --domain en=en.txt --domain ru=ru.txt \\
      --target mix=en:0.5,ru:0.5 --weights en=0.9,ru=0.1 --window 200 --json effect.json --html effect.html
  commute-verify effect out/ckpt.pt --tokenizer gpt2 --domain en=en.txt --domain ru=ru.txt \\
      --until-resolved --budget 10m

exit codes: 0 every pair is resolved, and the window, where one is given, is one that the figures hold for;
3 not resolved; 2 bad input.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill

from commute_verify.cli import DONE, NOT_RESOLVED
from commute_verify.cli.asked import add_data_arguments, positive, whole
from commute_verify.cli.printing import show

HELP = "which domain to train last at a checkpoint, and how sure that is"
PREDICTORS = ("local", "auto", "local-3", "frozen-curvature", "trajectory")
WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the domains, and what is asked of them."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a Hugging Face folder or hub name, nanoGPT's ckpt.pt, or a torch DCP folder (with --config)",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--window", type=whole, metavar="STEPS", help="say what the order changes over so many steps to come"
    )
    parser.add_argument(
        "--lr",
        type=positive,
        metavar="RATE",
        help="learning rate of the window (default: the optimizer's own)",
    )
    parser.add_argument(
        "--predictor",
        choices=PREDICTORS,
        default="local",
        help="how the change over the window is predicted (default: local, order 2; auto: the first that "
        "is valid)",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the effect, for commute-verify plan")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page")


def run(options: argparse.Namespace) -> int:
    """Print the verdict, the table of pairs, validity and cost; 0 if resolved, else 3."""
    from commute_verify.cli.answer import answer, window_of
    from commute_verify.cli.estimate import Asked, measure, read, require
    from commute_verify.cli.files import check_writable, write

    asked = Asked.of(options)
    for path in (options.json, options.html):
        if path is not None:
            check_writable(path)
    if options.html is not None:
        require("matplotlib", "report")
    checkpoint = read(options.checkpoint, asked)
    window = window_of(checkpoint, asked)
    found = answer(measure(checkpoint, asked), asked, window)
    try:
        if options.json is not None:
            write(options.json, found.measured.effect.to_json() + "\n")
        if options.html is not None:
            from commute_verify.cli.effect_page import page

            write(options.html, page(found))
    finally:
        show("\n\n".join(_wrapped(part) for part in found.parts))
    return DONE if found.resolved else NOT_RESOLVED


def _wrapped(part: tuple[str, ...]) -> str:
    return "\n".join(
        line if line.startswith(" ") or "  " in line else fill(line, WIDTH, subsequent_indent="  ")
        for line in part
    )
