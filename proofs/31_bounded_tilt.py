# %% [markdown]
# # A bounded tilt of all domains at once: a linear program
#
# w + D/a for a, then w − D/(T − a) for the rest of a window of length T, with ΣD = 0: totals stay, and D is
# what is trained earlier. The change of the loss is linear in D, whatever its size, so that the best tilt
# within bounds is a linear program; with equal halves, a = ε and D = ε δ, it is ε² δᵀ P w.

# %%
from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import compare

# %% [markdown]
# ## Linear in the shift
# Three domains, symbolic weights, shifts and both stages. To have no division, the stages are written as
# p (w + q δ) and q (w − p δ), so that a = p, T = p + q and D = p q δ. Nothing of second order in δ is left.

# %%
p, q = sp.symbols("p q", positive=True)
w = sp.symbols("w1:4", nonnegative=True)
d1, d2 = sp.symbols("delta1 delta2")
delta = (d1, d2, -d1 - d2)
TILTED = SymbolicSchedule(
    (
        (p, tuple(a + q * b for a, b in zip(w, delta, strict=True))),
        (q, tuple(a - p * b for a, b in zip(w, delta, strict=True))),
    )
)
STRAIGHT = SymbolicSchedule.constant(w, p + q)


def change(factor: sp.Expr, first: tuple[sp.Expr, ...], second: tuple[sp.Expr, ...]) -> Series:
    """factor · Σ_ij first_i second_j P_ij."""
    return combine(
        *(
            (sp.expand(factor * a * b), criterion(i, j))
            for (i, a), (j, b) in product(enumerate(first, 1), enumerate(second, 1))
            if i != j
        )
    )


def judge_linear(printed: tuple[sp.Expr, bool]) -> Judgement:
    """Printed: the factor of Σ δ_i w_j P_ij, and whether a term of second order in δ is claimed."""
    factor, curved = printed
    derived = excess(TILTED, STRAIGHT, 2, loss_series)
    if not agrees_with_flow(derived, TILTED, STRAIGHT, 2):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    second = tuple(a + b for a, b in zip(w, (d2, d1, 0), strict=True)) if curved else w
    formula = change(factor, delta, second)
    return compare(
        formula, {"three domains, any switch, any shift": derived}, "½ T Σ_ij D_i w_j P_ij, linear in D"
    )


LINEAR = Claim(
    id="tilt-linear",
    source="extension: bounded tilts",
    statement="shifting D earlier within a window of length T, totals kept, changes the loss by "
    "½ T Σ_ij D_i w_j P(Li, Lj; L): linear in D, whatever the switch",
    latex=r"L(\theta_D) - L(\theta_{\mathrm{const}}) = \tfrac12 T \sum_{i,j} D_i w_j P(L_i, L_j; L) "
    r"+ O(T^3), \quad \textstyle\sum_i D_i = 0",
    printed=(p * q * (p + q) / 2, False),
    planted=(p * q * (p + q) / 2, True),
    judge=judge_linear,
)


# %% [markdown]
# ## Its value, and the domain at the margin
# For |δ_k| ≤ b_k and Σδ = 0 the least δᵀc, c = Pw, is −min_μ Σ b_k |c_k − μ|, reached at a weighted median μ
# of c: domains below μ are raised early, those above it lowered, and the one at μ settles the sum. Against
# all vertices: one domain settles the sum, all others are at a bound.


# %%
def vertices(bounds: list[Fraction]) -> Iterator[list[Fraction]]:
    """Every vertex of |δ| ≤ b, Σδ = 0."""
    for free in range(len(bounds)):
        rest = [k for k in range(len(bounds)) if k != free]
        for signs in product((-1, 1), repeat=len(rest)):
            point = [Fraction(0)] * len(bounds)
            for k, sign in zip(rest, signs, strict=True):
                point[k] = sign * bounds[k]
            point[free] = -sum(point, Fraction(0))
            if abs(point[free]) <= bounds[free]:
                yield point


