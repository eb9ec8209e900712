"""Completion for a shell: print the script, and let the shell read it.

examples:
  commute-verify completion bash > ~/.local/share/bash-completion/completions/commute-verify
  commute-verify completion zsh > ~/.zfunc/_commute-verify
  commute-verify completion fish > ~/.config/fish/completions/commute-verify.fish
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commute_verify.cli import DONE
from commute_verify.cli.printing import show
from commute_verify.errors import CommuteError

HELP = "a completion script for bash, zsh or fish"
FILES = ("checkpoint", "checkpoints")
"""Arguments that may be paths, and are read as text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise CommuteError("shtab is not installed: pip install 'commute_verify[cli]'") from error
    from commute_verify.cli import parser

    whole = parser()
    complete_files(whole, shtab.FILE)
    show(shtab.complete(whole, options.shell))
    return DONE


def complete_files(parser: argparse.ArgumentParser, files: Any) -> None:
    """Let every argument that may be a path, here and in commands, be completed as ``files``."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                complete_files(one, files)
        elif action.type is Path or action.dest in FILES:
            action.complete = files  # type: ignore[attr-defined]
