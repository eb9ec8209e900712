"""Effects and JSON, read from files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.criterion import OrderEffect


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
    from commute_verify.criterion import OrderEffect

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
