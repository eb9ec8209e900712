# %% [markdown]
# # §3.1: two quadratic losses
#
# L_i = ½(θ − b_i)ᵀA_i(θ − b_i), as §4.1 has it, gives the descent field v_i = −A_i(θ − b_i) and the flow
# Φ_i(t)θ = b_i + e^{−tA_i}(θ − b_i). (Our copy of the paper lacks the lines that define v_i here.)

# %%
from __future__ import annotations

import sympy as sp

from proofs.claim import Claim, Judgement
from proofs.compare import COMPOSITION, SCHEDULE, compare, factor_between

t, t1, t2 = sp.symbols("t t1 t2")

# %% [markdown]
# ## The exponential's sign
# Printed is e^{tA}. The flow must start at θ and have velocity −A(θ − b); both are checked on a general
# 2 × 2 symmetric A, order by order in t through t⁵ (so that no diagonalisation is asked for).

# %%
A = sp.Matrix(2, 2, sp.symbols("a11 a12 a12 a22"))
b = sp.Matrix(sp.symbols("b1 b2"))
theta = sp.Matrix(sp.symbols("theta1 theta2"))
THROUGH = 5


def exponential(matrix: sp.Matrix) -> sp.Matrix:
    """e^{t·matrix} through t⁵."""
    return sum((t**k * matrix**k / sp.factorial(k) for k in range(THROUGH + 1)), sp.zeros(2))


def residual(sign: int) -> list[sp.Expr]:
    """What is left, below t⁵, of b + e^{sign·tA}(θ − b) as the descent flow that starts at θ."""
    flow = (b + exponential(sign * A) * (theta - b)).expand()
    gap = (flow.diff(t) + A * (flow - b)).expand()
    below = [entry.coeff(t, power) for entry in gap for power in range(THROUGH)]
    return below + list(flow.subs(t, 0) - theta)


def judge_affine_flow(printed: int) -> Judgement:
    """Printed: the sign s in b + e^{s t A}(θ − b)."""
    if not any(residual(printed)):
        return Judgement("holds", f"starts at θ with velocity −A(θ − b), at every order below t^{THROUGH}")
    right = r"$\Phi(t)\theta = b + e^{-tA}(\theta - b)$"
    if any(residual(-printed)):
        return Judgement("false", "not a flow of ±A(θ − b)", right)
    return Judgement(
        "corrected",
        r"the velocity of $b + e^{tA}(\theta - b)$ is +A(θ − b), ascent, if A is the Hessian as in §4.1 and "
        "appendix B; it holds if A stands for the field's own matrix, −Hess L",
        right,
    )


AFFINE_FLOW = Claim(
    id="affine-flow",
    source="§3.1",
    statement="the flow of a quadratic loss with Hessian A contracts by $e^{tA}$",
    latex=r"\Phi(t)\theta = b + e^{tA}(\theta - b)",
    printed=1,
    planted=2,
    right=-1,
    judge=judge_affine_flow,
)

# %% [markdown]
# ## Commuting matrices
# Where A1 and A2 commute they share eigenvectors, and each mode is a number: E_i stands for e^{−t_i A_i}.

# %%
E1, E2, x, c1, c2 = sp.symbols("E1 E2 x b1 b2")


def flow(E: sp.Expr, centre: sp.Expr, start: sp.Expr) -> sp.Expr:
    """One mode of Φ."""
    return centre + E * (start - centre)


def judge_commuting(printed: sp.Expr) -> Judgement:
    composed = flow(E1, c1, flow(E2, c2, x)) - flow(E2, c2, flow(E1, c1, x))  # Φ1∘Φ2 − Φ2∘Φ1
    derived = {COMPOSITION: {"": composed}, SCHEDULE: {"": -composed}}
    found = compare(
        {"": printed}, derived, r"$(1 - e^{-t_1A_1})(1 - e^{-t_2A_2})(b_1 - b_2)$ for Φ1∘Φ2 − Φ2∘Φ1"
    )
    fields_own = composed.subs({E1: 1 / E1, E2: 1 / E2}, simultaneous=True)
    if found.verdict == "holds" or factor_between({"": printed}, {"": fields_own}) != 1:
        return found
    wrong_sign = (
        f"the exponents' signs are wrong if A is the Hessian; with A the field's own matrix: {COMPOSITION}"
    )
    return Judgement("corrected", f"{wrong_sign} holds", found.correction)


COMMUTING = Claim(
    id="affine-commuting-constant",
    source="§3.1",
    statement="if A1 and A2 commute, the two orders differ by $(1 - e^{t_1A_1})(1 - e^{t_2A_2})(b_1 - b_2)$",
    latex=r"(1 - e^{t_1A_1})(1 - e^{t_2A_2})(b_1 - b_2)",
    printed=(1 - 1 / E1) * (1 - 1 / E2) * (c1 - c2),
    planted=(1 - E1) * (1 + E2) * (c1 - c2),
    right=(1 - E1) * (1 - E2) * (c1 - c2),
    judge=judge_commuting,
)

# %% [markdown]
# ## Eq. 4: the infinitesimal difference
# General 2 × 2 matrices (not symmetric either: a transpose would show). The mixed derivative at t1 = t2 = 0
# needs each flow to first order only.

# %%
A1, A2 = (sp.Matrix(2, 2, sp.symbols(f"a{k}_11 a{k}_12 a{k}_21 a{k}_22")) for k in (1, 2))
B1, B2 = (sp.Matrix(sp.symbols(f"b{k}_1 b{k}_2")) for k in (1, 2))


def first_order(time: sp.Symbol, matrix: sp.Matrix, centre: sp.Matrix, start: sp.Matrix) -> sp.Matrix:
    """Φ to first order in its time."""
    return start - time * matrix * (start - centre)


def judge_eq4(printed: sp.Matrix) -> Judgement:
    one_last = first_order(t1, A1, B1, first_order(t2, A2, B2, theta))
    two_last = first_order(t2, A2, B2, first_order(t1, A1, B1, theta))
    mixed = (one_last - two_last).diff(t1).diff(t2).subs({t1: 0, t2: 0})
    derived = {
        COMPOSITION: dict(enumerate(mixed.expand())),
        SCHEDULE: dict(enumerate((-mixed).expand())),
    }
    return compare(dict(enumerate(printed)), derived, "∂∂(Φ1∘Φ2 − Φ2∘Φ1) = [A1, A2]θ − A1A2b2 + A2A1b1")


COMMUTATOR = A1 * A2 - A2 * A1
EQ4 = Claim(
    id="eq4",
    source="§3.1, eq. 4",
    statement="the infinitesimal difference of Φ1∘Φ2 and Φ2∘Φ1 is [A1, A2]θ − A1A2b2 + A2A1b1",
    latex=r"[v_1, v_2](\theta) = [A_1, A_2]\theta - A_1A_2b_2 + A_2A_1b_1",
    printed=COMMUTATOR * theta - A1 * A2 * B2 + A2 * A1 * B1,
    planted=COMMUTATOR * theta - A2 * A1 * B2 + A1 * A2 * B1,
    judge=judge_eq4,
)

CLAIMS = [AFFINE_FLOW, COMMUTING, EQ4]
