"""Tables 2, 3 and 4 in the paper's layout, its figures beside the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from commute_verify.data import published
from commute_verify.report import Table
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.cases import Case, Cases, select
from experiments.gpt2.comparison.findings import longest, run_of, table_delta
from experiments.gpt2.comparison.predictions import PREDICTORS
from experiments.gpt2.comparison.published_tables import PAPER_LABEL
from experiments.gpt2.comparison.results import BRACKETS, Results
from experiments.gpt2.comparison.words import (
    MARKS,
    NOT_RESOLVED,
    counted,
    excess_text,
    listed,
    rough,
    signed,
    weights_text,
    with_error,
)

PRINTED = {True: "table2", False: "table3"}
"""The paper's table of equal weights, and of unequal ones."""

_EXCESS = (r"$EL^{12}_1$", r"$EL^{12}_2$", r"$EL^{21}_1$", r"$EL^{21}_2$")
HEADINGS = (
    "The paper heads the same figures $P_{2,1;i}$ in tables 2 and 3, where they are to match $EL^{21}$, and "
    "$P_{12;i}$ in table 4; both are $P(L_1, L_2; L_i)$ of its eq. 6, which predicts the excess of the order "
    "that raises language 1 first."
)
"""Why one number has two headings."""

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
        f"Here: $\\Delta t = {window}$, $\\Delta w = {delta:g}$; an excess is the mean of {_basis(chosen)}; "
        f"$L_i$ is the base's at the same step as the excess; P stands for the excess that it predicts, "
        rf"$\Delta w (\gamma\Delta t)^2 P(L_1, L_2; L_i)$ with $\gamma = {gamma:g}$, in nats per token."
        f"{_beyond(chosen, results, run)} The paper states neither errors, nor Δw, nor the unit of P. "
        f"{HEADINGS} {MARKS}",
        (("", 4), ("excess loss", 4), ("plain bracket", 2), ("Adam bracket", 2)),
    )


def _basis(cases: Cases) -> str:
    """How many seeds the excesses are of, and whose errors they have."""
    told = {
        "seeds": "each with the standard error of its own seeds",
        "pooled": "with an error pooled from the run's other checkpoints, orders and tilts at the same Δt",
        "none": "without an error",
    }
    found = sorted({(-len(case.observed.values), case.observed.basis) for case in cases})
    return listed([f"{counted(-seeds, 'seed')}, {told[basis]}" for seeds, basis in found])


def _beyond(cases: Cases, results: Results, run: int) -> str:
    """A warning where a predicted excess cannot be."""
    for name in BRACKETS:
        for case in cases:
            found = case.predicted[name]
            base = results.runs[run].base_loss(case.at.step, case.at.window, case.at.tail)
            if found and base and abs(found.value) > results.target_loss(base, case.at.target):
                return (
                    f" A figure of the {PREDICTORS[name]} that exceeds the loss itself says only that so "
                    "long a window lies far outside the regime in which the expansion holds."
                )
    return ""


def longest_steps(comparison: Comparison) -> dict[str, float]:
    """The largest γ λ_max over the checkpoints, for each bracket whose curvature was measured."""
    points = [point for run in comparison.results.runs for point in run.checkpoints]
    return {
        by: max(known)
        for by in BRACKETS
        if (known := [point.lr * point.curvature[by] for point in points if by in point.curvature])
    }


def lengths(comparison: Comparison) -> Table | None:
    """γ Δt λ_max of one step and of every window; None where the curvature was not measured."""
    points = [point for run in comparison.results.runs for point in run.checkpoints]
    windows = sorted({case.at.window for case in comparison.cases})
    measured = list(longest_steps(comparison))
    if not measured or not windows:
        return None
    rows = []
    for window in sorted({1, *windows}):
        row = [f"{window}"]
        for by in measured:
            found = [window * p.lr * p.curvature[by] for p in points if by in p.curvature]
            low, high = rough(min(found)), rough(max(found))
            row.append(low if low == high else f"{low} to {high}")
        rows.append(tuple(row))
    return Table(
        (r"$\Delta t$", *(PREDICTORS[by] for by in measured)),
        tuple(rows),
        r"The length of a window in units of the curvature, $\gamma \Delta t\, \lambda_{\max}$, over the "
        "checkpoints.",
        r"$\lambda_{\max}$ of the Hessian $H$ of the mixture, and of $\sqrt{D} H \sqrt{D}$ with the scales "
        "$D$ of Adam's state. Figures from 1 on lie outside the local regime.",
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


def criterion(comparison: Comparison) -> tuple[Table, Table]:
    """Table 4: P at every checkpoint, as printed, and here."""
    four = published()["table4"]
    printed = Table(
        ("$t$", *(r"$P_{12;1}$", r"$P_{12;2}$") * 2),
        tuple(
            (f"{t:g}", *map(signed, values))
            for t, *values in zip(*(four[key] for key in ("t", "a_1", "a_2", "b_1", "b_2")), strict=True)
        ),
        "Tables 4a and 4b of the paper as printed: P at every checkpoint.",
        f"1 is English and 2 Russian. {HEADINGS}",
        (("", 1), ("Table 4a, (0.5, 0.5)", 2), ("Table 4b, (0.9, 0.1)", 2)),
    )
    results = comparison.results
    rows, sizes = [], []
    for run, base in enumerate(results.runs):
        weights = weights_text(list(base.weights.values()))
        scale, size = unit(comparison, run)
        sizes.append(f"{size} for {weights}")
        for point in base.checkpoints:
            row = [weights, f"{point.step}"]
            for name in BRACKETS:
                effect = point.effects[name]
                i, j = (effect.domains.index(domain) for domain in results.domains)
                for target in results.targets:
                    key = results.name_in(effect, target)
                    found = (float(effect.P[key][i, j]), float(effect.stderr[key][i, j]))
                    row.append(with_error(*(scale * point.lr**2 * value for value in found)))
            rows.append(tuple(row))
    one, two = results.domains
    measured = Table(
        ("weights", "$t$", *(one, two, "mean") * 2),
        tuple(rows),
        "Table 4a and Table 4b here: the excess loss that P predicts, at every checkpoint.",
        rf"$\Delta w(\gamma\Delta t)^2 P(L_1, L_2; L)$ with 1 = {one} and 2 = {two}, {listed(sizes)}; in "
        f"nats per token, ± its standard error over replicates; above 0, {two} is better put first. "
        f"{NOT_RESOLVED}: within two standard errors of 0.",
        (("", 2), ("plain bracket", 3), ("Adam bracket", 3)),
    )
    return printed, measured


def unit(comparison: Comparison, run: int) -> tuple[float, str]:
    """Δw Δt² of the run's tilt that stands in tables, and in words; of Δw = Δt = 1 where there is none."""
    mine = longest(select(comparison.cases, run=run, tail=False))
    delta, window = (1.0, 1) if not mine else (table_delta(mine) or 1.0, mine[0].at.window)
    return delta * window**2, rf"$\Delta w = {delta:g}$ and $\Delta t = {window}$"
