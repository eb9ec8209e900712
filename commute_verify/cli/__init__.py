"""``commute-verify``: from a checkpoint to a schedule, in a terminal.

Each command is a module of this room with three names: ``HELP``, its line in the overview;
``add_arguments(parser)``; and ``run(options)``, which returns the exit code. They import what is heavy inside
``run``, so that ``--help`` and completion are quick.

Exit codes: 0 done (and resolved, where a question was asked), 2 bad input, 3 not resolved, 130 stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from commute_verify import __version__
from commute_verify.errors import CommuteError

COMMANDS: tuple[str, ...] = ("effect", "scan", "plan", "export", "schedule", "completion")
DONE, BAD_INPUT, NOT_RESOLVED, STOPPED = 0, 2, 3, 130
MOST_STEPS = 10**15
"""Steps of a window or a plan; more could not be counted in float64."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; bad input is one line on stderr."""
    options = parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except CommuteError as error:
        print(f"commute-verify {options.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    return code


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    whole = argparse.ArgumentParser(prog="commute-verify", description=__doc__.split("\n")[0])
    whole.add_argument("--version", action="version", version=f"commute-verify {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"commute_verify.cli.{name}")
        one = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--quiet", action="store_true", help="print results alone, without progress")
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    return whole
