# %% [markdown]
# # Tables 2, 3 and 4: predicted and measured excess
#
# The tables pair P(L2, L1; L_i) with EL_i^21 and −EL_i^12. With 12 and P read in the same way, signs can be
# compared without a choice of reading: exchanging all labels changes nothing.

# %%
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion
from proofs.claim import Claim, Judgement
from proofs.compare import factor_between, math, scaled
from proofs.figures import ROUNDING, Row, Rows, column, rows, shown

Dt, dw = sp.symbols("Dt Dw", positive=True)
HALF = sp.Rational(1, 2)

# %% [markdown]
# ## What P(L2, L1; L_i) stands for
# Up to one positive factor, EL^21 and −EL^12: from the tilts of eq. 9 in both orders.


# %%
def tilt_excess(first: int, second: int, order: int) -> Series:
    """L after the tilt that raises ``first`` first, less L after the base, the terms of one order."""
    tilted = SymbolicSchedule.tilt((HALF, HALF), first, second, dw, Dt)
    return of_order(
        excess(tilted, SymbolicSchedule.constant((HALF, HALF), 2 * Dt), order, loss_series), order
    )


def judge_proxy(printed: Mapping[str, int]) -> Judgement:
    """Printed: the signs of EL^12 and EL^21 against P(L2, L1; L_i)."""
    orders = {"EL12": (1, 2), "EL21": (2, 1)}
    factors = {
        name: factor_between(tilt_excess(*orders[name], 2), scaled(sign, criterion(2, 1)))
        for name, sign in printed.items()
    }
    reason = "; ".join(
        f"{name} = {math(printed[name] * factor)} P(L2, L1; L)" for name, factor in factors.items()
    )
    if all(factor is not None and factor.is_positive for factor in factors.values()):
        return Judgement("holds", reason)
    return Judgement("false", reason, "P(L2, L1; L) has the sign of EL21 and of −EL12")


PROXY = Claim(
    id="table2-proxy",
    source="Table 2, caption",
    statement="P(L2, L1; L_i) stands, up to rescaling, for EL_i^21 and −EL_i^12",
    latex=r"EL_i^{21} \propto P(L_2, L_1; L_i), \quad -EL_i^{12} \propto P(L_2, L_1; L_i)",
    printed={"EL21": 1, "EL12": -1},
    planted={"EL21": 1, "EL12": 1},
    judge=judge_proxy,
)

# %% [markdown]
# ## Signs
# A checkpoint counts if the signs of P, EL21 and −EL12 agree for both languages. For scale: what always
# guessing the commonest pair of signs gets right without any P, and how often as many checkpoints come out
# right by chance (each with probability ¼, if the two measured orders agree).


# %%
Signs = tuple[int, ...]


@dataclass(frozen=True)
class Count:
    """How many checkpoints of a table are said to be predicted correctly."""

    correct: int
    table: Rows


def signs(values: tuple[Fraction, ...]) -> Signs:
    """−1, 0 or 1 for each figure."""
    return tuple((value > 0) - (value < 0) for value in values)


def correct(row: Row) -> bool:
    """Whether P has the sign of EL21 and of −EL12, for both languages."""
    predicted = signs(row.predicted)
    return predicted == signs(row.excess_21) == tuple(-s for s in signs(row.excess_12))


def judge_count(printed: Count) -> Judgement:
    hits = [row.t for row in printed.table if correct(row)]
    missed = [row.t for row in printed.table if row.t not in hits]
    n = len(printed.table)
    measured = [signs(row.excess_21) for row in printed.table]
    guess = max(measured, key=measured.count)
    exchanged = [replace(row, excess_12=row.excess_21, excess_21=row.excess_12) for row in printed.table]
    mixed = [row.t for row in exchanged if correct(row)]
    chance = sum(Fraction(comb(n, k) * 3 ** (n - k), 4**n) for k in range(len(hits), n + 1))
    reason = (
        f"right at {hits}, wrong at {missed}: {len(hits)} of {n} (by chance as many with probability "
        f"{float(chance):.2g}); the fixed guess {guess} for EL21 is right {measured.count(guess)} times; "
        f"with P of eq. 6 and the columns exchanged, as the text of §4.2 asks, {len(mixed)} of {n}"
    )
    if len(hits) == printed.correct:
        return Judgement("holds", reason)
    return Judgement("false", reason, f"{len(hits)} of {n} checkpoints")


TABLE_2, TABLE_3 = rows("table2"), rows("table3")
TABLE2_SIGNS = Claim(
    id="table2-signs",
    source="§4.2, table 2",
    statement="for three of four checkpoints the direction of the change is predicted correctly",
    latex=r"\mathrm{sign}\, P(L_2, L_1; L_i) = \mathrm{sign}\, EL_i^{21} = -\mathrm{sign}\, EL_i^{12}",
    printed=Count(3, TABLE_2),
    planted=Count(4, TABLE_2),
    judge=judge_count,
)

TABLE3_SIGNS = Claim(
    id="table3-signs",
    source="§4.3, table 3",
    statement="with imbalance the predicted directions match the measured ones at all four checkpoints",
    latex=r"\mathrm{sign}\, P(L_2, L_1; L_i) = \mathrm{sign}\, EL_i^{21} = -\mathrm{sign}\, EL_i^{12}",
    printed=Count(4, TABLE_3),
    planted=Count(3, TABLE_3),
    judge=judge_count,
)

