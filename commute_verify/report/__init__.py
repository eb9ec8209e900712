"""Reports: a document as data, rendered to one self-contained page or to Markdown; an effect as a figure."""

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
from commute_verify.report.effect_figure import plot_effect
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
    "plot_effect",
    "to_html",
    "to_markdown",
]
