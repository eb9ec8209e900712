"""What is concluded, in tables: the findings, the guess on both languages, and the series of checkpoints."""

from __future__ import annotations

from commute_verify.report import Table
from experiments.gpt2.agreement_tables import WHEN, tails
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.guess import Candidate
from experiments.gpt2.comparison.predictions import PREDICTORS
from experiments.gpt2.comparison.results import BRACKETS
from experiments.gpt2.comparison.series import Move, all_helped, windows
from experiments.gpt2.comparison.words import (
    NBSP,
    NOT_RESOLVED,
    listed,
    share_cell,
    weights_text,
    with_error,
)
from experiments.gpt2.tables import unit


def findings(comparison: Comparison) -> Table:
    """The paper's five findings with a verdict by rule."""
    rows = tuple(
        (
            f"{each.source}: {each.statement}",
            each.rule,
            each.judged.verdict,
            each.judged_after_tail.verdict,
            each.judged.reason,
        )
        for each in comparison.findings
    )
    return Table(
        ("finding", "rule", "verdict", "after the tail", "read from (right after the window)"),
        rows,
        "The paper's findings at this scale.",
        "The paper has no tail; its own readings are those right after the window, which is the verdict.",
    )


def guess(comparison: Comparison) -> Table | None:
    """Checkpoints where P has one sign for both languages, and what the favoured order did."""
    if not comparison.candidates:
        return None
    rows = tuple(
        (
            weights_text(list(comparison.results.runs[each.run].weights.values())),
            f"{each.step}",
            PREDICTORS[each.bracket],
            _order(comparison, each.order),
            *(with_error(p.value, p.error) for p in each.P),
            _tilted(each, False),
            _tilted(each, True),
        )
        for each in comparison.candidates
    )
    one, two = comparison.results.domains
    return Table(
        ("weights", "$t$", "", "favoured order", f"P for {one}", f"P for {two}", *WHEN.values()),
        rows,
        "Where P has the same sign for both languages, so that one order should lower both losses.",
        r"P(L_1, L_2; L_i) in loss per (flow time)². Tilts in the favoured order, as Δt (Δw): ✓ both lower "
        f"and resolved, ✗ one higher and resolved, + both lower but not resolved. {NOT_RESOLVED}: P within "
        "two standard errors of 0.",
    )


_MARK = {
    "both lower, resolved": "✓",
    "one higher, resolved": "✗",
    "both lower": "+",
    "not decided": "?",
}


def _tilted(candidate: Candidate, tail: bool) -> str:
    shown = [
        f"{each.at.window}{NBSP}({each.at.delta:g}){NBSP}{_MARK[each.outcome]}"
        for each in candidate.tilted
        if each.at.tail == tail
    ]
    return ", ".join(shown) or "–"


def _order(comparison: Comparison, order: str) -> str:
    one, two = comparison.results.domains
    return f"{one} → {two}" if order == "12" else f"{two} → {one}"


def series(comparison: Comparison) -> Table | None:
    """Every resolved violation of corollary 3.2(b), and what moving the domain did."""
    if not comparison.moves:
        return None
    sizes = [
        f"{unit(comparison, number)[1]} for {weights_text(list(run.weights.values()))}"
        for number, run in enumerate(comparison.results.runs)
    ]
    found = {(move.run, move.step, move.target, move.bracket): move for move in comparison.moves}
    rows = []
    for number, run in enumerate(comparison.results.runs):
        for point in run.checkpoints:
            for target in comparison.results.targets:
                moves = [found.get((number, point.step, target, bracket)) for bracket in BRACKETS]
                rows.append(
                    (
                        weights_text(list(run.weights.values())),
                        f"{point.step}",
                        target,
                        *(text for move in moves for text in _advice(comparison, move)),
                    )
                )
    return Table(
        ("weights", "$t$", "loss", *("move", "gain", "helped", "resolved") * 2),
        tuple(rows),
        "Corollary 3.2(b) along the run: where the constant weights are far from optimal, and whether moving "
        "the domain there helped.",
        f"Gain: what a tilt is predicted to gain, nats per token, at {listed(sizes)}. "
        "Helped: of the tilts in that order, those that ended below the base right after the window. Dashes: "
        "no violation resolved at 5% after Holm's correction within a checkpoint.",
        (("", 3), ("plain bracket", 4), ("Adam bracket", 4)),
    )


def _advice(comparison: Comparison, move: Move | None) -> tuple[str, ...]:
    if move is None:
        return ("–",) * 4
    size = unit(comparison, move.run)[0] * comparison.results.runs[move.run].checkpoint(move.step).lr ** 2
    shares = [move.helped(tail=False, resolved=only) for only in (False, True)]
    return (
        f"{move.later} later",
        with_error(size * move.value, size * move.stderr),
        *(f"{share.count}/{share.total}" for share in shares),
    )


def helped(comparison: Comparison) -> Table:
    """Whether following the advice helped, by Δt."""
    rows = []
    for tail in tails(comparison.cases):
        for bracket in BRACKETS:
            for window in (*windows(comparison.moves), None):
                found = [
                    all_helped(
                        comparison.moves, bracket, tail=tail, resolved=only, window=window, opposite=opposite
                    )
                    for opposite in (False, True)
                    for only in (False, True)
                ]
                if found[0].total:
                    rows.append(
                        (
                            WHEN[tail],
                            PREDICTORS[bracket],
                            "all" if window is None else f"{window}",
                            *map(share_cell, found),
                        )
                    )
    return Table(
        ("", "", r"$\Delta t$", *("all", "resolved") * 2),
        tuple(rows),
        "Advice followed: tilts that ended lower, among those that corollary 3.2(b) advised.",
        "With exact 95% intervals, too narrow for cases that are not independent. Below the base is what the "
        "corollary promises; below the opposite order is what it says of the "
        "order alone, whatever both orders have in common.",
        (("", 3), ("below the base", 2), ("below the opposite order", 2)),
    )
