"""The paper's published tables re-analysed, as blocks of a report."""

from __future__ import annotations

from commute_verify.report import Block, Heading, Paragraph, Table
from experiments.gpt2.comparison.published_tables import (
    TABLES,
    Entry,
    Reanalysis,
    entries,
    implied_factors,
    reanalyse,
)
from experiments.gpt2.comparison.words import NBSP, listed, number, share_text, signed

NAMES = {"table2": "table 2", "table3": "table 3"}


def blocks() -> list[Block]:
    """Signs, ranks, factors and asymmetry of tables 2 and 3."""
    both = reanalyse([entry for table in TABLES for entry in entries(table)])
    return [
        Heading("The paper's own tables 2 and 3, read again", 3),
        agreement_table(),
        Paragraph(sentence(both)),
        factor_table(),
        sum_table(),
    ]


def sentence(both: Reanalysis) -> str:
    """What the printed P adds to the simplest rule."""
    signs, last = both.signs["orders"], both.last_wins
    factors = {table: reanalyse(entries(table)).factor for table in TABLES}
    ranges = [f"from {low:.2g} to {high:.2g} in {NAMES[t]}" for t, (low, _, high) in factors.items()]
    verdict = (
        "agreement in sign on these tables is no evidence for the bracket beyond that rule"
        if last.count >= signs.count
        else "the bracket has more signs right than that rule"
    )
    return (
        f"The printed P has {share_text(signs)} of the signs of both tables; the rule “the language raised "
        f"last wins”, which computes nothing, has {share_text(last)}: {verdict}. Size is what P alone could "
        f"show: the rank correlation of absolute values is {number(both.size_rank)}, and the factor from P "
        f"to EL, one number for one Δt and Δw, ranges {listed(ranges)}. $EL^{{12}} + EL^{{21}}$, zero at "
        f"second order, is above zero in {share_text(both.positive_sums)} of the entries, and its size has a "
        f"median of {both.relative_sum:.0%} of $|EL^{{12}} - EL^{{21}}|$."
    )


def agreement_table() -> Table:
    """Signs, rank correlation, and the rule "last wins", for each table and both together."""
    groups = [(NAMES[table], list(entries(table))) for table in TABLES]
    groups.append(("both", [entry for table in TABLES for entry in entries(table)]))
    rows = []
    for name, found in groups:
        each = reanalyse(found)
        rows.append(
            (
                name,
                *(share_text(each.signs[kind]) for kind in ("12", "21", "orders")),
                share_text(each.last_wins),
                number(each.rank),
                number(each.size_rank),
            )
        )
    return Table(
        ("", r"$EL^{21}$", r"$-EL^{12}$", "their mean", "“last wins”", "rank", "rank of sizes"),
        tuple(rows),
        "Signs of the printed P against the printed excesses, and ranks.",
        "Labels as the paper prints them. Exact 95% intervals (Clopper–Pearson), as if the entries "
        "were independent. Ranks: Spearman's, of P with the mean. “Last wins”: the language raised last ends "
        "lower.",
        (("", 1), ("sign of P", 3), ("", 3)),
    )


def factor_table() -> Table:
    """The factor from P to EL that the paper's constants imply, and the one that its tables have."""
    rows: list[tuple[str, ...]] = []
    for table in TABLES:
        low, middle, high = reanalyse(entries(table)).factor
        seen = f"{middle:.2g} [{low:.2g}, {high:.2g}]".replace(" ", NBSP)
        rows += [
            (
                NAMES[table],
                f"{each.delta:g}",
                *map(_power, (each.nothing, each.gamma, each.gamma_and_dt)),
                seen,
            )
            for each in implied_factors(table)
        ]
    return Table(
        ("", r"$\Delta w$", "P as defined", "γ²P", "γ²Δt²P", "measured"),
        tuple(rows),
        "The factor EL/P that Δw (γΔt)² implies, by what the printed P contains, and the measured one.",
        "Measured: median [smallest, largest] of |EL/P|, EL the mean of both orders. γ = 1.5e−4 and Δt = "
        "4000 as §4.2 and appendix C state them; the tables name no Δw.",
        (("", 2), ("if the printed P is", 3), ("", 1)),
    )


def sum_table() -> Table:
    """EL12 + EL21 of every row against zero."""
    rows = []
    for table in TABLES:
        found = entries(table)
        for t in sorted({entry.t for entry in found}):
            here: list[Entry] = [entry for entry in found if entry.t == t]
            rows.append(
                (
                    NAMES[table],
                    f"{t}",
                    *(signed(entry.total) for entry in here),
                    *(f"{abs(entry.total) / (2 * abs(entry.contrast)):.0%}" for entry in here),
                )
            )
    return Table(
        ("", "$t$", "$L_1$", "$L_2$", "$L_1$", "$L_2$"),
        tuple(rows),
        r"$EL^{12} + EL^{21}$ in the printed tables: zero at second order.",
        "Printed figures have four decimals, so that a sum of up to 0.0001 is rounding.",
        (("", 2), ("sum", 2), ("of the difference", 2)),
    )


def _power(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else f"{value:.1e}"
