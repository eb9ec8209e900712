# %% [markdown]
# # Order 3 of any schedule
#
# A flow is e^Λ, with the log-signature Λ = Σ W_k V_k + Σ A_ij [V_i, V_j] + Λ₃ + …, V_k = −g_k. Against the
# constant schedule, which is e^{Σ W_k V_k}, order 3 has two parts: the areas of order 2 again, now between
# the drift on both sides, and Λ₃, which brings (K³ − K)/3 new numbers about the schedule.

# %%
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import sympy as sp
from sympy.polys.rings import PolyElement, PolyRing

from commute_verify.symbolic.expansions import excess, loss_series, of_order, words_to_trees
from commute_verify.symbolic.iterated import Word, signature
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import (
    TARGET,
    Series,
    combine,
    derivative,
    gradient,
    inner,
    lie_bracket,
    tree,
)
from commute_verify.symbolic.words import lyndon_words
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, expressions, scaled

Dt, p, q = sp.symbols("Dt p q", positive=True)
DOMAINS = (1, 2, 3)
Signature = Mapping[Word, Any]

# %% [markdown]
# ## Any schedule at all
# The iterated integrals of a path obey the shuffle relations S_i S_j = S_ij + S_ji and
# S_i S_jk = S_ijk + S_jik + S_jki, and no others. Those of Lyndon words stay free; the rest are solved for.


# %%
@cache
def any_path() -> dict[Word, PolyElement]:
    """S of all words up to length 3 over three domains, as polynomials in S of Lyndon words."""
    S = {w: sp.Symbol(f"S{''.join(map(str, w))}") for n in (1, 2, 3) for w in product(DOMAINS, repeat=n)}
    free = [S[word] for word in lyndon_words(DOMAINS, 3)]
    pairs = [S[i,] * S[j,] - S[i, j] - S[j, i] for i, j in product(DOMAINS, repeat=2)]
    triples = [
        S[i,] * S[j, k] - S[i, j, k] - S[j, i, k] - S[j, k, i] for i, j, k in product(DOMAINS, repeat=3)
    ]
    found = solved(solved({}, pairs, free), triples, free)
    exact = PolyRing(free, sp.QQ)
    return {word: exact.from_expr(sp.expand(found.get(s, s))) for word, s in S.items()}


def solved(
    known: dict[sp.Symbol, sp.Expr], relations: list[sp.Expr], free: list[sp.Symbol]
) -> dict[sp.Symbol, sp.Expr]:
    """The relations, linear in their longest words, solved for all but the free ones."""
    equations = [relation.subs(known) for relation in relations]
    unknown = sorted(set().union(*(e.free_symbols for e in equations)) - set(free), key=str)
    (solution,) = sp.linsolve(equations, unknown)
    return known | dict(zip(unknown, solution, strict=True))


# %% [markdown]
# ## What is claimed
# With R_ij = [g_i, g_j], 𝒱 = Σ W_k V_k acting as derivatives, and λ the words of the log-signature, which
# Dynkin's map turns into brackets: ½ Σ A_ij (𝒱 R_ij + R_ij 𝒱) L + ⅓ Σ λ_ijk [[V_i, V_j], V_k] L. The term
# ⅓ S_i S_j S_k of the logarithm is symmetric and drops out of the brackets.


# %%
def claimed(printed: tuple[sp.Rational, ...], S: Signature) -> Series:
    """The order-3 excess of L: sandwich · Σ A_ij (𝒱R + R𝒱)L + dynkin · Σ λ_ijk [[V_i, V_j], V_k] L."""
    sandwich, pairs, dynkin = printed
    V = {k: {tree(k): -1} for k in DOMAINS}
    drift = combine(*((S[k,], V[k]) for k in DOMAINS))
    loss: Series = {tree(TARGET): 1}
    terms: list[tuple[Any, Series]] = []
    for i, j in product(DOMAINS, repeat=2):
        if i < j:
            R = lie_bracket(gradient(i), gradient(j))
            area = (S[i, j] - S[j, i]) / 2
            both = combine(
                (1, derivative(drift, derivative(R, loss))), (1, derivative(R, derivative(drift, loss)))
            )
            terms.append((area, combine((sandwich, both))))
        for k in DOMAINS:
            products = S[i,] * S[j, k] + S[i, j] * S[k,]
            log = S[i, j, k] + pairs * products
            terms.append((dynkin * log, inner(lie_bracket(lie_bracket(V[i], V[j]), V[k]))))
    return combine(*terms)


