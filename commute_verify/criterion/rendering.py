"""An effect as text and as HTML: a sentence for each target's clearest pair, and a table of pairs."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import combinations
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commute_verify.criterion.answers import Preference
    from commute_verify.criterion.effect import OrderEffect

HEAD = ("target", "first", "then", "gain per area", "stderr", "p", "resolved")
ROWS = 12
"""Rows of the table: all pairs where there are no more, else the clearest."""
WIDTH = 100
"""Characters in a line of a sentence."""

_Asked = list[tuple[str, int, int, "Preference"]]


def as_text(effect: OrderEffect) -> str:
    """Sentences, an empty line, and the table in columns."""
    asked = _asked(effect)
    table = columns([HEAD, *_rows(effect, asked)])
    said = (fill(sentence, WIDTH, subsequent_indent="  ") for sentence in _sentences(effect, asked))
    return "\n".join([*said, "", *table, *_rest(asked)])


def as_html(effect: OrderEffect) -> str:
    """The same as paragraphs and a table; names are escaped."""
    asked = _asked(effect)
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in _sentences(effect, asked))
    rest = "".join(f"<p>{line}</p>" for line in _rest(asked))
    return f"{said}{html_table(HEAD, _rows(effect, asked))}{rest}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, cells below each other.

    >>> columns([("a", "of"), ("long", "1")])
    ['a     of', 'long  1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as HTML, escaped."""
    lines = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{lines}</tbody></table>"


def _cells(row: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)


def _asked(effect: OrderEffect) -> _Asked:
    """Every target and pair with its preference, in order."""
    return [
        (target, i, j, effect.prefer_first(one, other, target))
        for target in effect.targets
        for (i, one), (j, other) in combinations(enumerate(effect.domains), 2)
    ]


def _sentences(effect: OrderEffect, asked: _Asked) -> list[str]:
    return [
        min((found for name, _, _, found in asked if name == target), key=lambda found: found.p_value).words
        for target in effect.targets
    ]


def _rows(effect: OrderEffect, asked: _Asked) -> list[tuple[str, ...]]:
    """The clearest rows, in the order of targets and pairs."""
    clearest = sorted(range(len(asked)), key=lambda row: asked[row][3].p_value)[:ROWS]
    rows: list[tuple[str, ...]] = []
    for target, i, j, found in (asked[row] for row in sorted(clearest)):
        one, other = effect.domains[i], effect.domains[j]
        numbers = (
            f"{found.excess_per_area:.3g}",
            f"{effect.stderr[target][i, j]:.2g}",
            f"{found.p_value:.2g}",
        )
        later = other if found.first == one else one
        rows.append((target, found.first, later, *numbers, "yes" if found.resolved else "no"))
    return rows


def _rest(asked: _Asked) -> list[str]:
    hidden = len(asked) - ROWS
    return [f"… and {hidden} more, less clear: prefer_first(…, target) tells each"] if hidden > 0 else []
