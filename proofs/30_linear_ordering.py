# %% [markdown]
# # One block per domain: the best order is a linear ordering problem
#
# If each domain is trained once, in one block of length T_k, the area of a pair depends on nothing but which
# of the two comes first: A_ij = ½ T_i T_j for i before j. The excess over constant weights is then
# ½ Σ_{i before j} T_i T_j P_ij, and its best order is that of the linear ordering problem.

# %%
from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import compare

T = sp.symbols("T1:5", positive=True)
DOMAINS = (1, 2, 3, 4)


# %% [markdown]
# ## The excess of every order
# All 24 orders of four domains with symbolic totals; orders of three also against the flow of polynomials.


# %%
def blocks(order: tuple[int, ...]) -> SymbolicSchedule:
    return SymbolicSchedule.blocks({k: T[k - 1] for k in order})


@cache
def derived_excess(order: tuple[int, ...]) -> Series:
    schedule = blocks(order)
    return excess(schedule, schedule.straight(), 2, loss_series)


def flows_agree() -> bool:
    orders = ((1, 2, 3), (3, 1, 2), (2, 3, 1))
    pairs = ((order, blocks(order)) for order in orders)
    return all(agrees_with_flow(derived_excess(order), s, s.straight(), 2) for order, s in pairs)


def judge_blocks(printed: tuple[sp.Expr, int]) -> Judgement:
    """Printed: the factor of T_i T_j P_ij, and 1 if the sum is over i before j, −1 if over j before i."""
    factor, direction = printed
    correction = "½ Σ_{i before j} T_i T_j P(Li, Lj; L)"
    if not flows_agree():
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    found = []
    for order in permutations(DOMAINS):
        pairs = combinations(order[::direction], 2)
        formula = combine(*((factor * T[i - 1] * T[j - 1], criterion(i, j)) for i, j in pairs))
        found.append(
            compare(formula, {"in each of the 24 orders of four domains": derived_excess(order)}, correction)
        )
    return next((one for one in found if one.verdict != "holds"), found[0])


BLOCKS = Claim(
    id="blocks-linear-ordering",
    source="extension: one block per domain",
    statement="one block for each domain has the excess ½ Σ_{i before j} T_i T_j P(Li, Lj; L) over constant "
    "weights, so that the best order solves a linear ordering problem",
    latex=r"L(\theta_\pi) - L(\theta_{\mathrm{const}}) = \tfrac12 \sum_{i \prec_\pi j} T_i T_j\, "
    r"P(L_i, L_j; L) + O(T^3)",
    printed=(sp.Rational(1, 2), 1),
    planted=(sp.Rational(1, 2), -1),
    judge=judge_blocks,
)


# %% [markdown]
# ## Exact by subsets
# What comes after a set of domains costs the same in whatever order the set came. Hence the recursion
# best(S ∪ k) = best(S) + Σ_{i in S} C_ik, least over k, over the 2^K subsets (Held and Karp, 1962).


# %%
Cost = dict[tuple[int, int], Fraction]


def random_cost(source: random.Random, K: int) -> Cost:
    cost: Cost = {}
    for i, j in combinations(range(K), 2):
        cost[i, j] = Fraction(source.randint(-9, 9), source.randint(1, 4))
        cost[j, i] = -cost[i, j]
    return cost


def by_all_orders(cost: Cost, K: int) -> Fraction:
    sums = (
        sum((cost[pair] for pair in combinations(order, 2)), Fraction(0)) for order in permutations(range(K))
    )
    return min(sums)


def by_subsets(cost: Cost, K: int, step: Callable[[Cost, frozenset[int], int], Fraction]) -> Fraction:
    @cache
    def best(before: frozenset[int]) -> Fraction:
        if not before:
            return Fraction(0)
        return min(best(before - {k}) + step(cost, before - {k}, k) for k in before)

    return best(frozenset(range(K)))


def from_all_before(cost: Cost, before: frozenset[int], k: int) -> Fraction:
    return sum((cost[i, k] for i in before), Fraction(0))


def from_one_before(cost: Cost, before: frozenset[int], k: int) -> Fraction:
    return cost[max(before), k] if before else Fraction(0)


