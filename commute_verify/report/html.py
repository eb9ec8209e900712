"""A document as one self-contained HTML page: MathML, inline SVG, no scripts, nothing fetched."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

from commute_verify.report.claims_html import claims_table
from commute_verify.report.document import Claims, Document, Figure, Formula, Heading, Paragraph, Table
from commute_verify.report.inline_html import Anchors, inline, plain
from commute_verify.report.mathml import mathml
from commute_verify.report.printable import printable
from commute_verify.report.table_html import table_html

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_html(document: Document) -> str:
    """Render the whole page; the same document gives the same text, byte for byte.

    Raises CommuteError naming a formula that cannot be drawn, or a control character.
    """
    anchors = Anchors()
    body: list[str] = []
    links: list[str] = []
    for block in document.blocks:
        if isinstance(block, Heading):
            anchor = anchors.take(plain(block.text))
            body.append(f'<h{block.level} id="{anchor}">{inline(block.text)}</h{block.level}>')
            links += [f'<a href="#{anchor}">{inline(block.text)}</a>'] * (block.level == 2)
        else:
            body.append(_block(block, anchors))
    newline = "\n"
    return printable(f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(document.title)}</title>
<style>
{files(__package__).joinpath("page.css").read_text(encoding="utf-8").strip()}
</style>
</head>
<body>
<header>
<h1>{escape(document.title)}</h1>
<p class="lead">{inline(document.lead.text)}</p>
<nav aria-label="Sections">
{newline.join(links)}
</nav>
</header>
<main>
{newline.join(body)}
</main>
</body>
</html>
""")


def _block(block: Paragraph | Formula | Table | Figure | Claims, anchors: Anchors) -> str:
    match block:
        case Paragraph():
            return f"<p>{inline(block.text)}</p>"
        case Formula():
            return f'<div class="box formula">{mathml(block.latex, display=True)}</div>'
        case Table():
            return table_html(block)
        case Figure():
            return _figure(block, anchors)
        case Claims():
            return claims_table(block, anchors)


def _figure(figure: Figure, anchors: Anchors) -> str:
    width = re.search(r'^<svg[^>]* width="([\d.]+)pt"', figure.svg)
    readable = f' style="min-width: {float(width[1]) * 0.55:.0f}pt"' if width else ""
    return (
        f'<figure id="{anchors.take(f"figure-{figure.name}")}">\n'
        f'<div class="box"><div class="drawing"{readable} role="img" '
        f'aria-label="{escape(figure.alt)}">\n'
        f"{figure.svg}</div></div>\n<figcaption>{inline(figure.caption)}</figcaption>\n</figure>"
    )
