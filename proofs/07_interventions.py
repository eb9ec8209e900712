# %% [markdown]
# # Interventions: the same data in another order
#
# §4.1 swaps two blocks, eq. 9 and eq. 10 raise one language and then the other. Totals must stay, and the
# reference must have seen as much data: it is θ(t₀ + 2Δt).

# %%
from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import criterion
from proofs.claim import Claim, Judgement
from proofs.compare import factor_between, math, text
from proofs.figures import DELTAS

t0, Dt, dw = sp.symbols("t0 Dt Dw", positive=True)
HALF = sp.Rational(1, 2)
Weights = tuple[sp.Expr, sp.Expr, sp.Expr]

# %% [markdown]
# ## Totals
# A schedule is printed as the weights of both domains on [0, t₀), [t₀, t₀ + Δt) and [t₀ + Δt, t₀ + 2Δt);
# θ21 has the last two exchanged, and the base keeps the first throughout. Batches are sampled with these
# weights, so "the same" is meant in expectation.


# %%
@dataclass(frozen=True)
class Intervention:
    """Weights of both domains on the three stages, and the values that Δw takes."""

    first: Weights
    second: Weights
    options: tuple[sp.Rational, ...]


def schedules(printed: Intervention) -> dict[str, SymbolicSchedule]:
    """The three schedules from 0 to t₀ + 2Δt."""
    before, early, late = zip(printed.first, printed.second, strict=True)
    return {
        "θ12": SymbolicSchedule(((t0, before), (Dt, early), (Dt, late))),
        "θ21": SymbolicSchedule(((t0, before), (Dt, late), (Dt, early))),
        "θ(t₀+2Δt)": SymbolicSchedule.constant(before, t0 + 2 * Dt),
    }


def invalid_weights(printed: Intervention) -> list[str]:
    """Stages whose weights do not sum to 1, or are negative for some Δw."""
    stages = list(zip(printed.first, printed.second, strict=True))
    sums = [f"stage {n} sums to {sum(stage)}" for n, stage in enumerate(stages) if sp.expand(sum(stage)) != 1]
    negative = [
        f"a weight of {w.subs(dw, option)} at Δw = {option}"
        for stage in stages
        for w in map(sp.sympify, stage)
        for option in printed.options
        if w.subs(dw, option) < 0
    ]
    return sums + negative


def judge_totals(printed: Intervention) -> Judgement:
    totals = {name: schedule.totals() for name, schedule in schedules(printed).items()}
    reason = "; ".join(f"{name}: {', '.join(map(math, total))}" for name, total in totals.items())
    faults = invalid_weights(printed)
    if faults:
        return Judgement("false", f"{reason}; {'; '.join(faults)}", "weights are at least 0 and sum to 1")
    if len({tuple(map(sp.expand, total)) for total in totals.values()}) > 1:
        return Judgement("false", reason, "what a domain gains in one stage it must lose in the other")
    return Judgement("holds", reason)


def options(table: str) -> tuple[sp.Rational, ...]:
    """The values of Δw in the experiment of a table."""
    return tuple(sp.Rational(value) for value in DELTAS[table])


def tilted(w1: sp.Rational, w2: sp.Rational, table: str) -> Intervention:
    """Base weights, then the first domain raised by Δw, then the second."""
    return Intervention((w1, w1 + dw, w1 - dw), (w2, w2 - dw, w2 + dw), options(table))


BLOCKS = Intervention((HALF, sp.Integer(1), sp.Integer(0)), (HALF, sp.Integer(0), sp.Integer(1)), ())
SECTION_41 = Claim(
    id="sec4.1-totals",
    source="§4.1",
    statement="the amount of training data behind θ12, θ21 and θ_base = θ(t + 2Δt) is the same",
    latex=r"\int w^{12} dt = \int w^{21} dt = \int w^{base} dt",
    printed=BLOCKS,
    planted=replace(BLOCKS, first=(HALF, sp.Integer(1), HALF), second=(HALF, sp.Integer(0), HALF)),
    judge=judge_totals,
)

BALANCED = tilted(HALF, HALF, "table2")
EQ9 = Claim(
    id="eq9-totals",
    source="§4.2, eq. 9",
    statement="the totals of English and of Russian are the same for θ12, θ21 and θ(t₀ + 2Δt)",
    latex=r"w_1^{12} = 0.5,\; 0.5 + \Delta w,\; 0.5 - \Delta w",
    printed=BALANCED,
    planted=replace(BALANCED, first=(HALF, HALF + dw, HALF), second=(HALF, HALF - dw, HALF)),
    judge=judge_totals,
)

NINE_TENTHS, TENTH = sp.Rational(9, 10), sp.Rational(1, 10)
IMBALANCED = tilted(NINE_TENTHS, TENTH, "table3")
EQ10 = Claim(
    id="eq10-totals",
    source="§4.3, eq. 10",
    statement="the totals of English and of Russian are the same for θ12, θ21 and θ(t₀ + 2Δt)",
    latex=r"w_1^{12} = 0.9,\; 0.9 + \Delta w,\; 0.9 - \Delta w",
    printed=IMBALANCED,
    planted=replace(IMBALANCED, second=(TENTH, TENTH + dw, TENTH - dw)),
    judge=judge_totals,
)

# %% [markdown]
# ## θ_base = θ(t₀)?
# §4.2 calls the starting checkpoint θ_base. Against it, the excess has a first-order term, the progress of
# ordinary training, that hides the order's effect; against θ(t₀ + 2Δt) it begins with δ Δt² P.

# %%
w = sp.Symbol("w", positive=True)
TILT = SymbolicSchedule.tilt((w, 1 - w), 1, 2, dw, Dt)


def judge_base(printed: sp.Expr) -> Judgement:
    """Printed: how long the reference trains after t₀."""
    reference = SymbolicSchedule.constant((w * printed, (1 - w) * printed), 1)
    change = excess(TILT, reference, 2, loss_series)
    first = of_order(change, 1)
    if first:
        return Judgement("corrected", f"first-order term: {text(first)}", "θ_base = θ(t₀ + 2Δt)")
    factor = factor_between(change, criterion(1, 2))
    if factor is None:
        return Judgement("false", f"order 2 is {text(change)}", "no reference of this length isolates P")
    return Judgement("holds", f"no first-order term; order 2 is {math(factor)} P(L1, L2; L)")


BASE = Claim(
    id="theta-base",
    source="§4.2",
    statement="the excess is measured against θ_base = θ(t₀)",
    latex=r"\theta_{base} = \theta(t_0)",
    printed=sp.Integer(0),
    planted=Dt,
    right=2 * Dt,
    judge=judge_base,
)

CLAIMS = [SECTION_41, EQ9, EQ10, BASE]