def level(kind: str, c: list[Fraction], bounds: list[Fraction]) -> Fraction:
    if kind == "weighted mean":
        return sum((a * b for a, b in zip(c, bounds, strict=True)), Fraction(0)) / sum(bounds)
    ranked, reached = sorted(zip(c, bounds, strict=True)), Fraction(0)
    for value, bound in ranked:
        reached += bound
        if 2 * reached >= sum(bounds):
            return value
    raise ArithmeticError("no weighted median")


def judge_value(printed: tuple[int, str]) -> Judgement:
    """Printed: the sign of Σ b |c − μ|, and what μ is."""
    sign, kind = printed
    source, wrong, draws = random.Random(32), 0, 60
    for draw in range(draws):
        K = 2 + draw % 5
        c = [Fraction(source.randint(-9, 9), source.randint(1, 4)) for _ in range(K)]
        bounds = [Fraction(source.randint(1, 9), source.randint(1, 4)) for _ in range(K)]
        least = min(sum(x * y for x, y in zip(point, c, strict=True)) for point in vertices(bounds))
        mu = level(kind, c, bounds)
        wrong += least != sign * sum(b * abs(x - mu) for x, b in zip(c, bounds, strict=True))
    reason = f"{draws} random rational problems of 2 to 6 domains against all vertices: {wrong} differ"
    if not wrong:
        return Judgement("holds", reason)
    return Judgement("false", reason, "−Σ b |c − μ| at a weighted median μ of c = Pw")


VALUE = Claim(
    id="tilt-value",
    source="extension: bounded tilts",
    statement="the best tilt w ± δ with |δ_k| ≤ b_k changes the loss by −ε² Σ b_k |c_k − μ|, c = Pw and μ a "
    "weighted median of c",
    latex=r"\min_{|\delta_k| \le b_k,\ \Sigma\delta = 0} \delta^\top P w "
    r"= -\min_\mu \sum_k b_k \big|(Pw)_k - \mu\big|",
    printed=(-1, "weighted median"),
    planted=(-1, "weighted mean"),
    judge=judge_value,
)


# %% [markdown]
# ## Where to switch
# With the same bound up and down, |D| ≤ b·min(a, T − a): nothing allows more than equal halves. Where a
# domain can rise further than it can fall, as a small one can, the switch moves; for two domains with no
# bound but the simplex it moves until the tilt is two blocks.


# %%
def judge_switch(printed: Fraction) -> Judgement:
    """Printed: the share of the window, in two domains with weights ¾ and ¼, before the best switch."""
    w1, w2 = Fraction(3, 4), Fraction(1, 4)
    steps = 64
    shares = [Fraction(n, steps) for n in range(1, steps)]
    # With P12 < 0 more of 1 comes first: D = (x, −x) with w1 + x/a ≤ 1, w2 − x/a ≥ 0 and w1 − x/(1 − a) ≥ 0.
    shift = {a: min(a * w2, (1 - a) * w1) for a in shares}
    best = max(shift.values())
    found = [a for a in shares if shift[a] == best]
    # Two blocks of lengths w1 and w2 have the area ½ w1 w2; the tilt has ½ x.
    same = "the area of two blocks" if best == w1 * w2 else "an area that two blocks do not have"
    reason = (
        f"of {steps - 1} switches, {', '.join(map(str, found))} of the window allows most: x = {best}, {same}"
    )
    if found == [printed]:
        return Judgement("holds", reason)
    return Judgement(
        "false", reason, f"switch after {found[0]} of the window, when the first domain's total is spent"
    )


SWITCH = Claim(
    id="tilt-switch",
    source="extension: bounded tilts",
    statement="for weights ¾ and ¼ and no bound but the simplex, the best switch is at ¾ of the window, and "
    "the tilt is then two blocks",
    latex=r"\arg\max_a \min\big(a w_2, (T - a) w_1\big) = w_1 T",
    printed=Fraction(3, 4),
    planted=Fraction(1, 2),
    judge=judge_switch,
)

CLAIMS = [LINEAR, VALUE, SWITCH]
