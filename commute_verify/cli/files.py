"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

from commute_verify.errors import CommuteError


def check_writable(path: Path) -> None:
    """Refuse, before hours of work, a file that could not be written after them."""
    _check_named(path)
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise CommuteError(f"cannot write {path}; give a file in a folder that exists and may be written to")


def write(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old content or the new, never a piece."""
    from commute_verify.criterion.atomic import write_text

    _check_named(path)
    try:
        write_text(path, text)
    except OSError as error:
        raise CommuteError(
            f"cannot write {path} ({error.strerror or error}); give a file in a folder that exists, may be "
            "written to, and has room"
        ) from error


def _check_named(path: Path) -> None:
    if str(path) == "-":
        raise CommuteError("a file named '-', which others take for standard output; give another name")
