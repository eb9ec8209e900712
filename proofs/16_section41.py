# %% [markdown]
# # §4.1: what the swap of two blocks does to the loss
#
# Domain 1 for Δt and then domain 2 for Δt, against the mixture (½, ½) for 2Δt, all from the same θ.

# %%
from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion, tree
from proofs.claim import Claim, Judgement
from proofs.compare import COMPOSITION, SCHEDULE, compare, factor_between, math, scaled

Dt = sp.Symbol("Dt", positive=True)
ONE_FIRST = SymbolicSchedule.blocks({1: Dt, 2: Dt})
TWO_FIRST = SymbolicSchedule.blocks({2: Dt, 1: Dt})
MIXED = ONE_FIRST.straight()
P = criterion(1, 2)


def excess_loss(schedule: SymbolicSchedule, order: int) -> Series:
    """L at the end of the schedule less L at the end of the mixture."""
    return excess(schedule, MIXED, order, loss_series)


# %% [markdown]
# ## The factor of the first line
# ⅛ would be right if the two blocks took Δt together; the text gives each of them Δt.


# %%
def judge_eighth(printed: sp.Expr) -> Judgement:
    """Printed: the factor of Δt² P(L1, L2; L)."""
    change = of_order(excess_loss(ONE_FIRST, 2), 2)
    found = compare(
        scaled(printed * Dt**2, P), {SCHEDULE: change, COMPOSITION: scaled(-1, change)}, "½ Δt² P(L1, L2; L)"
    )
    factor = factor_between(change, scaled(Dt**2, P))
    block = sp.sqrt(sp.Abs(printed) / factor)
    reason = f"{found.reason}; {math(abs(printed))} Δt² belongs to blocks of {math(block)} Δt each"
    return Judgement(found.verdict, reason, found.correction)


EIGHTH = Claim(
    id="sec4.1-eighth",
    source="§4.1, first line of the prediction",
    statement="L(θ12) − L(θ_base) ≃ ⅛ Δt² P(L1, L2; L)",
    latex=r"L(\theta_{12}) - L(\theta_{base}) \simeq \tfrac{1}{8} \Delta t^2 P(L_1, L_2; L)(\theta(t))",
    printed=sp.Rational(1, 8),
    planted=-sp.Rational(1, 8),
    right=sp.Rational(1, 2),
    judge=judge_eighth,
)

# %% [markdown]
# ## The line as written out
# ((θ − b1)ᵀA1 + (θ − b2)ᵀA2) (A1A2(θ − b2) − A2A1(θ − b1)), where g_i = A_i(θ − b_i), H_i = A_i and
# ∇L = ½(g1 + g2). Its factor is derived twice: from the series, and by operators on explicit quadratics. The
# line names neither R nor "12", so its sign is not a matter of reading: the bracket is that of R(L2, L1), and
# its left side is 2∇L.

# %%
Products = dict[tuple[int, int], int]


@dataclass(frozen=True)
class WrittenOut:
    """factor · Δt² · (Σ_k left_k g_k)ᵀ (Σ_jk right_jk A_j g_k)."""

    factor: sp.Expr
    left: tuple[int, int]
    right: Products


def in_trees(line: WrittenOut) -> Series:
    """The line as trees for L = ½(L1 + L2); only a left side along g1 + g2 = 2∇L has this form."""
    if line.left[0] != line.left[1]:
        return {}
    below = {tree(0, tree(j, tree(k))): 2 * line.left[0] * sign for (j, k), sign in line.right.items()}
    return scaled(line.factor * Dt**2, below)


x, y = sp.symbols("x y")
theta = sp.Matrix([x, y])
A = {1: sp.Matrix([[2, 1], [1, 1]]), 2: sp.Matrix([[1, -1], [-1, 3]])}
g = {1: A[1] * (theta - sp.Matrix([1, 0])), 2: A[2] * (theta - sp.Matrix([2, -1]))}
SPACE = Coordinates((x, y), (Dt,))
LOSSES = [SPACE((g[k].T * A[k].inv() * g[k])[0] / 2) for k in (1, 2)]
MEAN = (LOSSES[0] + LOSSES[1]) / 2


def observed(schedule: SymbolicSchedule, order: int) -> sp.Expr:
    """The excess of L at one order of Δt for the two explicit quadratics, by operators alone."""
    ends = [SPACE.along(MEAN, LOSSES, path, order) for path in (schedule, MIXED)]
    return SPACE.graded(ends[0] - ends[1], order).as_expr()


