# %% [markdown]
# # Checkpoint by checkpoint: harm, fronts, and orders that might help both languages
#
# Three findings of §4.2 that need no decision on what "12" means: each is symmetric in the two orders.

# %%
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import criterion
from proofs.claim import Claim, Judgement
from proofs.compare import factor_between
from proofs.figures import Pair, Rows, column, rows, shown

TABLE_2, TABLE_3 = rows("table2"), rows("table3")
ENGLISH, RUSSIAN = 0, 1
BASE: Pair = (Fraction(0), Fraction(0))

# %% [markdown]
# ## Early interventions, and fronts
# The mean loss after both orders, and whether one of the three points (12, base, 21) is better than another
# on both languages.


# %%
def mean(figures: Pair) -> Fraction:
    """The mean over the languages."""
    return (figures[0] + figures[1]) / 2


def judge_early(printed: Rows) -> Judgement:
    means = {row.t: (mean(row.excess_12), mean(row.excess_21)) for row in printed}
    first = min(means)
    reason = "; ".join(f"t = {t}: {shown(pair)}" for t, pair in means.items())
    harmful = [t for t, pair in means.items() if min(pair) > 0]
    reason = f"excess of the mean loss in both orders: {reason}; both are positive at {harmful}"
    if first in harmful:
        later = [t for t in harmful if t != first]
        alone = f", so the table does not single out t = {first}" if later else ""
        return Judgement("holds", f"{reason}{alone}")
    return Judgement("false", reason, f"not both orders are worse at t = {first}")


def flipped(table: Rows, language: int) -> Rows:
    """The table with one sign changed, that of EL^12 on this language in its first row."""
    excess = list(table[0].excess_12)
    excess[language] *= -1
    return (replace(table[0], excess_12=(excess[0], excess[1])), *table[1:])


EARLY = Claim(
    id="early-intervention",
    source="§4.2, findings, with table 2",
    statement="early in training the intervention has a negative impact (on the mean loss, in both orders)",
    latex=r"EL_1 + EL_2 > 0 \text{ at } t_0 = 2000",
    printed=TABLE_2,
    planted=flipped(TABLE_2, RUSSIAN),
    judge=judge_early,
)


def dominates(a: Pair, b: Pair) -> bool:
    """Whether a is at least as good on both languages and better on one."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def judge_fronts(printed: Rows) -> Judgement:
    dominated = {
        row.t
        for row in printed
        for a, b in combinations((row.excess_12, BASE, row.excess_21), 2)
        if dominates(a, b) or dominates(b, a)
    }
    reason = (
        f"of {len(printed)} triples of points, those with one behind another start at {sorted(dominated)}"
    )
    if not dominated:
        return Judgement("holds", reason)
    return Judgement("false", reason, "a dominated point lies behind the front")


FRONTS = Claim(
    id="pareto-fronts",
    source="§4.2, findings, with tables 2 and 3",
    statement="the two orders and the base form Pareto fronts: none is better than another on both languages",
    latex=r"\theta_{12},\, \theta_{base},\, \theta_{21} \text{ are not comparable}",
    printed=TABLE_2 + TABLE_3,
    planted=flipped(TABLE_2 + TABLE_3, ENGLISH),
    judge=judge_fronts,
)

# %% [markdown]
# ## P(L2, L1; L1) and P(L2, L1; L2) both negative
# At order 2 the excess of the order "2 first" is δ Δt² P(L2, L1; L_i), so that a small and short enough tilt
# lowers both losses. The run at the published Δt is shown beside it.

# %%
Dt, delta, w = sp.symbols("Dt delta w", positive=True)
Signs = tuple[int, int]


def predicted_signs(p: Signs) -> Mapping[str, Signs]:
    """The signs of the excess of both languages for each order, given those of P(L2, L1; L_i)."""
    base = SymbolicSchedule.constant((w, 1 - w), 2 * Dt)
    found = {}
    for first, second in ((1, 2), (2, 1)):
        tilted = SymbolicSchedule.tilt((w, 1 - w), first, second, delta, Dt)
        change = of_order(excess(tilted, base, 2, loss_series), 2)
        sign = int(sp.sign(factor_between(change, criterion(2, 1))))
        found[f"{first}{second}"] = (sign * p[0], sign * p[1])
    return found


def both_negative(first: str, second: str) -> list[int]:
    """The checkpoints of table 4 at which both figures are negative."""
    steps = map(int, column("table4", "t"))
    pairs = zip(column("table4", first), column("table4", second), strict=True)
    return [t for t, (a, b) in zip(steps, pairs, strict=True) if a < 0 and b < 0]


def judge_both_negative(printed: Signs) -> Judgement:
    """Printed: the signs of P(L2, L1; L1) and P(L2, L1; L2) at which an order should help both."""
    helpful = [order for order, signs in predicted_signs(printed).items() if max(signs) < 0]
    seen = [f"t = {row.t}: EL21 = {shown(row.excess_21)}" for row in TABLE_2 if max(row.predicted) < 0]
    reason = (
        f"with the signs {printed} the orders that lower both losses at order 2 are {helpful}; both figures "
        f"are negative at {both_negative('a_1', 'a_2')} with balance and at {both_negative('b_1', 'b_2')} "
        f"without; with the long intervention table 2 has there {'; '.join(seen)}"
    )
    if helpful:
        return Judgement("holds", reason)
    return Judgement("false", reason, "with mixed signs one language gains what the other loses")


BOTH_NEGATIVE = Claim(
    id="both-negative",
    source="§4.2, hypothesis on P(L2, L1; L1) and P(L2, L1; L2)",
    statement="where both are negative, a reordering (small and short enough) improves both languages",
    latex=r"P(L_2, L_1; L_1) < 0,\; P(L_2, L_1; L_2) < 0 \;\Rightarrow\; EL_1^{21} < 0,\; EL_2^{21} < 0",
    printed=(-1, -1),
    planted=(1, -1),
    judge=judge_both_negative,
)

CLAIMS = [EARLY, FRONTS, BOTH_NEGATIVE]
