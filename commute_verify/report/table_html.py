"""A table as HTML that scrolls inside its own box."""

from __future__ import annotations

import re

from commute_verify.report.document import Table
from commute_verify.report.inline_html import inline, plain

_NUMBER = re.compile(r"([-+−±]?[\d.,]+\s*(%|[eE][-+−]?\d+)?|—|–|)")


def table_html(table: Table) -> str:
    """Render caption, header, rows and note; columns of numbers are set flush right."""
    kinds = _kinds(table)
    head = _cells("th", ' scope="col"', kinds, table.columns)
    rows = "\n".join(f"<tr>{_cells('td', '', kinds, row)}</tr>" for row in table.rows)
    note = f'\n<p class="note">{inline(table.note)}</p>' if table.note else ""
    return (
        f'<figure class="table">\n<figcaption>{inline(table.caption)}</figcaption>\n'
        '<div class="box"><table>\n'
        f"<thead>{_groups(table)}<tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table></div>{note}\n</figure>"
    )


def _kinds(table: Table) -> list[str]:
    starts = {sum(span for _, span in table.groups[:number]) for number in range(1, len(table.groups))}
    kinds = []
    for column in range(len(table.columns)):
        numeric = all(_NUMBER.fullmatch(plain(row[column]).strip()) for row in table.rows)
        kinds.append(" ".join(["number"] * numeric + ["start"] * (column in starts)))
    return kinds


def _cells(tag: str, scope: str, kinds: list[str], texts: tuple[str, ...]) -> str:
    return "".join(
        f'<{tag}{scope} class="{kind}">{inline(text)}</{tag}>'
        if kind
        else f"<{tag}{scope}>{inline(text)}</{tag}>"
        for kind, text in zip(kinds, texts, strict=True)
    )


def _groups(table: Table) -> str:
    if not table.groups:
        return ""
    cells = "".join(
        f'<th scope="colgroup" colspan="{span}" class="start">{inline(name)}</th>'
        for name, span in table.groups
    )
    return f'<tr class="groups">{cells}</tr>'
