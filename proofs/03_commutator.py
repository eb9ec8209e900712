# %% [markdown]
# # Theorem 3.1: the commutator of two gradient flows
#
# Train domain 1 for t₁ and then domain 2 for t₂, or the other way round. To second order the two ends differ
# by t₁t₂ times one vector, the bracket R(L1, L2) = H2 g1 − H1 g2. The order of the flows decides its sign,
# and the paper uses both.

# %%
from __future__ import annotations

from dataclasses import replace

import sympy as sp

from commute_verify.symbolic.expansions import excess, of_order, parameter_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import criterion, lie_bracket, tree
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, COMPOSITION, SCHEDULE, compare, factor_between, scaled

t1, t2 = sp.symbols("t1 t2", positive=True)

# %% [markdown]
# ## The construction
# ``ONE_FIRST`` runs domain 1 for t₁ and then domain 2 for t₂; as maps this is Φ2(t₂)∘Φ1(t₁).

# %%
ONE_FIRST = SymbolicSchedule.blocks({1: t1, 2: t2})
TWO_FIRST = SymbolicSchedule.blocks({2: t2, 1: t1})
g1, g2 = {tree(1): 1}, {tree(2): 1}
H2_g1, H1_g2 = {tree(2, tree(1)): 1}, {tree(1, tree(2)): 1}
R = {tree(2, tree(1)): 1, tree(1, tree(2)): -1}  # eq. 6
MINUS_R = {tree(2, tree(1)): -1, tree(1, tree(2)): 1}

# %% [markdown]
# ## Eq. 5: [Φ1(t₁), Φ2(t₂)] = t₁t₂ R + o(t₁t₂), with R from eq. 6
# Read as "1 first minus 2 first" it holds; read as Φ1∘Φ2 − Φ2∘Φ1, which is how D.1 begins, it has the sign
# of −R.


# %%
def judge_eq5(printed: dict) -> Judgement:
    gap = of_order(excess(ONE_FIRST, TWO_FIRST, 2), 2)
    derived = {SCHEDULE: gap, COMPOSITION: scaled(-1, gap)}
    return compare(scaled(t1 * t2, printed), derived, "[Φ1, Φ2] = (1 first) − (2 first) = Φ2∘Φ1 − Φ1∘Φ2")


EQ5 = Claim(
    id="eq5",
    source="Theorem 3.1, eq. 5",
    statement="the commutator of the gradient flows is t₁t₂ R(L1, L2) to second order",
    latex=r"[\Phi_1(t_1), \Phi_2(t_2)] = t_1 t_2 R(L_1, L_2) + o(t_1 t_2)",
    printed=R,
    planted=scaled(sp.Rational(1, 2), R),
    judge=judge_eq5,
)

# %% [markdown]
# ## Eq. 6: R(L1, L2) = [∇L1, ∇L2] = H2 g1 − H1 g2
# With [X, Y] = DY·X − DX·Y, as in most textbooks, it holds. The descent fields −g_k have the same bracket:
# two signs cancel.


# %%
def judge_eq6(printed: dict) -> Judgement:
    bracket = lie_bracket(g1, g2)
    descent = lie_bracket(scaled(-1, g1), scaled(-1, g2))
    if scaled(1, bracket) != scaled(1, descent):
        return Judgement("false", "gradient and descent fields differ", "use one of the two throughout")
    return compare(printed, {SCHEDULE: bracket, COMPOSITION: scaled(-1, bracket)}, "R = H2 g1 − H1 g2")


EQ6 = Claim(
    id="eq6",
    source="Theorem 3.1, eq. 6",
    statement="the bracket of the gradient fields is Hess L2 ∇L1 − Hess L1 ∇L2",
    latex=r"R(L_1, L_2) = [\nabla L_1, \nabla L_2] = H_2 \nabla L_1 - H_1 \nabla L_2",
    printed=R,
    planted={tree(2, tree(1)): 1, tree(1, tree(2)): 1},
    judge=judge_eq6,
)

# %% [markdown]
# ## Eq. 7: P = ⟨R, ∇L⟩ = ∇Lᵀ(H_i g_j − H_j g_i)
# The first form takes R from eq. 6, the second is written with R's other sign. No reading makes both equal.


# %%
def judge_eq7(printed: dict) -> Judgement:
    found = compare(
        printed,
        {"with R of eq. 6": criterion(1, 2)},
        "P(Li, Lj; L) = ⟨R(Li, Lj), ∇L⟩ = ∇Lᵀ(Hess Lj ∇Li − Hess Li ∇Lj)",
    )
    if factor_between(printed, criterion(2, 1)) == 1:
        return replace(found, reason=f"{found.reason}; the second form is that of the {COMPOSITION}")
    return found


