"""The comparison of a run: everything that tables, figures and sentences are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.gpt2.comparison.asymmetry import Sum, sums
from experiments.gpt2.comparison.cases import Cases, cases
from experiments.gpt2.comparison.findings import Finding, findings
from experiments.gpt2.comparison.guess import Candidate, candidates
from experiments.gpt2.comparison.results import Results, read
from experiments.gpt2.comparison.series import Move, moves


@dataclass(frozen=True)
class Comparison:
    """Results, the cases made of them, and what they say."""

    results: Results
    cases: Cases
    findings: tuple[Finding, ...]
    candidates: tuple[Candidate, ...]
    moves: tuple[Move, ...]
    sums: tuple[Sum, ...]


def compare(results: Mapping[str, Any]) -> Comparison:
    """Compare predictions and observations of results.json, given as a dict.

    Raises CommuteError where the results are incomplete or no fair comparison.
    """
    held = read(results)
    found = cases(held)
    return Comparison(
        held,
        found,
        findings(held, found),
        candidates(held, found),
        moves(held, found),
        sums(found),
    )
