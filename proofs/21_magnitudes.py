# %% [markdown]
# # How large a predicted excess is: γ, Δt and Δw in tables 2 and 3
#
# With the learning rate, eq. 9 changes the loss by δ (γΔt)² P. The printed P must hold some of these factors,
# and which ones decides whether the tables are possible at all.

# %%
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from statistics import median

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import criterion
from proofs.claim import Claim, Judgement
from proofs.compare import factor_between, math
from proofs.figures import DELTAS, INTERVENTION, LEARNING_RATE, rows

gamma, delta, Dt, w = sp.symbols("gamma delta Dt w", positive=True)
TABLES = {table: rows(table) for table in DELTAS}


@cache
def excess_factor() -> sp.Expr:
    """EL^12 / P(L1, L2; L) for the tilt by δ under the learning rate γ."""
    tilted = SymbolicSchedule.tilt((gamma * w, gamma * (1 - w)), 1, 2, gamma * delta, Dt)
    base = SymbolicSchedule.constant((gamma * w, gamma * (1 - w)), 2 * Dt)
    return factor_between(of_order(excess(tilted, base, 2, loss_series), 2), criterion(1, 2))


# %% [markdown]
# ## "We adjust P by γ²"
# A reading says which powers of γ and Δt are inside the printed P; the rest of δ (γΔt)² is still to be
# applied. A negative log-likelihood cannot fall below 0, so a reading is impossible if it predicts an excess
# below −L_i anywhere.


# %%
@dataclass(frozen=True)
class Inside:
    """The powers of γ and of Δt that the printed P contains."""

    gamma: int
    dt: int

    def __str__(self) -> str:
        powers = [f"{name}{'²' if n == 2 else ''}" for name, n in (("γ", self.gamma), ("Δt", self.dt)) if n]
        return " ".join(powers) or "no factor"


def remaining(inside: Inside, of_delta: Fraction) -> Fraction:
    """What takes the printed P to an excess."""
    value = excess_factor() / (gamma**inside.gamma * Dt**inside.dt)
    numbers = {gamma: LEARNING_RATE, Dt: INTERVENTION, delta: of_delta}
    return Fraction(str(value.subs({symbol: sp.Rational(number) for symbol, number in numbers.items()})))


def lowest(inside: Inside, table: str, of_delta: Fraction) -> tuple[Fraction, Fraction]:
    """The lowest predicted excess against its loss, for EL21 and for EL12 (the opposite)."""
    factor = remaining(inside, of_delta)
    return min(
        (
            (-abs(factor * p), loss)
            for row in TABLES[table]
            for p, loss in zip(row.predicted, row.losses, strict=True)
        ),
        key=lambda pair: pair[0] + pair[1],
    )


def judge_gamma(printed: Inside) -> Judgement:
    cases = [(table, of_delta) for table, options in DELTAS.items() for of_delta in options]
    extremes = {case: lowest(printed, *case) for case in cases}
    (table, of_delta), (change, loss) = max(extremes.items(), key=lambda item: item[1][0])
    reason = (
        f"excess = {math(excess_factor())} P; with {printed} inside P it comes down to "
        f"{float(change):.1f} nats "
        f"for a loss of {float(loss):.3g} ({table}, Δw = {float(of_delta)}), and further in the others"
    )
    if all(change + loss >= 0 for change, loss in extremes.values()):
        return Judgement("holds", reason)
    possible = [
        str(inside)
        for inside in (Inside(0, 0), Inside(2, 2))
        if all(sum(lowest(inside, *case)) >= 0 for case in cases)
    ]
    return Judgement("corrected", reason, f"possible in magnitude: P with {' or '.join(possible)} inside")


GAMMA = Claim(
    id="gamma-in-tables",
    source="§4.2, adjustment of P by γ², with tables 2 and 3",
    statement="the printed P is adjusted by γ² (and by nothing else)",
    latex=r"P_{printed} = \gamma^2 P",
    printed=Inside(2, 0),
    planted=Inside(2, 1),
    right=Inside(2, 2),
    judge=judge_gamma,
)

# %% [markdown]
# ## Which Δw?
# The tables name none of the three that §4.2 and §4.3 try. The factor from P to EL is proportional to it.


# %%
def measured_factor(table: str) -> Fraction:
    """The median of |EL21 / P(L2, L1; L_i)|."""
    return median(
        abs(el / p) for row in TABLES[table] for el, p in zip(row.excess_21, row.predicted, strict=True)
    )


def factors(table: str) -> str:
    """The factor from P to EL for each Δw, and the measured one."""
    by_delta = [f"{float(remaining(Inside(0, 0), d)):.4f} for Δw = {float(d)}" for d in DELTAS[table]]
    return f"{table}: {', '.join(by_delta)}; measured median {float(measured_factor(table)):.2f}"


def judge_delta(printed: dict[str, Fraction | None]) -> Judgement:
    """Printed: the Δw that each table states."""
    reason = f"|EL/P| with no factor inside P: {'; '.join(map(factors, DELTAS))}"
    unknown = [table for table, stated in printed.items() if stated and stated not in DELTAS[table]]
    if unknown:
        return Judgement(
            "false", f"no such Δw was run for {', '.join(unknown)}. {reason}", "one of the text's"
        )
    missing = [table for table, stated in printed.items() if stated is None]
    if missing:
        return Judgement("undetermined", f"missing: the Δw of {', '.join(missing)}. {reason}")
    return Judgement("holds", reason)


DELTA_W = Claim(
    id="tables-delta-w",
    source="Tables 2 and 3, captions",
    statement="the tables show the excess for one of the degrees of intervention Δw",
    latex=r"EL^{12} = \Delta w\, (\gamma \Delta t)^2 P, \quad \Delta w = \;?",
    printed={"table2": None, "table3": None},
    planted={"table2": Fraction(1, 5), "table3": None},
    judge=judge_delta,
)

CLAIMS = [GAMMA, DELTA_W]
