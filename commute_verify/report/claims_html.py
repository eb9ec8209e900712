"""The claims as HTML: one line each, opened by a click, and filters that need no script."""

from __future__ import annotations

from html import escape

from commute_verify.report.document import VERDICTS, Claim, Claims
from commute_verify.report.inline_html import Anchors, inline
from commute_verify.report.mathml import mathml

_MARK = {"holds": "✓", "corrected": "✎", "false": "✗", "undetermined": "?"}

SHOWN = 5
"""Rows that a narrow page shows before its switch; page.css counts the same."""


def claims_table(block: Claims, anchors: Anchors) -> str:
    """Render the filters and the rows; every row has the anchor ``claim-ID``.

    A narrow page shows the first rows and a switch for the rest.
    """
    counts = block.counts()
    filters = "\n".join(
        [_filter("all", "all", len(block.claims), " checked")]
        + [_filter(verdict, f"{_MARK[verdict]} {verdict}", counts[verdict], "") for verdict in VERDICTS]
    )
    rows = "\n".join(_row(claim, anchors.take(f"claim-{claim.id}")) for claim in block.claims)
    fold = _fold(len(block.claims)) if len(block.claims) > SHOWN else ""
    return f'<div class="claims">\n{filters}\n<div class="rows">\n{rows}\n</div>\n{fold}</div>'


def _filter(verdict: str, words: str, count: int, checked: str) -> str:
    return (
        f'<input type="radio" name="verdict" id="show-{verdict}"{checked}>'
        f'<label for="show-{verdict}" class="{verdict}">{words} <b>{count}</b></label>'
    )


def _fold(count: int) -> str:
    return (
        '<input type="checkbox" id="every-claim"><label for="every-claim" class="fold">'
        f"<span>all {count} claims</span><span>fewer claims</span></label>\n"
    )


def _row(claim: Claim, anchor: str) -> str:
    mark = _MARK[claim.verdict]
    return (
        f'<details class="claim {claim.verdict}" id="{anchor}">'
        f'<summary><span class="badge {claim.verdict}">{mark} {claim.verdict}</span> '
        f'<span class="id">{escape(claim.id)}</span> '
        f'<span class="says">{inline(claim.statement)}</span></summary>\n'
        f'<div class="more">{_more(claim, anchor)}</div></details>'
    )


def _more(claim: Claim, anchor: str) -> str:
    parts = [f'<p class="where"><a href="#{anchor}">{inline(claim.source)}</a></p>']
    if claim.correction:
        parts.append(f"<p><b>Instead:</b> {inline(claim.correction)}</p>")
    if claim.latex:
        formula = mathml(claim.latex, display=True)
        parts.append(f'<p class="note">As printed:</p><div class="box formula">{formula}</div>')
    if claim.reason:
        parts.append(f'<p class="note">Why:</p><p>{inline(claim.reason)}</p>')
    return "\n".join(parts)