EQ7 = Claim(
    id="eq7",
    source="Corollary 3.2(a), eq. 7",
    statement="P(Li, Lj; L) = ⟨R(Li, Lj), ∇L⟩ equals ∇Lᵀ(Hess Li ∇Lj − Hess Lj ∇Li)",
    latex=r"\langle R(L_i, L_j), \nabla L\rangle = \nabla L^T (H_i \nabla L_j - H_j \nabla L_i)",
    printed={tree(0, tree(1, tree(2))): 1, tree(0, tree(2, tree(1))): -1},
    planted={tree(0, tree(1, tree(2))): 1, tree(0, tree(2, tree(1))): 1},
    right={tree(0, tree(1, tree(2))): -1, tree(0, tree(2, tree(1))): 1},
    judge=judge_eq7,
)

# %% [markdown]
# ## D.1: the expansion of Φ2∘Φ1, and the difference of the two compositions
# The printed terms are held as data: coefficients on the trees of v₁ and v₂, which are (−1)^order times those
# of the gradients.

# %%
D1_COMPOSITION = {
    tree(1): -t1,
    tree(2): -t2,
    tree(1, tree(1)): t1**2 / 2,
    tree(2, tree(1)): t1 * t2,
    tree(2, tree(2)): t2**2 / 2,
}
D1_DIFFERENCE = scaled(t1 * t2, MINUS_R)


def judge_d1(printed: tuple[dict, dict]) -> Judgement:
    composition, difference = printed
    first = compare(composition, {AS_WRITTEN: parameter_series(ONE_FIRST, 2)}, "")
    derived = {"Φ1∘Φ2 − Φ2∘Φ1, as written": of_order(excess(TWO_FIRST, ONE_FIRST, 2), 2)}
    second = compare(difference, derived, "t₁t₂(H1 g2 − H2 g1) for Φ1∘Φ2 − Φ2∘Φ1")
    if first.verdict != "holds":
        return Judgement("false", f"expansion of Φ2∘Φ1: {first.reason}", "see the derived terms")
    return Judgement(second.verdict, f"expansion of Φ2∘Φ1 holds; {second.reason}", second.correction)


D1 = Claim(
    id="d1",
    source="Appendix D.1",
    statement="Φ1∘Φ2 − Φ2∘Φ1 = t₁t₂(Hess L1 ∇L2 − Hess L2 ∇L1), the opposite of eq. 5 with 6 if [Φ1, Φ2] "
    "is that difference",
    latex=r"\Phi_1(t_1)\circ\Phi_2(t_2) - \Phi_2(t_2)\circ\Phi_1(t_1) "
    r"= t_1 t_2 (H_1 \nabla L_2 - H_2 \nabla L_1) + o(t_1 t_2)",
    printed=(D1_COMPOSITION, D1_DIFFERENCE),
    planted=(D1_COMPOSITION, scaled(-1, D1_DIFFERENCE)),
    judge=judge_d1,
)

# %% [markdown]
# ## D.1's remainder
# The proof adds o(t₁²) + o(t₂²) and concludes o(t₁t₂). A remainder t₁³ is o(t₁²) and not o(t₁t₂): along
# t₂ = t₁² it is as large as t₁t₂ itself. The conclusion is right for another reason: the difference vanishes
# with either time, so t₁t₂ divides every term of it. That is read off the series, to order 5.


# %%
def judge_d1_remainder(printed: set[tuple[int, int]]) -> Judgement:
    """Printed: the powers (p, q) of t₁ and t₂ whose o(·) the proof's remainder is the sum of."""
    difference = excess(ONE_FIRST, TWO_FIRST, 5)
    ring = next(iter(difference.values())).ring
    first, second = ring.gens.index(ring.from_expr(t1)), ring.gens.index(ring.from_expr(t2))
    powers = {(m[first], m[second]) for c in difference.values() for m in c.monoms()}
    if not all(p >= 1 and q >= 1 for p, q in powers):
        return Judgement("false", f"terms t₁^p t₂^q with (p, q) in {sorted(powers)}", "it is not o(t₁t₂)")
    stray = sorted((p, q) for p, q in printed if p < 1 or q < 1)
    derived = "t₁t₂ divides every term of the difference (to order 5), as it vanishes with either time"
    if not stray:
        return Judgement("holds", derived)
    return Judgement(
        "corrected",
        f"$o(t_1^{{{stray[0][0]}}} t_2^{{{stray[0][1]}}})$ is not o(t₁t₂) when the other time is much "
        f"shorter; {derived}",
        "the remainder is t₁t₂ O(t₁ + t₂) for C³ losses, which is o(t₁t₂)",
    )


D1_REMAINDER = Claim(
    id="d1-remainder",
    source="Appendix D.1",
    statement="the remainder o(t₁²) + o(t₂²) is o(t₁t₂)",
    latex=r"o(t_1^2) + o(t_2^2) = o(t_1 t_2)",
    printed={(2, 0), (0, 2)},
    planted={(2, 0), (1, 1)},
    right={(1, 1)},
    judge=judge_d1_remainder,
)

CLAIMS = [EQ5, EQ6, EQ7, D1, D1_REMAINDER]
