# %% [markdown]
# # Several domains: everything about a schedule is its Lévy area
#
# Against the constant schedule with the same totals, the excess of any schedule is Σ_{i<j} A_ij R(L_i, L_j)
# to second order, with A_ij = ½∫∫_{s<t} (w_i(s) w_j(t) − w_j(s) w_i(t)). Three domains, two stages with
# symbolic weights, one of them linear in time.

# %%
from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order, words_to_trees
from commute_verify.symbolic.iterated import signature
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import TARGET, Series, combine, criterion, tree
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import compare, expressions

a, b, c, d, p, q = sp.symbols("a b c d p q", positive=True)
SCHEDULE = SymbolicSchedule(((p, (a, b, 1 - a)), (q, (c * LOCAL_TIME, 1 - d, d))))


# %% [markdown]
# The general case needs no schedule at all: four domains, iterated integrals S_ij as symbols that obey only
# S_ij + S_ji = W_i W_j, which every path does.


# %%
def any_schedule(printed: tuple[int, int, int], K: int = 4) -> tuple[Series, Series]:
    """Σ (S_ij − ½ W_i W_j) V_i V_j L for symbols S_ij, and the area form of the same symbols."""
    W = sp.symbols(f"W1:{K + 1}")
    S = {(i, j): sp.Symbol(f"S{i}{j}") for i, j in combinations(range(1, K + 1), 2)}
    S |= {(j, i): W[i - 1] * W[j - 1] - S[i, j] for i, j in S}
    S |= {(i, i): W[i - 1] ** 2 / 2 for i in range(1, K + 1)}
    excess_words = {(i, j): sp.expand(s - W[i - 1] * W[j - 1] / 2) for (i, j), s in S.items()}
    ahead, behind, norm = printed
    areas = (
        (sp.expand((ahead * S[i, j] + behind * S[j, i]) / norm), criterion(i, j))
        for i, j in combinations(range(1, K + 1), 2)
    )
    return words_to_trees(excess_words, tree(TARGET)), combine(*areas)


def area_form(ahead: int, behind: int, norm: sp.Expr) -> Series:
    """Σ_{i<j} A_ij P_ij, A_ij = (ahead · S_ij + behind · S_ji)/norm from the signature S."""
    S = expressions(signature(SCHEDULE, 2))
    terms = []
    for i, j in combinations(SCHEDULE.domains, 2):
        area = (ahead * S.get((i, j), 0) + behind * S.get((j, i), 0)) / norm
        terms.append((sp.expand(area), criterion(i, j)))
    return combine(*terms)


def judge(printed: tuple[int, int, int]) -> Judgement:
    """Printed: the signs of S_ij and S_ji in the area, and what their sum is divided by."""
    derived = excess(SCHEDULE, SCHEDULE.straight(), 2, loss_series)
    if not agrees_with_flow(derived, SCHEDULE, SCHEDULE.straight(), 2):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    if of_order(derived, 1):
        return Judgement("false", "equal totals leave a first-order term", "compare equal totals")
    words, areas = any_schedule(printed)
    found = compare(areas, {"for any schedule of four domains": words}, "A_ij = ½ (S_ij − S_ji)")
    example = compare(area_form(*printed), {"for three domains on two stages": derived}, "")
    reason = f"{found.reason}; {example.reason}"
    return replace(
        found if example.verdict == "holds" else example, reason=reason, correction=found.correction
    )


LEVY_AREA = Claim(
    id="levy-area",
    source="extension: K domains, any schedule",
    statement="against the constant schedule with its totals, any schedule has the excess "
    "Σ_{i<j} A_ij P(Li, Lj; L)",
    latex=r"L(\theta_w) - L(\theta_{\mathrm{const}}) = \sum_{i<j} A_{ij} P(L_i, L_j; L) + O(T^3), \quad "
    r"A_{ij} = \tfrac12 \int\!(W_i\,dW_j - W_j\,dW_i)",
    printed=(1, -1, 2),
    planted=(1, -1, 1),
    judge=judge,
)

CLAIMS = [LEVY_AREA]
