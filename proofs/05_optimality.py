# %% [markdown]
# # Corollary 3.2(b): when is a schedule locally optimal?
#
# The proof lowers L at the end of the small window, t + 2ε. Training ends later, at T, and what the tilt's
# bump does to L(θ(T)) is decided by the costate p(t), which is ∇L(θ(T)) carried back along the trajectory,
# not by ∇L(θ(t)).

# %%
from __future__ import annotations

from dataclasses import replace

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.iterated import signature
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import (
    TARGET,
    Series,
    combine,
    criterion,
    derivative,
    gradient,
    lie_bracket,
    order,
    tree,
)
from proofs.claim import Claim, Judgement
from proofs.compare import COMPOSITION, SCHEDULE, compare, expressions, factor_between, math, scaled

delta, eps, r, Dt = sp.symbols("delta epsilon r Dt", positive=True)
W = sp.symbols("w1 w2 w3", nonnegative=True)
MIXTURE = dict(enumerate(W, start=1))
COSTATE, GRADIENT = "the costate p(t)", "∇L(θ(t))"

# %% [markdown]
# ## The effect at the end of training, as a series
# A tilt of δ for ε and back, then the mixture for a further r. The terms in δε² are compared with the
# derivative of L∘Φ_r (the loss at the end, as a function of θ(t)) along R(L_i − L_j, Σ w_k L_k). That
# derivative is ⟨p(t), R⟩ by the definition of the costate. At r = 0 it is P.

# %%
ORDER = 4


def effect_at_the_end() -> Series:
    """The coefficient of δε² in L(θ^ε(T)) − L(θ(T)), up to order 4."""
    tail = SymbolicSchedule.constant(W, r)
    tilted = SymbolicSchedule.tilt(W, 1, 2, delta, eps).then(tail)
    straight = SymbolicSchedule.constant(W, 2 * eps).then(tail)
    change = expressions(excess(tilted, straight, ORDER, loss_series))
    leading = {t: c.coeff(delta, 1).coeff(eps, 2) for t, c in change.items()}
    return {t: c for t, c in leading.items() if c != 0}


def costate_product() -> Series:
    """⟨p(t), R(L_i − L_j, Σ w_k L_k)⟩ up to order 4."""
    bracket = lie_bracket(gradient({1: 1, 2: -1}), gradient(MIXTURE))
    tail = expressions(loss_series(SymbolicSchedule.constant(W, r), ORDER - 2))
    loss_at_end = combine((1, {tree(TARGET): sp.Integer(1)}), (1, tail))
    return {t: c for t, c in derivative(bracket, loss_at_end).items() if order(t) <= ORDER}


# %% [markdown]
# ## An optimal schedule that violates the condition as printed
# On the line, L1 = x + x²/2 and L2 = x − x²/2; their mixture is x, so that equal weights move θ from 0 to −T
# in time T. The target ½(x + T)² is 0 there: no schedule does better. Yet P(L1, L2; L) ≠ 0 at the start, with
# both weights ½. The costate is 0 throughout.

# %%
x, T = sp.symbols("x T", positive=True)


def optimal_example() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """P with ∇L(θ(0)), P with the costate, and the final loss."""
    line = Coordinates((x,), (T,))
    l1, l2, target = line(x + x**2 / 2), line(x - x**2 / 2), line((x + T) ** 2 / 2)
    bracket = line.lie_bracket(line.gradient(l1), line.gradient(l2))
    equal = SymbolicSchedule.constant((sp.Rational(1, 2),) * 2, T)
    loss_at_end = line.along(target, [l1, l2], equal, 4)
    loss_at_end = sum((line.graded(loss_at_end, n) for n in range(5)), line.ring.zero)

    def at_start(p: object) -> sp.Expr:
        return p.as_expr().subs(x, 0)  # type: ignore[attr-defined]

    return (
        at_start(line.inner(bracket, line.gradient(target))),
        at_start(line.inner(bracket, line.gradient(loss_at_end))),
        at_start(loss_at_end),
    )


def judge_condition(printed: tuple[str, tuple[str, str]]) -> Judgement:
    """Printed: the covector that R is multiplied by, and which two weights may vanish."""
    covector, zero = printed
    closes = factor_between(effect_at_the_end(), costate_product()) == 1
    now, at_end, loss = optimal_example()
    if not closes or loss != 0 or at_end != 0:
        raise ArithmeticError("the series and the costate's product differ")
    repair = "⟨R(Li − Lj, Σ w_k L_k), p(t)⟩ ≠ 0 with the costate p; then w_i(t) = 0 or w_j(t) = 0"
    if covector == GRADIENT:
        reason = (
            f"L1 = x + x²/2, L2 = x − x²/2, L = (x + T)²/2 from x = 0 with weights ½, ½: the final loss is "
            f"{loss}, the least possible, and P = {math(now)} at t = 0; with the costate it is {at_end}"
        )
        return Judgement("false", f"{reason}; the weights that may vanish read {' or '.join(zero)}", repair)
    if zero != ("w_i", "w_j"):
        return Judgement("corrected", f"the second of {' or '.join(zero)} must be the other weight", repair)
    return Judgement("holds", f"the series agrees with the costate's product through order {ORDER}")


CONDITION = Claim(
    id="cor3.2b",
    source="Corollary 3.2(b)",
    statement="along a locally optimal schedule, P(Li − Lj, Σ w_k L_k; L)(θ(t)) ≠ 0 only where w_i or w_j "
    "vanishes",
    latex=r"P(L_i - L_j, \Sigma_k w_k L_k; L)(\theta(t)) \neq 0 "
    r"\;\Rightarrow\; w_i(t) = 0 \text{ or } w_i(t) = 0",
    printed=(GRADIENT, ("w_i", "w_i")),
    planted=(COSTATE, ("w_i", "w_i")),
    right=(COSTATE, ("w_i", "w_j")),
    judge=judge_condition,
)