# %% [markdown]
# ## EL12 + EL21
# The prediction has EL21 = −EL12. The sum is even in Δw: nothing at order 2, and Δw² Δt³ first. What table 2
# prints is far above its rounding, so it measures all that the order-2 prediction leaves out: higher orders,
# Adam's memory, noise.


# %%
def leading_sum() -> str:
    """The first term of EL12 + EL21 in Δw and Δt."""
    total = combine((1, tilt_excess(1, 2, 3)), (1, tilt_excess(2, 1, 3)))
    powers = {sp.Poly(c.as_expr(), dw, Dt).monoms()[0] for c in total.values()}
    ((of_dw, of_dt),) = powers
    return rf"$\Delta w^{{{of_dw}}} \Delta t^{{{of_dt}}}$"


def judge_sum(printed: Rows) -> Judgement:
    second = combine((1, tilt_excess(1, 2, 2)), (1, tilt_excess(2, 1, 2)))
    pairs = {(row.t, k + 1): (row.excess_12[k], row.excess_21[k]) for row in printed for k in (0, 1)}
    sums = {entry: sum(pair) for entry, pair in pairs.items()}
    shares = [abs(sums[entry]) / max(map(abs, pair)) for entry, pair in pairs.items()]
    (t, k), largest = max(sums.items(), key=lambda item: abs(item[1]))
    reason = (
        f"order 2 of the sum has {len(second)} terms, then {leading_sum()} leads; the largest printed sum is "
        f"{float(largest):+.4f} (t = {t}, L{k}), {float(abs(largest) / (2 * ROUNDING)):.0f} times what "
        f"rounding allows; sums are {float(min(shares)):.0%} to {float(max(shares)):.0%} of the larger term"
    )
    if all(abs(total) <= 2 * ROUNDING for total in sums.values()):
        return Judgement("holds", reason)
    return Judgement("false", reason, "EL21 = −EL12 up to Δw² Δt³ and what gradient flow leaves out")


def tied(table: Rows, sign: int) -> Rows:
    """The table with EL21 replaced by sign · EL12."""
    return tuple(replace(row, excess_21=(sign * row.excess_12[0], sign * row.excess_12[1])) for row in table)


SUM = Claim(
    id="table2-sum",
    source="Table 2 with §4.1's L(θ12) − L(θ_base) ≃ L(θ_base) − L(θ21)",
    statement="EL12 + EL21 vanishes in table 2, as the second-order prediction has it",
    latex=r"EL_i^{12} + EL_i^{21} = 0",
    printed=TABLE_2,
    planted=tied(TABLE_2, 1),
    right=tied(TABLE_2, -1),
    judge=judge_sum,
)

# %% [markdown]
# ## Table 4's caption
# The figures are those of tables 2 and 3 under another name: P(L1, L2; L_i) for P(L2, L1; L_i). By
# antisymmetry one name is wrong, unless table 4 is in the schedule reading of R and tables 2 and 3 in the
# other. (Table 2's last column is cut off in our copy and filled from table 4, so it is not compared.)

# %%
TABLE4_COLUMNS = {"a_1": (TABLE_2, 0), "b_1": (TABLE_3, 0), "b_2": (TABLE_3, 1)}


@dataclass(frozen=True)
class Labelled:
    """The order of L1 and L2 in table 4's P, and its columns."""

    label: tuple[int, int]
    columns: Mapping[str, tuple[Fraction, ...]]


def judge_table4(printed: Labelled) -> Judgement:
    sign = factor_between(criterion(*printed.label), criterion(2, 1))
    steps = column("table4", "t")
    pairs = [
        (printed.columns[name][steps.index(Fraction(row.t))], sign * row.predicted[k])
        for name, (table, k) in TABLE4_COLUMNS.items()
        for row in table
    ]
    same = sum(mine == theirs for mine, theirs in pairs)
    opposite = sum(mine == -theirs for mine, theirs in pairs)
    i, j = printed.label
    reason = (
        f"P(L{i}, L{j}; L_i) = ({sign}) P(L2, L1; L_i); of {len(pairs)} figures "
        f"in both tables {same} have the sign that this asks for and {opposite} the opposite one, as in "
        f"{shown([pairs[0][0], pairs[0][1]])}"
    )
    if same == len(pairs):
        return Judgement("holds", reason)
    if opposite == len(pairs):
        return Judgement(
            "corrected", reason, "table 4 shows P(L2, L1; L_i) in the convention of tables 2 and 3"
        )
    return Judgement("false", reason, "the figures of the tables differ")


COLUMNS = {name: column("table4", name) for name in TABLE4_COLUMNS}
TABLE4 = Claim(
    id="table4-caption",
    source="Table 4, caption",
    statement="table 4 shows P(L1, L2; L_i), with the figures that tables 2 and 3 call P(L2, L1; L_i)",
    latex=r"P_{12;i} = P(L_1, L_2; L_i)",
    printed=Labelled((1, 2), COLUMNS),
    planted=Labelled((1, 2), {**COLUMNS, "a_1": tuple(-value for value in COLUMNS["a_1"])}),
    right=Labelled((2, 1), COLUMNS),
    judge=judge_table4,
)

CLAIMS = [PROXY, TABLE2_SIGNS, TABLE3_SIGNS, SUM, TABLE4]
