# %% [markdown]
# # Corollary 3.2(a): a small tilt of the weights
#
# Domain i gets δ more for ε, then δ less for ε, at domain j's cost. Totals stay, the order changes, and
# the loss changes by δ ε² P(L_i − L_j, Σ w_k L_k; L).

# %%
from __future__ import annotations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, parameter_series
from commute_verify.symbolic.iterated import coefficients
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import criterion, tree
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, COMPOSITION, SCHEDULE, compare, scaled

delta, eps = sp.symbols("delta epsilon", positive=True)
w1, w2, w3 = W = sp.symbols("w1 w2 w3", nonnegative=True)
MIXTURE = {1: w1, 2: w2, 3: w3}

# %% [markdown]
# ## Eq. 8
# Three domains, symbolic weights; i = 1, j = 2, and the third is a bystander. Whichever reading is taken of
# "12", eq. 8 spells its schedule out, so that the sign is free only through R's.

# %%
TILTED = SymbolicSchedule.tilt(W, 1, 2, delta, eps)
STRAIGHT = SymbolicSchedule.constant(W, 2 * eps)


def judge_eq8(printed: sp.Expr) -> Judgement:
    change = excess(TILTED, STRAIGHT, 2, loss_series)
    P = criterion({1: 1, 2: -1}, MIXTURE)
    derived = {SCHEDULE: change, COMPOSITION: scaled(-1, change)}
    return compare(scaled(printed, P), derived, "δ ε² P(Li − Lj, Σ w_k L_k; L) + O(δ ε³): the factor is 1")


EQ8 = Claim(
    id="eq8",
    source="Corollary 3.2(a), eq. 8",
    statement="the tilt changes the loss by ½ δ ε² P(Li − Lj, Σ w_k L_k; L)",
    latex=r"L(\theta^\varepsilon) - L(\theta) = \tfrac{1}{2}\delta\varepsilon^2 "
    r"P(L_i - L_j, \Sigma_k w_k L_k; L) + o(\delta\varepsilon^2)",
    printed=delta * eps**2 / 2,
    planted=-delta * eps**2 / 2,
    right=delta * eps**2,
    judge=judge_eq8,
)

# %% [markdown]
# ## D.2: the second-order expansion behind eq. 8
# Two domains, weights that vary linearly in time, so that no iterated integral is special. The printed
# expansion is Σ (∫w_k) ∇L_k + Σ (∫∫ w_k₁ w_k₂) H_k₁ ∇L_k₂, the outer variable with k₁.

# %%
a, b, c, d, tau = sp.symbols("a b c d tau")
VARYING = SymbolicSchedule.constant((a + b * LOCAL_TIME, c + d * LOCAL_TIME), tau)
INTEGRALS = coefficients(VARYING, [tree(k, *below) for k in (1, 2) for below in ((), (tree(1),), (tree(2),))])
FIRST = {t: value for t, value in INTEGRALS.items() if not t.children}
SECOND = {t: value for t, value in INTEGRALS.items() if t.children}


def judge_d2(printed: tuple[int, int]) -> Judgement:
    """Printed: the signs of the first- and second-order terms."""
    series = {**scaled(printed[0], FIRST), **scaled(printed[1], SECOND)}
    derived = parameter_series(VARYING, 2)
    found = compare(series, {AS_WRITTEN: derived}, "")
    if found.verdict == "holds":
        return found
    repairs = [
        f"the {name} terms need the sign {'−' if sign < 0 else '+'}"
        for name, terms, mine, sign in (
            ("first-order", FIRST, printed[0], -1),
            ("second-order", SECOND, printed[1], 1),
        )
        if mine != sign and all(derived[t] == sign * value for t, value in terms.items())
    ]
    signs_alone = "compared term by term, with weights linear in time; only signs differ"
    reason = signs_alone if repairs else found.reason
    return Judgement("corrected" if repairs else "false", reason, "; ".join(repairs) or "see derived")


D2 = Claim(
    id="d2",
    source="Appendix D.2",
    statement="θ(t₀+τ) = θ₀ + Σ(∫w_k)∇L_k + Σ(∫∫w_k₁w_k₂) Hess L_k₁ ∇L_k₂ + o(τ²)",
    latex=r"\theta(t_0+\tau) = \theta_0 + \sum_k \Big(\int_0^\tau w_k\Big) \nabla L_k "
    r"+ \sum_{k_1,k_2} \Big(\int_0^\tau\!\!\int_0^{\tau_1} w_{k_1} w_{k_2}\Big) H_{k_1}\nabla L_{k_2}",
    printed=(1, 1),
    planted=(1, -1),
    right=(-1, 1),
    judge=judge_d2,
)

# %% [markdown]
# ## Two domains: why P(L1, L2; L) is all that matters
# P(L1 − L2, w1 L1 + w2 L2; L) = (w1 + w2) P(L1, L2; L) by bilinearity and antisymmetry, and w1 + w2 = 1.


# %%
def judge_two_domains(printed: dict) -> Judgement:
    tilted = criterion(printed, {1: w1, 2: 1 - w1})
    return compare(tilted, {AS_WRITTEN: criterion(1, 2)}, "P(L1 − L2, w1 L1 + w2 L2; L) = P(L1, L2; L)")


TWO_DOMAINS = Claim(
    id="two-domain-bracket",
    source="§3.2, remark on two domains",
    statement="for two domains the criterion depends on P(L1, L2; L) alone, whatever the weights",
    latex=r"P(L_1 - L_2, w_1 L_1 + w_2 L_2; L) = P(L_1, L_2; L)",
    printed={1: 1, 2: -1},
    planted={1: 1, 2: 1},
    judge=judge_two_domains,
)

CLAIMS = [EQ8, D2, TWO_DOMAINS]
