"""Completion for a shell: print the script, and let the shell read it.

examples:
  commute-verify completion bash > ~/.local/share/bash-completion/completions/commute-verify
  commute-verify completion zsh > ~/.zfunc/_commute-verify
"""

from __future__ import annotations

import argparse

from commute_verify.errors import CommuteError

HELP = "a completion script for bash, zsh or tcsh"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise CommuteError("shtab is not installed: pip install 'commute_verify[cli]'") from error
    from commute_verify.cli import parser

    print(shtab.complete(parser(), options.shell))
    return 0