def derived(S: Signature) -> Series:
    """Σ (S_ijk − W_i W_j W_k/6) V_i V_j V_k L."""
    words = {w: S[w] - S[w[0],] * S[w[1],] * S[w[2],] / 6 for w in product(DOMAINS, repeat=3)}
    return words_to_trees(words, tree(TARGET))


SCHEDULE = SymbolicSchedule(((p, (sp.Rational(1, 2), sp.Rational(1, 2), 0)), (q, (LOCAL_TIME, 0, 1))))


def judge_order_3(printed: tuple[sp.Rational, ...]) -> Judgement:
    """Printed: the factors of the areas' part, of S_i S_jk + S_ij S_k in λ, and of Dynkin's brackets."""
    rational = tuple(sp.QQ.from_sympy(c) for c in printed)
    S = any_path()
    found = compare(claimed(rational, S), {"for any schedule of three domains": derived(S)}, CORRECTION)
    if found.verdict != "holds":
        return found
    series = of_order(excess(SCHEDULE, SCHEDULE.straight(), 3, loss_series), 3)
    if not agrees_with_flow(series, SCHEDULE, SCHEDULE.straight(), 3):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    example = claimed(rational, signature(SCHEDULE, 3))
    once = compare(example, {"for one that varies in time": series}, CORRECTION)
    return replace(once, reason=f"{found.reason}; {once.reason}")


CORRECTION = "½ Σ A_ij (𝒱R_ij + R_ij𝒱)L + ⅓ Σ (S_ijk − ½(S_i S_jk + S_ij S_k)) [[V_i, V_j], V_k]L"
ORDER_3 = Claim(
    id="order-3",
    source="extension: order 3",
    statement="at order 3 the excess of any schedule is the areas' brackets between the drift, and the "
    "log-signature's third level",
    latex=r"\tfrac12 \sum_{i<j} A_{ij} (\mathcal{V} R_{ij} + R_{ij} \mathcal{V}) L "
    r"+ \tfrac13 \sum_{ijk} \lambda_{ijk} [[V_i, V_j], V_k] L, \quad \lambda_{ijk} = S_{ijk} "
    r"- \tfrac12 (S_i S_{jk} + S_{ij} S_k)",
    printed=(sp.Rational(1, 2), -sp.Rational(1, 2), sp.Rational(1, 3)),
    planted=(sp.Rational(1, 2), -sp.Rational(1, 2), sp.Rational(1, 2)),
    judge=judge_order_3,
)

# %% [markdown]
# ## Both orders of a swap together
# EL^12 + EL^21 vanishes at order 2. What it is, is order 3, and even in the order of the domains.


# %%
def judge_both_orders(printed: sp.Expr) -> Judgement:
    """Printed: the factor of ⟨[g1 − g2, [g1, g2]], ∇L⟩ in EL^12 + EL^21."""
    orders = [SymbolicSchedule.blocks({i: Dt, j: Dt}) for i, j in ((1, 2), (2, 1))]
    excesses = [expressions(excess(one, one.straight(), 3, loss_series)) for one in orders]
    both = combine(*((1, series) for series in excesses))
    for one, series in zip(orders, excesses, strict=True):
        if not agrees_with_flow(series, one, one.straight(), 3):
            return Judgement("false", "the series and the flow of polynomial losses differ", "see the series")
    bracket = lie_bracket(gradient({1: 1, 2: -1}), lie_bracket(gradient(1), gradient(2)))
    return compare(scaled(printed, inner(bracket)), {AS_WRITTEN: both}, "−⅙ Δt³ ⟨[g1 − g2, [g1, g2]], ∇L⟩")


BOTH_ORDERS = Claim(
    id="both-orders-order-3",
    source="extension: order 3",
    statement="the two orders of a swap do not quite cancel: EL^12 + EL^21 = −⅙Δt³⟨[g1−g2,[g1,g2]], ∇L⟩ at "
    "the leading order",
    latex=r"EL^{12} + EL^{21} = -\tfrac16 \Delta t^3 \langle [g_1 - g_2, [g_1, g_2]], \nabla L \rangle "
    r"+ O(\Delta t^4)",
    printed=-(Dt**3) / 6,
    planted=Dt**3 / 6,
    judge=judge_both_orders,
)

CLAIMS = [ORDER_3, BOTH_ORDERS]
