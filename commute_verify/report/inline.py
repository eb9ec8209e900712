"""Running text with `$formulas$` and `` `code` `` in it, cut into its pieces."""

from __future__ import annotations

import re
from typing import Literal

from commute_verify.errors import CommuteError

Kind = Literal["text", "math", "code"]

_TOKEN = re.compile(r"\\(?P<escaped>[$`\\])|\$(?P<math>[^$]*)\$|`(?P<code>[^`]*)`|(?P<stray>[$`])")


def pieces(text: str) -> tuple[tuple[Kind, str], ...]:
    r"""Cut running text into text, math (between ``$``) and code (between backquotes).

    A literal dollar, backquote or backslash before one of them is written with a backslash.
    Raises CommuteError when a ``$`` or a backquote has no partner.

    >>> pieces(r"a $\theta_1$ for \$5")
    (('text', 'a '), ('math', '\\theta_1'), ('text', ' for $5'))
    """
    found: list[tuple[Kind, str]] = []
    plain = ""
    end = 0
    for token in _TOKEN.finditer(text):
        plain += text[end : token.start()]
        end = token.end()
        if token["stray"]:
            raise CommuteError(
                f"{token['stray']!r} without its partner in {text!r}: close it, or write \\{token['stray']}"
            )
        if token["escaped"]:
            plain += token["escaped"]
            continue
        if plain:
            found.append(("text", plain))
            plain = ""
        found.append(("code", token["code"]) if token["math"] is None else ("math", token["math"]))
    plain += text[end:]
    return (*found, ("text", plain)) if plain else tuple(found)


def literal(text: str) -> str:
    r"""Escape foreign text so that `pieces` gives it back as it is.

    >>> pieces(literal("costs $5"))
    (('text', 'costs $5'),)
    """
    return re.sub(r"([$`\\])", r"\\\1", text)
