"""Lines of UTF-8 text, packed by gzip or not, and the texts of JSON lines."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

from commute_verify.errors import CommuteError


def lines(path: Path) -> Iterator[str]:
    """Every line. Raises CommuteError for what is binary, not UTF-8, cut short, or cannot be read."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(unpacked, encoding="utf-8-sig", newline="\n") as held:
                for line in held:
                    if "\0" in line:
                        raise CommuteError(f"{path} is binary; give UTF-8 text or JSON lines, or .gz")
                    yield line
    except UnicodeDecodeError as error:
        odd = error.object[error.start]
        raise CommuteError(f"{path} is not UTF-8 (byte {odd:#04x}); convert it, or give text") from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise CommuteError(f"{path} is cut short or not gzip ({error}); fetch it again") from error
    except OSError as error:
        raise CommuteError(
            f"cannot read {path} ({error.strerror or error}); give a file that exists"
        ) from error


def json_texts(path: Path) -> Iterator[str]:
    """The field "text" of every line that is not blank. Raises CommuteError where there is none."""
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CommuteError(
                f'{path}, line {number}: give a JSON object with a field "text" ({error!r})'
            ) from error
        if not isinstance(text, str):
            raise CommuteError(f'{path}, line {number}: "text" is {text!r}, expected a string')
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise CommuteError(
                f'{path}, line {number}: "text" holds half of a surrogate pair, which is no letter; write '
                "the line again without it"
            )
        yield text
