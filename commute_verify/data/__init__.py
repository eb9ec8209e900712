"""The figures that the paper prints, as data."""

import json
from importlib.resources import files
from typing import Any

__all__ = ["published"]


def published() -> dict[str, Any]:
    """Tables 1 to 4 of the paper as printed (``published.json``), keyed ``table1`` … ``table4``.

    >>> published()["table1"]["rows"][0]["median"]
    [0.997, 0.972, 0.763]
    """
    text = files(__name__).joinpath("published.json").read_text(encoding="utf-8")
    tables: dict[str, Any] = json.loads(text)
    return tables
