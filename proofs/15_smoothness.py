# %% [markdown]
# # How smooth must the losses be?
#
# The paper takes C² losses and claims o(·). A family on the line shows what that buys: L1 = −x and
# L2 = |x|^p/p from θ = 0, where R = 0. Domain 1 and then 2 for t each ends at t(1 + (p−2)t^{p−1})^{−1/(p−2)},
# the other order at t (domain 2 does nothing at 0); for p > 2. The remainder is t^p, and p may be as near
# k as one likes for a loss in C^k (k an integer, k < p ≤ k + 1).

# %%
from __future__ import annotations

import sympy as sp

from proofs.claim import Claim, Judgement

t = sp.Symbol("t", positive=True)


# %% [markdown]
# That C² does suffice is no matter of examples: the difference of the two orders vanishes with either time
# (read off the series in ``d1-remainder``), and flows of C¹ fields are C¹, so its mixed derivative is
# continuous and equals R at t = 0; integrated over [0, t₁] × [0, t₂] it gives t₁t₂(R + o(1)). The family
# shows that no rate follows.

# %%
SUFFICES = (
    "C² suffices for o(t₁t₂): the difference vanishes with either time and its mixed derivative is "
    "continuous; O(t³) needs C³"
)


def remainder_power(p: sp.Rational) -> sp.Rational:
    """The power of t in the remainder, checked on the closed form."""
    gap = t * (1 + (p - 2) * t ** (p - 1)) ** (-1 / (p - 2)) - t
    velocity = sp.simplify((gap + t).subs(t, 1))  # the flow of −|x|^{p−1} from 1, as a guard on the formula
    if not 0 < velocity < 1:
        raise ArithmeticError(f"the closed form is not a descent: {velocity}")
    if sp.limit(gap / t**p, t, 0, "+") != -1:
        raise ArithmeticError(f"the remainder is not −t^{p}")
    return p


def judge(printed: tuple[int, str, int]) -> Judgement:
    """Printed: (k, kind, q), that C^k losses give a remainder o(t^q) or O(t^q)."""
    k, kind, q = printed
    shown = f"${kind}(t^{q})$"
    barely = remainder_power(k + sp.Rational(1, 4))  # in C^k, and in no C^{k+1}
    reason = f"with p = {barely}, barely $C^{k}$, the remainder is of order $t^{{{barely}}}$"
    if barely > q or (kind == "O" and barely == q):
        return Judgement("holds", f"{reason}, within {shown}: no loss of the family refutes it. {SUFFICES}")
    return Judgement("false", f"{reason}, not {shown}", f"{shown} needs $C^{q}$")


SMOOTHNESS = Claim(
    id="smoothness",
    source="§3, Theorem 3.1 and Corollary 3.2",
    statement="C² losses suffice for a remainder o(t₁t₂), with no rate",
    latex=r"L_k \in C^2 \;\Rightarrow\; \text{remainder } o(t^2)",
    printed=(2, "o", 2),
    planted=(2, "O", 3),
    judge=judge,
)

CLAIMS = [SMOOTHNESS]