def judge_subsets(printed: Callable[[Cost, frozenset[int], int], Fraction]) -> Judgement:
    """Printed: what it costs to train k after the domains of a set."""
    source, wrong, draws = random.Random(30), 0, 60
    for draw in range(draws):
        K = 2 + draw % 5
        cost = random_cost(source, K)
        wrong += by_subsets(cost, K, printed) != by_all_orders(cost, K)
    reason = f"{draws} random rational problems of 2 to 6 domains against all orders: {wrong} differ"
    if not wrong:
        return Judgement("holds", reason)
    return Judgement("false", reason, "add Σ C_ik over every i of the set")


SUBSETS = Claim(
    id="blocks-by-subsets",
    source="extension: one block per domain",
    statement="the best order is found over the subsets of the domains, by adding each domain's cost "
    "against all that came before it",
    latex=r"c(S \cup k) = \min_{k} \Big[ c(S) + \sum_{i \in S} \tfrac12 T_i T_k P(L_i, L_k; L) \Big]",
    printed=from_all_before,
    planted=from_one_before,
    judge=judge_subsets,
)


# %% [markdown]
# ## Pairs do not make an order
# It is not enough to know which domain of each pair should come first: P is antisymmetric, not transitive.
# Three convex quadratics in the plane with small whole numbers, with P(1, 2) and P(2, 3) above 0.


# %%
Vector = tuple[int, int]
Quadratic = tuple[tuple[int, int, int], Vector]


def criterion_of(one: Quadratic, other: Quadratic, u: Vector) -> int:
    """⟨H_j g_i − H_i g_j, u⟩ for Hessians (a, b, c) = [[a, b], [b, c]]."""

    def apply(m: tuple[int, int, int], v: Vector) -> Vector:
        return m[0] * v[0] + m[1] * v[1], m[1] * v[0] + m[2] * v[1]

    first, second = apply(other[0], one[1]), apply(one[0], other[1])
    return (first[0] - second[0]) * u[0] + (first[1] - second[1]) * u[1]


def draw_quadratic(source: random.Random) -> Quadratic:
    a, b, c, d, x, y = (source.randint(-3, 3) for _ in range(6))
    return (a * a + b * b, a * c + b * d, c * c + d * d), (x, y)


@cache
def example(sign: int) -> tuple[Quadratic, ...] | None:
    """Three quadratics with P(1, 2) > 0 and P(2, 3) > 0 whose P(1, 3) has the sign, for ∇L = (1, 0)."""
    source = random.Random(31)
    for _ in range(10_000):
        three = tuple(draw_quadratic(source) for _ in range(3))
        first, second, closing = (
            criterion_of(three[i], three[j], (1, 0)) for i, j in ((0, 1), (1, 2), (0, 2))
        )
        if first > 0 and second > 0 and sign * closing > 0:
            return three
    return None


def judge_pairs(printed: int) -> Judgement:
    """Printed: the sign of P(1, 3) that is said to follow, 0 if none does."""
    against = [sign for sign in (-1, 1) if sign != printed and example(sign)]
    shown = "; ".join(
        f"P(1, 3) {'>' if sign > 0 else '<'} 0 for (Hessian, gradient) = "
        + ", ".join(map(str, example(sign) or ()))
        for sign in against
    )
    if printed == 0:
        return Judgement("holds" if len(against) == 2 else "undetermined", shown or "no example was drawn")
    if not against:
        return Judgement("undetermined", "no counterexample among 10 000 draws")
    return Judgement(
        "false", shown, "nothing follows: solve the linear ordering problem, pairs can go in circles"
    )


PAIRS = Claim(
    id="blocks-pairs-circle",
    source="extension: one block per domain",
    statement="if 2 should come before 1, and 3 before 2, then 3 should come before 1: pairs can be sorted",
    latex=r"P(L_1, L_2; L) > 0,\ P(L_2, L_3; L) > 0 \;\Rightarrow\; P(L_1, L_3; L) > 0",
    printed=1,
    planted=-1,
    right=0,
    judge=judge_pairs,
)

CLAIMS = [BLOCKS, SUBSETS, PAIRS]
