"""Running text as HTML, and anchors that are safe and unique in a page."""

from __future__ import annotations

import re
from html import escape

from commute_verify.report.inline import Kind, pieces
from commute_verify.report.mathml import mathml


def inline(text: str) -> str:
    """Render running text: words escaped, formulas as MathML, code as ``<code>``.

    >>> inline("a < b")
    'a &lt; b'
    """
    return "".join(_piece(kind, content) for kind, content in pieces(text))


def plain(text: str) -> str:
    """Return running text without its marks, for anchors and for telling numbers from words."""
    return "".join(content for _, content in pieces(text))


def _piece(kind: Kind, content: str) -> str:
    if kind == "math":
        return mathml(content)
    return f"<code>{escape(content)}</code>" if kind == "code" else escape(content)


class Anchors:
    """Hands out ids of letters, digits, dots and hyphens, each of them once.

    >>> anchors = Anchors()
    >>> anchors.take("claim-eq8"), anchors.take('claim-eq8'), anchors.take('"><b>')
    ('claim-eq8', 'claim-eq8-2', 'b')
    """

    def __init__(self) -> None:
        """Start with no id taken."""
        self._taken: set[str] = set()

    def take(self, text: str) -> str:
        """Return an id made from `text`, with a number behind it when it is taken."""
        base = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower() or "section"
        anchor, number = base, 1
        while anchor in self._taken:
            number += 1
            anchor = f"{base}-{number}"
        self._taken.add(anchor)
        return anchor
