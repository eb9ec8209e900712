"""A document as GitHub-flavoured Markdown, with figures as links to files."""

from __future__ import annotations

import re

from commute_verify.report.document import Claims, Document, Figure, Formula, Heading, Paragraph, Table
from commute_verify.report.inline import Kind, pieces
from commute_verify.report.printable import printable

_MARKS = re.compile(r"([\\`*_\[\]<>|~&$])")
_LINE_START = re.compile(r"^(\s*)([#+=-]|\d+[.)])", re.M)


def to_markdown(document: Document, *, figures: str = "figures") -> str:
    """Render the document; figure NAME is linked as ``{figures}/NAME.svg``.

    The same document gives the same text, byte for byte. A formula within text is written $`x`$, as GitHub
    and GitLab read it: Markdown leaves it alone. Raises CommuteError naming a control character.
    """
    parts = [f"# {_text(document.title)}", _inline(document.lead.text)]
    for block in document.blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.level} {_inline(block.text)}")
            case Paragraph():
                parts.append(_inline(block.text))
            case Formula():
                parts.append(_formula(block.latex))
            case Table():
                parts += _table(block)
            case Figure():
                alt = _text(" ".join(block.alt.split()))
                parts.append(f"![{alt}]({figures}/{block.name}.svg)\n\n{_inline(block.caption)}")
            case Claims():
                parts += _claims(block)
    return printable("\n\n".join(part for part in parts if part) + "\n")


def _text(text: str) -> str:
    return _LINE_START.sub(lambda m: m[1] + m[2][:-1] + "\\" + m[2][-1], _MARKS.sub(r"\\\1", text))


def _inline(text: str, *, cell: bool = False) -> str:
    return "".join(_piece(kind, content, cell) for kind, content in pieces(text))


def _piece(kind: Kind, content: str, cell: bool) -> str:
    if kind == "math":
        latex = content.strip().replace("|", r"\vert ") if cell else content.strip()
        return f"$`{latex}`$"
    if kind == "code":
        return f"<code>{_text(content)}</code>"
    return " ".join(_text(content).split("\n")) if cell else _text(content)


def _formula(latex: str) -> str:
    return f"```math\n{latex}\n```"


def _table(table: Table) -> list[str]:
    prefixes = [name for name, span in table.groups for _ in range(span)] or [""] * len(table.columns)
    heads = [
        f"{name}: {column}" if name else column for name, column in zip(prefixes, table.columns, strict=True)
    ]
    return [_inline(table.caption), _grid(tuple(heads), table.rows), _inline(table.note)]


def _grid(heads: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [heads, *rows]
    drawn = [f"| {' | '.join(_inline(cell, cell=True) for cell in line)} |" for line in lines]
    return "\n".join([drawn[0], f"|{' --- |' * len(heads)}", *drawn[1:]])


def _claims(block: Claims) -> list[str]:
    head = "| verdict | claim | where | the paper says | instead |\n| --- | --- | --- | --- | --- |"
    rows = [
        f"| {claim.verdict} | {_text(claim.id)} | {_inline(claim.source, cell=True)} "
        f"| {_inline(claim.statement, cell=True)} | {_inline(claim.correction, cell=True)} |"
        for claim in block.claims
    ]
    parts = ["\n".join([head, *rows]), "<details><summary>Why: the reason behind each verdict</summary>"]
    for claim in block.claims:
        if claim.reason or claim.latex:
            parts.append(f"**{_text(claim.id)}** ({claim.verdict}). {_inline(claim.reason)}".strip())
            parts.append(_formula(claim.latex) if claim.latex else "")
    return [*parts, "</details>"]
