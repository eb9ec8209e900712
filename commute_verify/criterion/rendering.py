"""An effect as text and as HTML: a sentence for each target's clearest pair, and the table of pairs."""

from __future__ import annotations

import html
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commute_verify.criterion.effect import OrderEffect

HEAD = ("target", "first", "then", "gain per area", "stderr", "p", "resolved")


def as_text(effect: OrderEffect) -> str:
    """Sentences, an empty line, and the table in columns."""
    rows = [HEAD, *_rows(effect)]
    widths = [max(len(row[c]) for row in rows) for c in range(len(HEAD))]
    table = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*_sentences(effect), "", *table])


def as_html(effect: OrderEffect) -> str:
    """The same as paragraphs and a table; names are escaped."""
    said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in _sentences(effect))
    lines = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in _rows(effect))
    return f"{said}<table><thead><tr>{_cells(HEAD, 'th')}</tr></thead><tbody>{lines}</tbody></table>"


def _cells(row: tuple[str, ...], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)


def _sentences(effect: OrderEffect) -> list[str]:
    clearest = []
    for target in effect.targets:
        found = [effect.prefer_first(one, other, target) for one, other in combinations(effect.domains, 2)]
        clearest.append(min(found, key=lambda preference: preference.p_value).words)
    return clearest


def _rows(effect: OrderEffect) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for target in effect.targets:
        for (i, one), (j, other) in combinations(enumerate(effect.domains), 2):
            found = effect.prefer_first(one, other, target)
            later = other if found.first == one else one
            numbers = (
                f"{found.excess_per_area:.3g}",
                f"{effect.stderr[target][i, j]:.2g}",
                f"{found.p_value:.2g}",
            )
            rows.append((target, found.first, later, *numbers, "yes" if found.resolved else "no"))
    return rows
