"""Files that are whole or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from commute_verify.errors import CommuteError


def check_writable(path: Path) -> None:
    """Refuse, before hours of work, a file that could not be written after them."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise CommuteError(f"cannot write {path}; give a file in a folder that exists and may be written to")


def write(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old content or the new, never a piece."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CommuteError(f"cannot write {path} ({error.strerror or error}); make room for it") from error
