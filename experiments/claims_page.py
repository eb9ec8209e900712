"""The claims' share of the report: every number and name in its words is computed from the verdicts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from commute_verify.errors import CommuteError
from commute_verify.report import Block, Claim, Claims, Heading, Paragraph, Table
from experiments.experiment import Results
from experiments.words import listed


def sentence(results: Results) -> str:
    """Count the verdicts on the paper's claims, naming the weightiest of each, and the extensions."""
    claims = _claims(results).claims
    paper = Claims(tuple(claim for claim in claims if not _is_extension(claim)))
    extensions = Claims(tuple(claim for claim in claims if _is_extension(claim)))
    found = [
        f"{count} {_VERBS[verdict][count > 1]}{_weightiest(paper, verdict)}"
        for verdict, count in paper.counts().items()
        if count
    ]
    held = extensions.counts()["holds"]
    verb = _VERBS["holds"][held != 1]
    return (
        f"{len(paper.claims)} claims of the paper, each held against a derivation or a computation: "
        f"{listed(found)}. Of {len(extensions.claims)} extensions of it, {held} {verb}."
    )


_VERBS = {
    "holds": ("holds", "hold"),
    "corrected": ("needs a correction", "need a correction"),
    "false": ("is false", "are false"),
    "undetermined": ("is undetermined", "are undetermined"),
}

_WEIGHTIEST = {
    "eq7": "the sign of eq. 7",
    "eq8": "the ½ of eq. 8",
    "sec4.1-eighth": "the ⅛ of §4.1",
    "cor3.2b": "corollary 3.2(b)",
}


def _weightiest(claims: Claims, verdict: str) -> str:
    by_id = {claim.id: claim.verdict for claim in claims.claims}
    named = [words for key, words in _WEIGHTIEST.items() if by_id.get(key) == verdict != "holds"]
    return f" (among them {listed(named)})" if named else ""


def _is_extension(claim: Claim) -> bool:
    return claim.source.startswith("extension")


def glance(results: Results) -> Sequence[Block]:
    """Show the table of claims: what is false first, then what needs a correction."""
    claims = _claims(results).claims
    order = {"false": 0, "corrected": 1}
    ranked = sorted(claims, key=lambda claim: order.get(claim.verdict, 2))
    return [Heading("Claims"), Claims(tuple(ranked))]


def blocks(results: Results) -> Sequence[Block]:
    """Say in which reading of the paper, and of our copy of it, the verdicts were found."""
    claims = _claims(results).claims
    return [Heading("How the paper was read"), *_conventions(claims), *_lacking(claims)]


def _conventions(claims: Sequence[Claim]) -> list[Block]:
    by_reading: dict[str, list[str]] = defaultdict(list)
    for claim in claims:
        reading = re.search(r" \[([^\[\]]*) only\]$", claim.statement)
        if reading and claim.verdict == "holds":
            by_reading[reading[1]].append(f"`{claim.id}`")
    rows = tuple((reading, ", ".join(ids)) for reading, ids in sorted(by_reading.items()))
    return [
        Heading("Two conventions", 3),
        Paragraph(
            "The paper mixes two conventions, and this package uses the schedule reading throughout: 12 "
            "trains domain 1 first and $R(L_1, L_2) = H_2 g_1 - H_1 g_2$. In the composition reading 12 is "
            r"$\Phi_1 \circ \Phi_2$, which trains domain 2 first, and the bracket has the other sign."
        ),
        Table(("Reading", "Claims that hold in it alone"), rows, "The claims that depend on the convention."),
    ]


_ON_DEFINITIONS = ("affine-flow", "affine-commuting-constant")


def _lacking(claims: Sequence[Claim]) -> list[Block]:
    by_id = {claim.id: claim.verdict for claim in claims}
    affected = [f"`{key}` ({by_id[key]})" for key in _ON_DEFINITIONS if key in by_id]
    return [
        Heading("What our copy of the paper lacks", 3),
        Paragraph(
            "The text of §3.1's definitions and figure 1 is missing from the copy that was read, so the sign "
            "of its matrices $A_i$ is taken from §4.1 and appendix B, where they are Hessians. "
            f"On that rest {listed(affected)}. The last column of table 2 is cut off: its four values are "
            "taken from table 4, which agrees with table 2 wherever both can be read "
            "(`commute_verify/data/published.json`)."
        ),
    ]


def _claims(results: Results) -> Claims:
    empty = [part for part, records in results.items() if not records]
    if empty:
        raise CommuteError(f"no claims in {', '.join(empty)}")
    return Claims.of(record for _, records in sorted(results.items()) for record in records)
