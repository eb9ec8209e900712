"""Tables 2, 3 and 4 in the paper's layout, its figures beside the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from commute_verify.data import published
from commute_verify.report import Table
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.cases import Case, Cases, select
from experiments.gpt2.comparison.findings import longest, run_of, table_delta
from experiments.gpt2.comparison.published_tables import PAPER_LABEL
from experiments.gpt2.comparison.results import BRACKETS
from experiments.gpt2.comparison.words import (
    MARKS,
    NOT_RESOLVED,
    excess_text,
    signed,
    weights_text,
    with_error,
)

PRINTED = {True: "table2", False: "table3"}
"""The paper's table of equal weights, and of unequal ones."""

_EXCESS = (r"$EL^{12}_1$", r"$EL^{12}_2$", r"$EL^{21}_1$", r"$EL^{21}_2$")
_P = (r"$P_{2,1;1}$", r"$P_{2,1;2}$")


def commutation(comparison: Comparison, balanced: bool, *, tail: bool = False) -> Table | None:
    """Table 2 (equal weights) or 3, the paper's rows and ours in turn; None without such a run.

    Labels are the paper's: its 12 is the order that raises the second language first (see
    ``comparison.published_tables``), and its P(L_2, L_1; L_i) predicts EL^21.
    """
    results, run = comparison.results, run_of(comparison.results, balanced)
    mine = longest(select(comparison.cases, run=run, tail=tail))
    delta = table_delta(mine)
    if run is None or delta is None:
        return None
    chosen = select(mine, delta=delta)
    window = chosen[0].at.window
    ours = [
        _our_row(comparison, run, select(chosen, step=step)) for step in sorted({c.at.step for c in chosen})
    ]
    printed = [_printed_row(row) for row in published()[PRINTED[balanced]]["rows"]]
    rows = [row for pair in zip_longest(printed, ours) for row in pair if row]
    one, two = results.domains
    seeds = len(chosen[0].observed.values)
    gamma = results.runs[run].checkpoints[0].lr
    tail_steps = max(b.tail_steps for b in results.runs[run].branches)
    when = f" after a common tail of {tail_steps} steps" if tail else ""
    return Table(
        ("", "$t$", "$L_1$", "$L_2$", *_EXCESS, *_P, *_P),
        tuple(rows),
        f"Table {2 if balanced else 3} of the paper, weights "
        f"{weights_text(list(results.runs[run].weights.values()))}, printed and measured{when}. Here "
        f"1 = {one}, 2 = {two}, and the label 12 means, as it does in the printed figures, that {two} is "
        f"raised first and {one} last.",
        f"Here: $\\Delta t = {window}$, $\\Delta w = {delta:g}$, mean ± standard error over {seeds} seeds; "
        f"$L_i$ is the base's at the same step as the excess; P stands for the excess that it predicts, "
        rf"$\Delta w (\gamma\Delta t)^2 P(L_1, L_2; L_i)$ with $\gamma = {gamma:g}$, in nats per token. "
        f"The paper states neither errors, nor Δw, nor the unit of P. {MARKS}",
        (("", 4), ("excess loss", 4), ("plain bracket", 2), ("Adam bracket", 2)),
    )


def _printed_row(row: Sequence[float]) -> tuple[str, ...]:
    t, one, two, *rest = row
    figures = [f"{value:+.4f}".replace("-", "−") for value in rest]
    return ("paper", f"{t:g}", f"{one:.2f}", f"{two:.2f}", *figures, "–", "–")


def _our_row(comparison: Comparison, run: int, cases: Cases) -> tuple[str, ...]:
    results = comparison.results
    at = cases[0].at
    base = results.runs[run].base_loss(at.step, at.window, at.tail) or {}
    observed = [
        excess_text(_one(cases, PAPER_LABEL[label], target).observed)
        for label in ("12", "21")
        for target in results.domains
    ]
    predicted = [
        _prediction(_one(cases, PAPER_LABEL["21"], target), name)
        for name in BRACKETS
        for target in results.domains
    ]
    losses = [f"{base[name]:.3f}" for name in results.domains]
    return ("here", f"{at.step}", *losses, *observed, *predicted)


def _one(cases: Cases, kind: str, target: str) -> Case:
    return select(cases, kind=kind, targets=(target,))[0]


def _prediction(case: Case, name: str) -> str:
    found = case.predicted[name]
    return "–" if found is None else with_error(found.value, found.error)


def criterion(comparison: Comparison, balanced: bool) -> Table | None:
    """Table 4a (equal weights) or 4b: P at every checkpoint; None without such a run."""
    results, run = comparison.results, run_of(comparison.results, balanced)
    if run is None:
        return None
    mine = longest(select(comparison.cases, run=run, tail=False))
    delta = table_delta(mine)
    scale = 1.0 if delta is None else delta * mine[0].at.window ** 2
    ours = []
    for point in results.runs[run].checkpoints:
        row = [f"{point.step}"]
        for name in BRACKETS:
            effect = point.effects[name]
            i, j = (effect.domains.index(domain) for domain in results.domains)
            size = scale * point.lr**2
            for target in results.targets:
                key = results.name_in(effect, target)
                row.append(
                    with_error(size * float(effect.P[key][i, j]), size * float(effect.stderr[key][i, j]))
                )
        ours.append(tuple(row))
    side = "a" if balanced else "b"
    table = published()["table4"]
    printed = [
        (f"{t:g}", signed(one), signed(two))
        for t, one, two in zip(table["t"], table[f"{side}_1"], table[f"{side}_2"], strict=True)
    ]
    rows = [(*(left or ("",) * 3), *(right or ("",) * 7)) for left, right in zip_longest(printed, ours)]
    one, two = results.domains
    unit = (
        "γ²P"
        if delta is None
        else rf"$\Delta w(\gamma\Delta t)^2 P$ for $\Delta w = {delta:g}$, $\Delta t = {mine[0].at.window}$"
    )
    return Table(
        ("$t$", "$P_{12;1}$", "$P_{12;2}$", "$t$", *(f"{one}", f"{two}", "mean") * 2),
        tuple(rows),
        f"Table 4{side} of the paper, weights {weights_text(list(results.runs[run].weights.values()))}: the "
        "predicted excess loss at every checkpoint, printed and measured.",
        f"Here: P(L_1, L_2; L) with 1 = {one} and 2 = {two}, as {unit}, in nats per token, ± its standard "
        f"error over replicates; above 0, {two} is better put first. {NOT_RESOLVED}: within two standard "
        "errors of 0.",
        (("paper", 3), ("", 1), ("plain bracket", 3), ("Adam bracket", 3)),
    )
