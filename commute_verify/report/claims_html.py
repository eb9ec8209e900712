"""The table of claims as HTML: a badge for each verdict, and filters that need no script."""

from __future__ import annotations

from html import escape

from commute_verify.report.document import VERDICTS, Claim, Claims
from commute_verify.report.inline_html import Anchors, inline
from commute_verify.report.mathml import mathml

_MARK = {"holds": "✓", "corrected": "✎", "false": "✗", "undetermined": "?"}


def claims_table(block: Claims, anchors: Anchors) -> str:
    """Render the filters and the table; every row has the anchor ``claim-ID``."""
    counts = block.counts()
    filters = "\n".join(
        [_filter("all", "all", len(block.claims), " checked")]
        + [_filter(verdict, f"{_MARK[verdict]} {verdict}", counts[verdict], "") for verdict in VERDICTS]
    )
    rows = "\n".join(_row(claim, anchors.take(f"claim-{claim.id}")) for claim in block.claims)
    return (
        f'<div class="claims">\n{filters}\n'
        '<div class="box"><table>\n<thead><tr><th scope="col">Verdict</th><th scope="col">Where</th>'
        '<th scope="col">Claim</th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n</div>"
    )


def _filter(verdict: str, words: str, count: int, checked: str) -> str:
    return (
        f'<input type="radio" name="verdict" id="show-{verdict}"{checked}>'
        f'<label for="show-{verdict}" class="{verdict}">{words} <b>{count}</b></label>'
    )


def _row(claim: Claim, anchor: str) -> str:
    mark = _MARK[claim.verdict]
    return (
        f'<tr class="claim {claim.verdict}" id="{anchor}">'
        f'<td><span class="badge {claim.verdict}">{mark} {claim.verdict}</span></td>\n'
        f'<td class="where"><a href="#{anchor}">{escape(claim.id)}</a> '
        f"<span>{inline(claim.source)}</span></td>\n"
        f"<td>{_words(claim)}</td></tr>"
    )


def _words(claim: Claim) -> str:
    words = f"<span>{inline(claim.statement)}</span>"
    if claim.correction:
        words += f"\n<span><b>Instead:</b> {inline(claim.correction)}</span>"
    more = ""
    if claim.latex:
        formula = mathml(claim.latex, display=True)
        more += f'<p class="note">As printed:</p><div class="box formula">{formula}</div>'
    if claim.reason:
        more += f'<p class="note">Why:</p><p>{inline(claim.reason)}</p>'
    return f"<details><summary>{words}</summary>{more}</details>" if more else f"<div>{words}</div>"
