# %% [markdown]
# # Corollary 3.2(b): how often ∇L(θ(t)) has the wrong sign
#
# What a change of order at t does to the loss at the end of training T is decided by the costate p(t)
# (``cor3.2b``). On random quadratics one can count how often ∇L(θ(t)), or ∇L(θ(T)), says otherwise.

# %%
from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache

from proofs.claim import Claim, Judgement

COSTATE, GRADIENT, END_GRADIENT = "the costate p(t)", "∇L(θ(t))", "∇L(θ(T))"

# %% [markdown]
# ## The draws
# Random two-dimensional quadratics for L1, L2 and the target L: Hessians M Mᵀ with Gaussian M, Gaussian
# centres and θ, T = 1. Observed is the sign of L(θ^ε(T)) − L(θ(T)) for a real swap of ε = 10⁻⁴ at t = 0, by
# exact affine flows; predicted is the sign of ⟨R, covector⟩. The share depends on the target: beside it is
# the share for L = ½(L1 + L2).

# %%
DRAWS, EPSILON, HORIZON = 2000, 1e-4, 1.0
INDEPENDENT, MEAN = "an independent quadratic", "the mean of L1 and L2"
Vector = tuple[float, float]
Symmetric = tuple[float, float, float]


def apply(m: Symmetric, v: Vector) -> Vector:
    return m[0] * v[0] + m[1] * v[1], m[1] * v[0] + m[2] * v[1]


def function_of(m: Symmetric, f: Callable[[float], float]) -> Symmetric:
    """f of a symmetric 2 × 2 matrix, by its eigenvalues."""
    mean, half = (m[0] + m[2]) / 2, math.hypot((m[0] - m[2]) / 2, m[1])
    low, high = f(mean - half), f(mean + half)
    slope = (high - low) / (2 * half)
    base = (high + low) / 2 - slope * mean
    return base + slope * m[0], slope * m[1], base + slope * m[2]


def plus(*vectors: Vector) -> Vector:
    return sum(v[0] for v in vectors), sum(v[1] for v in vectors)


def times(c: float, v: Vector) -> Vector:
    return c * v[0], c * v[1]


def dot(u: Vector, v: Vector) -> float:
    return u[0] * v[0] + u[1] * v[1]


def moved(m: Symmetric, g: Vector, t: float) -> Vector:
    """Displacement after t of descent on a quadratic with Hessian m and gradient g: −t φ₁(−tm) g."""
    return apply(function_of(m, lambda z: math.expm1(-t * z) / z), g)


def one_draw(source: random.Random, target: str) -> dict[str, float]:
    """The observed change, and ⟨R, covector⟩ for each covector."""

    def normal() -> float:
        return source.gauss(0.0, 1.0)

    def quadratic(theta: Vector) -> tuple[Symmetric, Vector]:
        a, b, c, d = normal(), normal(), normal(), normal()
        matrix = (a * a + b * b, a * c + b * d, c * c + d * d)
        return matrix, apply(matrix, plus(theta, times(-1.0, (normal(), normal()))))

    theta = (normal(), normal())
    (H1, g1), (H2, g2), independent = (quadratic(theta) for _ in range(3))
    H: Symmetric = tuple((p + q) / 2 for p, q in zip(H1, H2, strict=True))  # type: ignore[assignment]
    g = times(0.5, plus(g1, g2))
    HL, now = independent if target == INDEPENDENT else (H, g)
    R = plus(apply(H2, g1), times(-1.0, apply(H1, g2)))
    first = moved(H1, g1, EPSILON)
    second = plus(first, moved(H2, plus(g2, apply(H2, first)), EPSILON))
    bump = plus(second, times(-1.0, moved(H, g, 2 * EPSILON)))
    at_end = apply(function_of(H, lambda z: math.exp(-z * (HORIZON - 2 * EPSILON))), bump)
    slope = plus(now, apply(HL, moved(H, g, HORIZON)))
    return {
        "observed": dot(slope, at_end) + 0.5 * dot(at_end, apply(HL, at_end)),
        GRADIENT: dot(R, now),
        END_GRADIENT: dot(R, slope),
        COSTATE: dot(R, apply(function_of(H, lambda z: math.exp(-z * HORIZON)), slope)),
    }


@cache
def share_wrong(covector: str, target: str) -> float:
    """The share of draws in which ⟨R, covector⟩ has not the sign of the change observed."""
    source = random.Random(20)
    draws = [one_draw(source, target) for _ in range(DRAWS)]
    return sum(draw["observed"] * draw[covector] < 0 for draw in draws) / DRAWS


def judge_horizon(printed: str) -> Judgement:
    """Printed: the covector that is to give the sign of the change at the end of training."""
    wrong = share_wrong(printed, INDEPENDENT)
    error = math.sqrt(wrong * (1 - wrong) / DRAWS)
    reason = (
        f"{DRAWS} random 2-dimensional quadratics, T = {HORIZON:g}: with {printed} the sign is wrong in "
        f"{wrong:.1%} ± {error:.1%} ({share_wrong(printed, MEAN):.1%} if L is the mean of L1 and L2), with "
        f"the costate in {share_wrong(COSTATE, INDEPENDENT):.2%}"
    )
    if wrong <= 10 * EPSILON:
        return Judgement("holds", reason)
    return Judgement("false", reason, f"for a loss at the end of training take {COSTATE}, not {printed}")


HORIZON_CLAIM = Claim(
    id="cor3.2b-horizon",
    source="Corollary 3.2(b), its proof and the remark after it",
    statement="∇L(θ(t)) decides how a change of order at t alters the loss at the end of training",
    latex=r"\operatorname{sign}\big(L(\theta^\varepsilon(T)) - L(\theta(T))\big) "
    r"= \operatorname{sign}\langle R(\theta(t)), \nabla L(\theta(t)) \rangle",
    printed=GRADIENT,
    planted=END_GRADIENT,
    right=COSTATE,
    judge=judge_horizon,
)

CLAIMS = [HORIZON_CLAIM]