def in_coordinates(line: WrittenOut) -> sp.Expr:
    """The line for the two explicit quadratics, by matrix products."""
    left = line.left[0] * g[1] + line.left[1] * g[2]
    right = sum((sign * A[j] * g[k] for (j, k), sign in line.right.items()), sp.zeros(2, 1))
    return line.factor * Dt**2 * (left.T * right)[0]


def coefficients(expression: sp.Expr) -> dict[tuple[int, ...], sp.Expr]:
    """By powers of θ."""
    return dict(sp.Poly(sp.expand(expression), x, y).terms())


def judge_explicit(printed: WrittenOut) -> Judgement:
    change = of_order(excess_loss(ONE_FIRST, 2), 2)
    matrices = factor_between(coefficients(in_coordinates(printed)), coefficients(observed(ONE_FIRST, 2)))
    series = factor_between(in_trees(printed), change)
    if matrices != series:
        return Judgement("false", f"series: {series}; explicit quadratics: {matrices}", "not a multiple of P")
    correction = (
        "no factor repairs it" if not series else f"the line's factor is {math(printed.factor / series)}"
    )
    found = compare(in_trees(printed), {"domain 1 first, as the text spells it out": change}, correction)
    lines = factor_between(in_trees(printed), scaled(printed.factor * Dt**2, P))
    reason = f"{found.reason}; explicit quadratics give the same"
    if lines not in (None, 1):
        reason += f". With one factor before both lines, the second is {math(lines)} × the first"
    return Judgement(found.verdict, reason, found.correction)


LINE = WrittenOut(sp.Rational(1, 8), (1, 1), {(1, 2): 1, (2, 1): -1})
EXPLICIT = Claim(
    id="sec4.1-explicit",
    source="§4.1, second line of the prediction",
    statement="the same excess is ⅛ Δt² ((θ−b1)ᵀA1 + (θ−b2)ᵀA2)(A1A2(θ−b2) − A2A1(θ−b1))",
    latex=r"\tfrac{1}{8}\Delta t^2 \big((\theta-b_1)^T A_1 + (\theta-b_2)^T A_2\big)"
    r"\big(A_1 A_2 (\theta-b_2) - A_2 A_1 (\theta-b_1)\big)",
    printed=LINE,
    planted=replace(LINE, right={(1, 2): 1, (2, 1): 1}),
    right=replace(LINE, factor=-sp.Rational(1, 4)),
    judge=judge_explicit,
)

# %% [markdown]
# ## L(θ12) − L(θ_base) ≃ L(θ_base) − L(θ21)
# The sum of the two excesses vanishes at order 2 and at no higher one: this is where the deviations of
# table 1 begin.

# %%
HIGHEST = 3


def sum_of_excesses(order: int) -> Series:
    """L(θ12) + L(θ21) − 2 L(θ_base), the terms of one order."""
    both = combine((1, excess_loss(ONE_FIRST, order)), (1, excess_loss(TWO_FIRST, order)))
    return of_order(both, order)


def judge_antisymmetry(printed: int) -> Judgement:
    """Printed: the order in Δt up to which the two sides agree."""
    sums = {n: sum_of_excesses(n) for n in range(1, HIGHEST + 1)}
    agree = next((n - 1 for n, terms in sums.items() if terms), HIGHEST)
    explicit = sp.factor(observed(ONE_FIRST, agree + 1) + observed(TWO_FIRST, agree + 1))
    reason = (
        f"the sum of the excesses vanishes up to order {agree}; at order {agree + 1} it has "
        f"{len(sums[agree + 1])} terms, and for two explicit quadratics it is {math(explicit)}"
    )
    if printed <= agree:
        return Judgement("holds", reason)
    return Judgement("corrected", reason, f"equal up to order Δt^{agree} only")


ANTISYMMETRY = Claim(
    id="sec4.1-antisymmetry",
    source="§4.1, first line of the prediction",
    statement="L(θ12) − L(θ_base) ≃ L(θ_base) − L(θ21), to order Δt²",
    latex=r"L(\theta_{12}) - L(\theta_{base}) = L(\theta_{base}) - L(\theta_{21}) + O(\Delta t^3)",
    printed=2,
    planted=3,
    judge=judge_antisymmetry,
)

CLAIMS = [EIGHTH, EXPLICIT, ANTISYMMETRY]
