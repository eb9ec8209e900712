# %% [markdown]
# # A preconditioned flow
#
# With a constant preconditioner D the fields are −D g_k, and the bracket is D (H_2 D g_1 − H_1 D g_2): one D
# for the field that is moved, one for the step that moves it. D need be neither diagonal nor symmetric.

# %%
from __future__ import annotations

import sympy as sp
from sympy.polys.rings import PolyElement

from commute_verify.symbolic.fields import Coordinates, Field
from commute_verify.symbolic.schedules import SymbolicSchedule
from proofs.check import LOSSES, TARGET_LOSS, x, y
from proofs.claim import Claim, Judgement

Dt = sp.Symbol("Dt", positive=True)
ENTRIES = d11, d12, d21, d22 = sp.symbols("d11 d12 d21 d22")
SPACE = Coordinates((x, y), (Dt, *ENTRIES))
Matrix = tuple[Field, ...]
Bracket = tuple[int, int, int]
SWAP = SymbolicSchedule.blocks({1: Dt, 2: Dt})


def times(matrix: Matrix, v: Field) -> Field:
    return tuple(SPACE.inner(row, v) for row in matrix)


def in_ring(rows: sp.Matrix) -> Matrix:
    return tuple(tuple(SPACE(entry) for entry in rows.row(i)) for i in range(rows.rows))


def criterion(printed: Bracket, D: Matrix) -> PolyElement:
    """⟨D^outer (H_2 D^inner g_1 + sign · H_1 D^inner g_2), ∇L⟩ for (outer, inner, sign)."""
    outer, inner, sign = printed

    def stretched(v: Field, power: int) -> Field:
        return v if power == 0 else stretched(times(D, v), power - 1)

    losses = [SPACE(loss) for loss in LOSSES[:2]]
    (g1, H1), (g2, H2) = ((SPACE.gradient(loss), SPACE.hessian(loss)) for loss in losses)
    first, second = times(H2, stretched(g1, inner)), times(H1, stretched(g2, inner))
    bracket = tuple(a + sign * b for a, b in zip(first, second, strict=True))
    return SPACE.inner(stretched(bracket, outer), SPACE.gradient(SPACE(TARGET_LOSS)))


# %% [markdown]
# ## The flow itself, by operators
# e^{ΔtV} = 1 + Δt V + ½ Δt² V² + … with V f = −⟨D g, ∇f⟩, for domain 1 and then 2, and for the mixture.


# %%
def swap_by_operators(D: Matrix) -> PolyElement:
    """The coefficient of Δt² in 2 (L(θ_12) − L(θ_base)), for any D."""
    target = SPACE(TARGET_LOSS)
    one, two = (tuple(-c for c in times(D, SPACE.gradient(SPACE(loss)))) for loss in LOSSES[:2])
    both = tuple(a + b for a, b in zip(one, two, strict=True))

    def V(*fields: Field) -> PolyElement:
        f = target
        for field in reversed(fields):
            f = SPACE.derivative(field, f)
        return f

    return V(one, one) + 2 * V(one, two) + V(two, two) - V(both, both)


# %% [markdown]
# ## The same in other coordinates
# For D = M Mᵀ and θ = M φ the flow of φ is plain descent on L_k(M φ). The engine follows it.

# %%
M = sp.Matrix([[d11, 0], [d21, d22]])


def moved(f: sp.Expr) -> sp.Expr:
    """f(M φ), with φ called x and y again."""
    there = M * sp.Matrix([x, y])
    return sp.expand(f.subs({x: there[0], y: there[1]}, simultaneous=True))


def swap_in_coordinates() -> PolyElement:
    """2 (L(θ_12) − L(θ_base))/Δt² at order 2, as a function of φ."""
    losses, target = [SPACE(moved(loss)) for loss in LOSSES[:2]], SPACE(moved(TARGET_LOSS))
    change = SPACE.along(target, losses, SWAP, 2) - SPACE.along(target, losses, SWAP.straight(), 2)
    return SPACE(sp.expand(2 * SPACE.graded(change, 2).as_expr() / Dt**2))


def judge(printed: Bracket) -> Judgement:
    """Printed: the powers of D outside and inside the bracket, and the sign of its second half."""
    any_D = in_ring(sp.Matrix(2, 2, ENTRIES))
    rotated = SPACE(moved(criterion(printed, in_ring(M * M.T)).as_expr()))
    found = {
        "by operators, for any matrix D": criterion(printed, any_D) == swap_by_operators(any_D),
        "as plain descent in φ, for D = M Mᵀ": rotated == swap_in_coordinates(),
    }
    if len(set(found.values())) > 1:
        raise ArithmeticError("the flow by operators and the flow in other coordinates differ")
    if all(found.values()):
        return Judgement("holds", "; ".join(found))
    return Judgement("false", "the flow of cubic losses with −D g_k differs", "D (H_2 D g_1 − H_1 D g_2)")


PRECONDITIONED = Claim(
    id="preconditioned-bracket",
    source="extension: optimizers",
    statement="with a frozen preconditioner D the bracket is D(H2 D g1 − H1 D g2)",
    latex=r"\theta_{12} - \theta_{\mathrm{base}} = \tfrac12 \Delta t^2\, D (H_2 D g_1 - H_1 D g_2) "
    r"+ O(\Delta t^3)",
    printed=(1, 1, -1),
    planted=(1, 0, -1),
    judge=judge,
)

CLAIMS = [PRECONDITIONED]
