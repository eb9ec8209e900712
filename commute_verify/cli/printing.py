"""Results on standard output, also where nobody reads on."""

from __future__ import annotations

import os
import sys

from commute_verify.errors import CommuteError


def show(text: str, end: str = "\n") -> None:
    """Print a result. A reader that has gone, as ``head`` does, ends no command: its files are still written.

    Raises CommuteError where standard output cannot be written to, as on a full disk, and where its encoding
    lacks a letter.
    """
    try:
        print(text, end=end, flush=True)
    except UnicodeEncodeError as error:
        raise CommuteError(
            f"standard output is {error.encoding}, which lacks {error.object[error.start]!a}; set "
            "PYTHONIOENCODING=utf-8"
        ) from error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommuteError(f"cannot print ({error.strerror or error}); give a place with room") from error
