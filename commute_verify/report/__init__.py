"""Reports: a document as data, rendered to one self-contained page or to Markdown."""

from commute_verify.report.document import (
    VERDICTS,
    Block,
    Claim,
    Claims,
    Document,
    Figure,
    Formula,
    Heading,
    Paragraph,
    Table,
)
from commute_verify.report.html import to_html
from commute_verify.report.inline import literal
from commute_verify.report.markdown import to_markdown

__all__ = [
    "VERDICTS",
    "Block",
    "Claim",
    "Claims",
    "Document",
    "Figure",
    "Formula",
    "Heading",
    "Paragraph",
    "Table",
    "literal",
    "to_html",
    "to_markdown",
]
