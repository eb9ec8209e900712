# %% [markdown]
# # All pairs for the price of K Hessian-vector products
#
# Hessians are symmetric, so ⟨H_j g_i, u⟩ = ⟨g_i, H_j u⟩: with u = ∇L the K products H_k u serve all
# K(K−1)/2 pairs, where forming each bracket takes K(K−1) products.

# %%
from __future__ import annotations

from itertools import permutations

import sympy as sp

from commute_verify.symbolic.fields import Coordinates, Field
from commute_verify.symbolic.schedules import SymbolicSchedule
from proofs.check import LOSSES, TARGET_LOSS, x, y
from proofs.claim import Claim, Judgement
from proofs.compare import math

Dt = sp.Symbol("Dt", positive=True)
SPACE = Coordinates((x, y), (Dt,))
GRADIENTS = [SPACE.gradient(SPACE(loss)) for loss in LOSSES]
TARGET_GRADIENT = SPACE.gradient(SPACE(TARGET_LOSS))
DOMAINS = range(len(LOSSES))


# %%
def hvp(k: int, v: Field) -> Field:
    """H_k v, row by row from the second derivatives."""
    rows = SPACE.hessian(SPACE(LOSSES[k]))
    return tuple(SPACE.inner(row, v) for row in rows)


def judge(printed: tuple[int, int]) -> Judgement:
    """Printed: the signs of ⟨g_i, H_j u⟩ and ⟨g_j, H_i u⟩ in P_ij."""
    products = {k: hvp(k, TARGET_GRADIENT) for k in DOMAINS}
    wrong = []
    for i, j in permutations(DOMAINS, 2):
        bracket = SPACE.lie_bracket(GRADIENTS[i], GRADIENTS[j])
        cheap = printed[0] * SPACE.inner(GRADIENTS[i], products[j]) + printed[1] * SPACE.inner(
            GRADIENTS[j], products[i]
        )
        if SPACE.inner(bracket, TARGET_GRADIENT) != cheap:
            wrong.append((i + 1, j + 1))
    swap = SymbolicSchedule.blocks({1: Dt, 2: Dt})
    losses, target = [SPACE(loss) for loss in LOSSES[:2]], SPACE(TARGET_LOSS)
    observed = SPACE.along(target, losses, swap, 2) - SPACE.along(target, losses, swap.straight(), 2)
    pair = SPACE.inner(GRADIENTS[0], products[1]) - SPACE.inner(GRADIENTS[1], products[0])
    if SPACE.graded(observed, 2) != SPACE(Dt**2 / 2) * pair:
        raise ArithmeticError("the flow of the swap and ½ Δt² P from two products differ")
    K = sp.Symbol("K")
    pairwise = sp.factor(2 * sp.binomial(K, 2).expand(func=True))
    reason = (
        f"{len(products)} products serve {len(list(permutations(DOMAINS, 2))) // 2} pairs of three cubic "
        f"losses; pair by pair it takes {math(pairwise)}, so {pairwise.subs(K, 8)} for K = 8; the flow of a "
        "swap agrees"
    )
    if wrong:
        return Judgement("false", f"pairs {wrong} differ", "P_ij = ⟨g_i, H_j u⟩ − ⟨g_j, H_i u⟩")
    return Judgement("holds", reason)


K_HVPS = Claim(
    id="k-hvps",
    source="extension: cost",
    statement="all pairs for one target take K gradients and K Hessian-vector products",
    latex=r"P(L_i, L_j; L) = \langle g_i, H_j u \rangle - \langle g_j, H_i u \rangle, \quad u = \nabla L",
    printed=(1, -1),
    planted=(1, 1),
    judge=judge,
)

CLAIMS = [K_HVPS]
