"""Prediction against observation in tables: signs, ranks and ratios."""

from __future__ import annotations

from commute_verify.report import Table
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.agreement import Agreement, agreement
from experiments.gpt2.comparison.asymmetry import median_relative
from experiments.gpt2.comparison.breakdown import Reach, reach
from experiments.gpt2.comparison.cases import Cases, select
from experiments.gpt2.comparison.predictions import PREDICTORS
from experiments.gpt2.comparison.results import BRACKETS, MEAN
from experiments.gpt2.comparison.words import (
    NBSP,
    number,
    rough,
    share_cell,
    weights_text,
)

WHEN = {False: "right after", True: "after the tail"}
"""Before and after the common tail."""

_INDEPENDENCE = (
    "Intervals: exact 95% (Clopper–Pearson), as if cases were independent; languages, tilts and windows of "
    "one checkpoint are not, so that they are too narrow. Resolved: observed and predicted both beyond two "
    "standard errors."
)


def tails(cases: Cases) -> list[bool]:
    """Whether there are cases before, and after, the tail."""
    return sorted({case.at.tail for case in cases})


def predictors(comparison: Comparison) -> Table:
    """Every predictor against which order is better, on the languages and on the mean loss."""
    rows = []
    for tail in tails(comparison.cases):
        for by, name in PREDICTORS.items():
            row = [WHEN[tail], name]
            for targets in (comparison.results.domains, (MEAN,)):
                found = agreement(select(comparison.cases, kind="orders", tail=tail, targets=targets), by)
                row += [share_cell(found.all), share_cell(found.resolved), number(found.rank)]
            rows.append(tuple(row))
    return Table(
        ("", "predictor", "all", "resolved", "rank", "all", "resolved", "rank"),
        tuple(rows),
        r"Which order ends lower: sign of the prediction against $L(\theta_{12}) - L(\theta_{21})$, at every "
        r"$\Delta t$, $\Delta w$ and checkpoint.",
        f"{_INDEPENDENCE} Rank: Spearman's correlation over all. The rules below the brackets need no "
        "product with a Hessian: “one curvature for all” takes ⟨g_1 − g_2, ∇L⟩ from the gradients' norms and "
        "cosine; the cosine alone is the same for both orders. Of the mean loss “last wins” says nothing.",
        (("", 2), ("the two languages", 3), ("mean loss", 3)),
    )


def by_window(comparison: Comparison) -> Table:
    """Signs and ratios of both brackets at every Δt and Δw."""
    rows = []
    for tail in tails(comparison.cases):
        here = select(comparison.cases, kind="orders", tail=tail, targets=comparison.results.domains)
        for run, base in enumerate(comparison.results.runs):
            mine = select(here, run=run)
            for window, delta in sorted({(case.at.window, case.at.delta) for case in mine}):
                cell = select(mine, window=window, delta=delta)
                found = [agreement(cell, by) for by in BRACKETS]
                rows.append(
                    (
                        WHEN[tail],
                        weights_text(list(base.weights.values())),
                        f"{window}",
                        f"{delta:g}",
                        *(text for each in found for text in _cells(each)),
                    )
                )
    return Table(
        ("", "weights", r"$\Delta t$", r"$\Delta w$", *("all", "resolved", "rank", "ratio") * 2),
        tuple(rows),
        r"Signs, ranks and observed over predicted at every $\Delta t$ and $\Delta w$, order against order, "
        "the two languages.",
        f"Ratio: median [10%, 90%]. {_INDEPENDENCE}",
        (("", 4), ("plain bracket", 4), ("Adam bracket", 4)),
    )


def _cells(found: Agreement) -> tuple[str, str, str, str]:
    return share_cell(found.all), share_cell(found.resolved), number(found.rank), ratio_text(found)


def ratio_text(found: Agreement) -> str:
    """Median and 10–90% range of observed over predicted."""
    if found.ratio is None:
        return "–"
    low, middle, high = map(rough, found.ratio)
    return f"{middle} [{low}, {high}]".replace(" ", NBSP)


def orders(comparison: Comparison) -> Table:
    """The same signs counted for each order against the base, as the paper's tables have them."""
    rows = []
    for tail in tails(comparison.cases):
        for kind, name in (("12", "12 against base"), ("21", "21 against base"), ("orders", "12 against 21")):
            here = select(comparison.cases, kind=kind, tail=tail, targets=comparison.results.domains)
            found = [agreement(here, by) for by in BRACKETS]
            rows.append((WHEN[tail], name, *(text for each in found for text in _cells(each))))
    one, two = comparison.results.domains
    return Table(
        ("", "difference", *("all", "resolved", "rank", "ratio") * 2),
        tuple(rows),
        "Each order against the base, and one against the other: the two languages, all windows and tilts.",
        f"12 raises {one} first and {two} last. What both orders share cancels in the last row of three.",
        (("", 2), ("plain bracket", 4), ("Adam bracket", 4)),
    )


def reaches(comparison: Comparison, *, tail: bool) -> dict[str, Reach]:
    """How far every predictor reaches, order against order, on the two languages."""
    here = select(comparison.cases, kind="orders", tail=tail, targets=comparison.results.domains)
    return {by: reach(here, by) for by in PREDICTORS}


def asymmetry(comparison: Comparison) -> Table:
    """EL12 + EL21 against zero at the longest window."""
    rows = []
    for tail in tails(comparison.cases):
        for run, base in enumerate(comparison.results.runs):
            mine = [each for each in comparison.sums if (each.at.run, each.at.tail) == (run, tail)]
            for window, delta in sorted({(each.at.window, each.at.delta) for each in mine}):
                here = [each for each in mine if (each.at.window, each.at.delta) == (window, delta)]
                known = [each for each in here if each.total.error is not None]
                rows.append(
                    (
                        WHEN[tail],
                        weights_text(list(base.weights.values())),
                        f"{window}",
                        f"{delta:g}",
                        number(median_relative(tuple(here))),
                        f"{sum(each.total.value > 0 for each in here)}/{len(here)}",
                        f"{sum(each.total.resolved for each in known)}/{len(known)}" if known else "–",
                    )
                )
    return Table(
        ("", "weights", r"$\Delta t$", r"$\Delta w$", "median", "above 0", "resolved"),
        tuple(rows),
        r"$EL^{12} + EL^{21}$ against zero: at second order the two orders are mirror images.",
        r"Median of $|EL^{12} + EL^{21}| / |EL^{12} - EL^{21}|$ over checkpoints and losses; resolved: the "
        "sum lies beyond two standard errors over three seeds or more.",
    )
