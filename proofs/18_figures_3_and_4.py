# %% [markdown]
# # Figures 3 and 4: totals, ranges and formulas in the captions
#
# All follow from the starting checkpoints of tables 2 and 3, Δt and the base weights.

# %%
from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import sympy as sp

from commute_verify.symbolic.schedules import SymbolicSchedule
from proofs.claim import Claim, Judgement
from proofs.figures import DELTAS, INTERVENTION, rows

Weights = tuple[Fraction, Fraction]
Totals = tuple[tuple[int, int], ...]
BALANCED, IMBALANCED = (Fraction(1, 2), Fraction(1, 2)), (Fraction(9, 10), Fraction(1, 10))

# %% [markdown]
# ## Batches of each language


# %%
@dataclass(frozen=True)
class Batches:
    """Base weights, starting checkpoints, and the batches of both languages for each curve."""

    weights: Weights
    starts: tuple[int, ...]
    totals: Totals


def batches(weights: Weights, start: int) -> tuple[int, int]:
    """Totals of the base trajectory up to start + 2Δt."""
    run = SymbolicSchedule.constant([sp.Rational(w) for w in weights], start + 2 * INTERVENTION)
    english, russian = run.totals()
    return int(english), int(russian)


def judge_batches(printed: Batches) -> Judgement:
    derived = tuple(batches(printed.weights, start) for start in printed.starts)
    steps = [sum(total) for total in derived]
    reason = f"t₀ + 2Δt = {steps} batches, of each language {list(derived)}"
    wrong = [
        f"{given} should be {total}"
        for given, total in zip(printed.totals, derived, strict=True)
        if given != total
    ]
    if not wrong:
        return Judgement("holds", reason)
    return Judgement("corrected", reason, "; ".join(wrong))


STARTS = {table: tuple(row.t for row in rows(table)) for table in DELTAS}
FIGURE_3 = Batches(BALANCED, STARTS["table2"], ((5000, 5000), (8000, 8000), (11000, 11000), (14000, 14000)))
FIG3_TOTALS = Claim(
    id="fig3-totals",
    source="Figure 3, caption",
    statement="the curves use 5000, 8000, 11000 and 14000 batches of each language",
    latex=r"\tfrac{1}{2}(t_0 + 2\Delta t) = 5000,\, 8000,\, 11000,\, 14000",
    printed=FIGURE_3,
    planted=replace(FIGURE_3, totals=(*FIGURE_3.totals[:3], (14000, 13000))),
    judge=judge_batches,
)

FIGURE_4 = Batches(IMBALANCED, STARTS["table3"], ((9000, 1000), (14400, 1600), (19800, 2200), (24200, 2800)))
FIG4_TOTALS = Claim(
    id="fig4-totals",
    source="Figure 4, caption",
    statement="the series use (9000, 1000), (14400, 1600), (19800, 2200), (24200, 2800) batches",
    latex=r"(0.9,\, 0.1)(t_0 + 2\Delta t) = (9000, 1000),\, \ldots,\, (24200, 2800)",
    printed=FIGURE_4,
    planted=replace(FIGURE_4, totals=((9000, 1000), (14400, 1600), (19800, 2800), (24200, 2800))),
    right=replace(FIGURE_4, totals=(*FIGURE_4.totals[:3], (25200, 2800))),
    judge=judge_batches,
)

# %% [markdown]
# ## The steps shown
# An excess is measured against θ(t₀ + 2Δt), so the constant trajectory must reach the last of these.


# %%
@dataclass(frozen=True)
class Shown:
    """First and last step of the constant trajectory in a figure, and the starting checkpoints."""

    steps: tuple[int, int]
    starts: tuple[int, ...]


def judge_shown(printed: Shown) -> Judgement:
    needed = [start + 2 * INTERVENTION for start in printed.starts]
    reason = (
        f"the references are the checkpoints {needed}; shown are {printed.steps[0]} to {printed.steps[1]}"
    )
    if printed.steps[0] <= needed[0] and needed[-1] <= printed.steps[1]:
        return Judgement("holds", reason)
    return Judgement("corrected", reason, f"the trajectory must reach step {needed[-1]}")


FIG3_RANGE = Claim(
    id="fig3-range",
    source="Figure 3, caption, and §4.2 (28000 steps for the last checkpoint)",
    statement="the constant trajectory from step 4000 to 28000 holds all references",
    latex=r"4000 \le t_0 + 2\Delta t \le 28000",
    printed=Shown((4000, 28000), STARTS["table2"]),
    planted=Shown((4000, 27000), STARTS["table2"]),
    judge=judge_shown,
)

FIG4_RANGE = Claim(
    id="fig4-range",
    source="Figure 4, caption",
    statement="the constant trajectory from step 4000 to 25000 holds all references",
    latex=r"4000 \le t_0 + 2\Delta t \le 25000",
    printed=Shown((4000, 25000), STARTS["table3"]),
    planted=Shown((4000, 20000), STARTS["table3"]),
    right=Shown((4000, 28000), STARTS["table3"]),
    judge=judge_shown,
)

# %% [markdown]
# ## The formula that figure 4 cites
# Its base weights decide between eq. 9 and eq. 10; with those of the other equation the interventions would
# be others.


# %%
@dataclass(frozen=True)
class Citation:
    """Base weights of a figure, and the number of the equation that it cites."""

    weights: Weights
    equation: int


EQUATIONS = {9: BALANCED, 10: IMBALANCED}


def judge_citation(printed: Citation) -> Judgement:
    fitting = [number for number, weights in EQUATIONS.items() if weights == printed.weights]
    shown = {number: tuple(map(float, weights)) for number, weights in EQUATIONS.items()}
    reason = f"base weights {tuple(map(float, printed.weights))}; those of the equations are {shown}"
    if printed.equation in fitting:
        return Judgement("holds", reason)
    if not fitting:
        return Judgement("false", reason, "no equation has these weights")
    return Judgement("corrected", reason, f"eq. {fitting[0]}")


FIG4_CAPTION = Claim(
    id="fig4-caption",
    source="Figure 4, caption",
    statement="the red points, around the weights (0.9, 0.1), follow eq. 9",
    latex=r"w = (0.9, 0.1): \text{ formula } (9)",
    printed=Citation(IMBALANCED, 9),
    planted=Citation((Fraction(4, 5), Fraction(1, 5)), 9),
    right=Citation(IMBALANCED, 10),
    judge=judge_citation,
)

CLAIMS = [FIG3_TOTALS, FIG4_TOTALS, FIG3_RANGE, FIG4_RANGE, FIG4_CAPTION]
