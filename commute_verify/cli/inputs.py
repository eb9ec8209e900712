"""Numbers with names, effects and JSON, read from the command line and from files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from commute_verify.criterion import OrderEffect
from commute_verify.errors import CommuteError


def numbers(text: str, what: str) -> dict[str, float]:
    """``en=90e6,ru=10e6`` (or with colons) as a mapping.

    >>> numbers("en=90e6,ru:10e6", "--totals")
    {'en': 90000000.0, 'ru': 10000000.0}
    """
    found: dict[str, float] = {}
    for piece in text.split(","):
        name, separator, value = piece.replace(":", "=").rpartition("=")
        try:
            number = float(value)
        except ValueError:
            separator = ""
        if not (separator and name.strip()):
            raise CommuteError(f"{what} {text!r}: give NAME=NUMBER with commas between, as en=0.5,ru=0.5")
        if name.strip() in found:
            raise CommuteError(f"{what} {text!r} names {name.strip()} twice: give each name once")
        found[name.strip()] = number
    return found


def read_text(path: Path, what: str) -> str:
    """A file's UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommuteError(
            f"cannot read {path} ({error.strerror or error}): give the {what}'s file"
        ) from error
    except UnicodeDecodeError as error:
        raise CommuteError(f"{path} is not UTF-8 text: give the {what}'s file") from error


def read_effect(path: Path) -> OrderEffect:
    """An effect that ``commute-verify effect --json`` or ``OrderEffect.to_json`` wrote."""
    text = read_text(path, "effect")
    try:
        return OrderEffect.from_json(text)
    except CommuteError as error:
        raise CommuteError(f"{path}: {error}") from error


def read_json(path: Path, what: str) -> Mapping[str, Any]:
    """A JSON object."""
    text = read_text(path, what)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommuteError(f"{path} is cut short or is not JSON: give the {what}'s file") from error
    if not isinstance(found, dict):
        raise CommuteError(f"{path} holds no JSON object: give the {what}'s file")
    return found