# %% [markdown]
# ## The proof of (b)
# It supposes P(L_i, L_j; L) > 0, uses the tilt, whose effect is δε² P(L_i − L_j, Σ w_k L_k; L), with the sign
# of −½, and ends "w_i = 0 or w_i = 0". For two domains the two P agree; for three they need not even agree in
# sign: g = (1, 0, −9) and H = (0, 1, 0) on the line, equal weights, ∇L = 1.

# %%
NEEDED = criterion({1: 1, 2: -1}, MIXTURE)


def on_the_line(series: Series, slopes: tuple[int, ...], curvatures: tuple[int, ...]) -> sp.Expr:
    """⟨·, ∇L⟩ for one-dimensional domains with these gradients and Hessians, equal weights and ∇L = 1."""
    third = {w: sp.Rational(1, 3) for w in W}
    total = sp.Integer(0)
    for t, c in expressions(series).items():
        (outer,) = t.children
        (inner,) = outer.children
        total += c.subs(third) * curvatures[outer.color - 1] * slopes[inner.color - 1]
    return total


def judge_proof(printed: tuple[Series, sp.Expr, tuple[str, str]]) -> Judgement:
    """Printed: the P supposed to be positive, the tilt's factor of it, the weights that may vanish."""
    assumed, factor, zero = printed
    tilted = SymbolicSchedule.tilt(W, 1, 2, delta, eps)
    change = excess(tilted, SymbolicSchedule.constant(W, 2 * eps), 2, loss_series)
    defects = []
    if factor_between(assumed, NEEDED) != 1:
        line = ((1, 0, -9), (0, 1, 0))
        defects.append(
            f"for K = 3 the supposed P can be {on_the_line(assumed, *line)} where the one that is needed is "
            f"{on_the_line(NEEDED, *line)}"
        )
    right_factor = factor_between(change, NEEDED)
    if factor != right_factor:
        defects.append(f"the change is {math(right_factor)} times P, not {math(factor)}")
    if zero != ("w_i", "w_j"):
        defects.append(f"it ends {' or '.join(zero)}")
    if defects:
        return Judgement(
            "false",
            "; ".join(defects),
            "suppose P(Li − Lj, Σ w_k L_k; ·) < 0 (else exchange i and j), the costate in ∇L's place; then "
            "the tilt lowers L by δ ε² |P|, so w_i = 0 or w_j = 0",
        )
    return Judgement("holds", "the P supposed is the P used, with the tilt's own factor")


PROOF = Claim(
    id="cor3.2b-proof",
    source="Corollary 3.2(b), proof",
    statement="P(Li, Lj; L) > 0 gives, with eq. 8, a tilt that lowers L by ½ ε² δ P(Li − Lj, Σ w_k L_k; L)",
    latex=r"P(L_i, L_j; L) > 0 \;\Rightarrow\; L(\theta^\varepsilon) - L(\theta) = "
    r"-\tfrac12 \varepsilon^2 \delta P(L_i - L_j, \Sigma_k w_k L_k; L) < 0",
    printed=(criterion(1, 2), -delta * eps**2 / 2, ("w_i", "w_i")),
    planted=(criterion(1, 2), delta * eps**2, ("w_i", "w_j")),
    right=(NEEDED, delta * eps**2, ("w_i", "w_j")),
    judge=judge_proof,
)

# %% [markdown]
# ## The remark on switching modes
# "From mode one to mode two only when P(L1, L2; L) ≤ 0." Around the switch, compare 1-then-2 with 2-then-1.
# The weights jump inside the window, so (a), whose weights are constant there, does not give it: the area
# does. (For a loss at the end, P is again to be taken with the costate.)


# %%
def area(schedule: SymbolicSchedule) -> sp.Expr:
    """A_12 of a schedule of two domains."""
    S = expressions(signature(schedule, 2))
    return sp.expand((S.get((1, 2), sp.Integer(0)) - S.get((2, 1), sp.Integer(0))) / 2)


def judge_mode_switch(printed: int) -> Judgement:
    """Printed: the sign that P must not have for 1-then-2 to be kept."""
    one_then_two = SymbolicSchedule.blocks({1: Dt, 2: Dt})
    two_then_one = SymbolicSchedule.blocks({2: Dt, 1: Dt})
    gain = excess(two_then_one, one_then_two, 2, loss_series)  # ≥ 0 if the switch 1 → 2 is optimal
    claimed = scaled(-printed * Dt**2, criterion(1, 2))
    derived = {SCHEDULE: gain, COMPOSITION: scaled(-1, gain)}
    found = compare(claimed, derived, "1 → 2 only where P(L1, L2; L) ≤ 0, 2 → 1 only where P ≥ 0")
    scope = (
        f"it does not follow from (a), whose weights are constant on the window while these jump: the areas "
        f"do it, {math(area(one_then_two))} for 1 → 2 and {math(area(two_then_one))} for 2 → 1; for a loss "
        f"at the end of training P is to be taken with {COSTATE}, as in cor3.2b"
    )
    return replace(found, reason=f"{found.reason}; {scope}")


MODE_SWITCH = Claim(
    id="mode-switch",
    source="§3.2, remark on two domains",
    statement="a schedule that is optimal for the loss at the end of the window shifts from domain 1 to "
    "domain 2 only where P(L1, L2; L) ≤ 0",
    latex=r"1 \to 2 \text{ at } t \;\Rightarrow\; P(L_1, L_2; L)(\theta(t)) \leq 0",
    printed=1,
    planted=2,
    judge=judge_mode_switch,
)

CLAIMS = [CONDITION, PROOF, MODE_SWITCH]
