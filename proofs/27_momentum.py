# %% [markdown]
# # Momentum and the common tail
#
# m ← βm + (1−β)g, θ ← θ − ηm (heavy ball: the same with η/(1−β) for η). n steps of domain 1 and n of 2, or
# the reverse, and then τ steps of the mixture in both. The orders differ already at O(η): the domain trained
# last has not been delivered yet. The tail delivers it, and what is left at O(η²) is the bracket.

# %%
from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import sympy as sp
from sympy.polys.fields import FracElement, FracField

from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, math

beta, eta = sp.symbols("beta eta", positive=True)
n, tau = sp.symbols("n tau", positive=True, integer=True)
B, C = sp.symbols("B C", positive=True)  # βⁿ and β^τ, which the closed forms hold as symbols
VECTORS = g1, g2, m0 = sp.symbols("g1 g2 m0")
HESSIANS = H1, H2 = sp.symbols("H1 H2")  # of H and g only the products H g occur
FRACTIONS = FracField((beta, n, tau, B, C, *VECTORS, *HESSIANS, *sp.symbols("theta1 m z2")), sp.QQ)
MIXTURE = (H1 + H2) / 2, (g1 + g2) / 2


def exact(expression: sp.Expr) -> FracElement:
    """In ℚ(β, n, …), where equal is equal."""
    return FRACTIONS.from_expr(sp.sympify(expression))


# %% [markdown]
# ## An iterate without memory
# z = θ − ηβ/(1−β) m moves by plain steps, z ← z − ηg(θ), whatever the losses.


# %%
def judge_shadow(printed: sp.Expr) -> Judgement:
    """Printed: c with z = θ − c m."""
    theta, m, g = sp.symbols("theta m g")
    later = beta * m + (1 - beta) * g
    step = (theta - eta * later - printed * later) - (theta - printed * m)
    left = sp.simplify(step + eta * g)
    if left == 0:
        return Judgement("holds", "z moves by −ηg in one step, for every m and g")
    return Judgement("false", f"z moves by −ηg and by {math(left)}", "z = θ − ηβ/(1−β) m")


SHADOW = Claim(
    id="momentum-shadow",
    source="extension: optimizers",
    statement="under momentum θ − ηβ/(1−β)m moves by plain gradient steps, with gradients taken at θ",
    latex=r"z = \theta - \frac{\eta\beta}{1 - \beta} m \;\Rightarrow\; z_{t+1} = z_t - \eta\, g(\theta_t)",
    printed=eta * beta / (1 - beta),
    planted=eta / (1 - beta),
    judge=judge_shadow,
)

# %% [markdown]
# ## Settled steps
# Along curvature λ one step maps (θ, m) linearly. With ηλ = ε the two factors that it has are the roots of
# r² − (1 + β − (1−β)ε) r + β. One of them starts from 1 and is what is left once momentum has settled: it
# falls behind the flow's e^{−ε} by plain steps' ½ε², and by ε² for each step of the shadow's lag.


# %%
def judge_settled(printed: sp.Expr) -> Judgement:
    """Printed: c in log r = −ε − cε² + O(ε³)."""
    size, c = sp.symbols("epsilon c")
    r = sp.exp(-size - c * size**2)
    left = sp.series(r**2 - (1 + beta - (1 - beta) * size) * r + beta, size, 0, 3).removeO()
    if sp.simplify(left.coeff(size, 0)) != 0 or sp.simplify(left.coeff(size, 1)) != 0:
        return Judgement("false", "the root that starts from 1 does not fall by ε")
    (derived,) = sp.solve(left.coeff(size, 2), c)
    return compare({"c": printed}, {AS_WRITTEN: {"c": sp.factor(derived)}}, "½ + β/(1−β)")


SETTLED = Claim(
    id="momentum-settled",
    source="extension: optimizers",
    statement="along curvature λ a settled step of momentum leaves e^{−ηλ − c(ηλ)²}, c being ½ and the lag",
    latex=r"\log r = -\eta\lambda - \Big( \frac12 + \frac{\beta}{1 - \beta} \Big) (\eta\lambda)^2 "
    r"+ O(\eta^3)",
    printed=sp.Rational(1, 2) + beta / (1 - beta),
    planted=beta / (1 - beta),
    judge=judge_settled,
)

# %% [markdown]
# ## A block of steps in closed form
# With θ = θ₀ + ηθ₁ + …, m = m₀ + … and z = θ₀ + ηz₁ + η²z₂ + …, c steps on the same domain are linear in
# (g, m₀). The closed form is proved by induction on c: it is the identity at c = 0, and one step more is
# c + 1 with β·β^c for β^c.


# %%
class State(NamedTuple):
    """θ₁, m at leading order, and z₂; products of an H with a g stand for H g."""

    theta: FracElement
    m: FracElement
    z: FracElement


def step(at: State, H: FracElement, g: FracElement) -> State:
    """One step, straight from the update: z moves by −ηg(θ) = −η(g + ηHθ₁)."""
    m = exact(beta) * at.m + exact(1 - beta) * g
    return State(at.theta - m, m, at.z - H * at.theta)


def block(at: State, count: FracElement, decay: FracElement, H: FracElement, g: FracElement) -> State:
    """``count`` steps; ``decay`` is β^count."""
    late = (at.m - g) * exact(beta / (1 - beta))
    summed = (1 - decay) / exact(1 - beta)
    passed = count * at.theta - g * count * (count - 1) / 2 - late * (count - summed)
    return State(at.theta - count * g - late * (1 - decay), g + decay * (at.m - g), at.z - H * passed)


def check_block() -> None:
    """The induction."""
    start = State(*FRACTIONS.gens[-3:])
    one, count, decay = (exact(H1), exact(g1)), exact(n), exact(B)
    if block(start, exact(0), exact(1), *one) != start:
        raise ArithmeticError("no steps are not the identity")
    if block(start, count + 1, exact(beta) * decay, *one) != step(block(start, count, decay, *one), *one):
        raise ArithmeticError("a block of steps is not what its closed form says")


def gap(start: sp.Expr) -> State:
    """1 then 2 and the tail, less 2 then 1 and the tail, from the momentum ``start``."""
    check_block()
    one, two, both = ((exact(H), exact(g)) for H, g in ((H1, g1), (H2, g2), MIXTURE))
    ends = []
    for order in ((one, two), (two, one)):
        at = State(exact(0), exact(start), exact(0))
        for domain in order:
            at = block(at, exact(n), exact(B), *domain)
        ends.append(block(at, exact(tau), exact(C), *both))
    return State(*(a - b for a, b in zip(*ends, strict=True)))


# %% [markdown]
# ## At O(η)
# The difference is linear in g1 − g2, does not depend on m₀, and decays as β^τ.

# %%
EXAMPLE, TAIL = sp.Rational(9, 10), 5


def judge_memory(printed: sp.Expr) -> Judgement:
    """Printed: the factor of −η (g1 − g2) in θ_12 − θ_21, with β, n and τ."""
    claimed = printed.subs({beta ** (tau + 1): beta * C, beta**n: B})
    derived = -gap(m0).theta
    gradients = {g: sp.factor(derived.diff(exact(g)).as_expr()) for g in VECTORS}
    found = compare(
        {g1: claimed, g2: -claimed}, {"by induction on the steps": gradients}, math(gradients[g1])
    )
    left = sp.Float(EXAMPLE ** (TAIL / (1 - EXAMPLE)), 2)
    tail = f"a tail of {TAIL}/(1−β) steps leaves at most e^−{TAIL} of it ({left} for β = {EXAMPLE})"
    return replace(found, reason=f"{found.reason}; {tail}")


MEMORY = Claim(
    id="momentum-memory",
    source="extension: optimizers",
    statement="under momentum a swap has an effect at O(η), linear in g1 − g2, of which a common tail of τ "
    "steps leaves the share β^τ",
    latex=r"\theta_{12} - \theta_{21} = -\eta\, \beta^{\tau + 1} \frac{(1 - \beta^n)^2}{1 - \beta} "
    r"(g_1 - g_2) + O(\eta^2)",
    printed=beta ** (tau + 1) * (1 - beta**n) ** 2 / (1 - beta),
    planted=beta ** (tau + 1) * (1 - beta ** (2 * n)) / (1 - beta),
    judge=judge_memory,
)

# %% [markdown]
# ## At O(η²), after a long tail
# z and θ differ by the momentum, which the tail makes common, so that the difference of θ tends to that of
# z. If the momentum before the swap was the mixture's, as in a run, it is n²η²R and nothing else: plain steps
# have the same. From m₀ = 0 it also has H1 g1 − H2 g2, as 1/n² of the whole.

# %%
K = (1 - beta**n) / (1 - beta)
R, OWN = H2 * g1 - H1 * g2, H1 * g1 - H2 * g2


def after_the_tail(start: sp.Expr, printed: tuple[sp.Expr, sp.Expr], correction: str) -> Judgement:
    """Whether θ_12 − θ_21 tends to η² (a R + b (H1 g1 − H2 g2)) for the printed a and b."""
    end, forgotten = gap(start), exact(C)
    if end.theta.subs(forgotten, 0) != 0:
        raise ArithmeticError("the tail does not remove the effect at O(η)")
    a, b = (c.subs(beta**n, B) for c in printed)
    pairs = [(H, g) for H in HESSIANS for g in VECTORS]
    claimed = {(H, g): a * R.coeff(H).coeff(g) + b * OWN.coeff(H).coeff(g) for H, g in pairs}
    limit = end.z.subs(forgotten, 0)
    derived = {(H, g): limit.diff(exact(H)).diff(exact(g)).as_expr() for H, g in pairs}
    return compare(_bilinear(claimed), {f"from m₀ = {math(start)}": _bilinear(derived)}, correction)


def _bilinear(coefficients: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr]) -> dict[str, sp.Expr]:
    return {f"{H} {g}": sp.factor(c) for (H, g), c in coefficients.items()}


def judge_warm(printed: tuple[sp.Expr, sp.Expr]) -> Judgement:
    """Printed: the factors of η²R and η²(H1 g1 − H2 g2), from the mixture's momentum."""
    return after_the_tail(MIXTURE[1], printed, "n²η² R")


WARM = Claim(
    id="momentum-after-tail",
    source="extension: optimizers",
    statement="after a long common tail, and from the mixture's momentum, the orders under momentum differ "
    "by n²η²R, as plain steps do",
    latex=r"\lim_{\tau \to \infty} (\theta_{12} - \theta_{21}) = n^2 \eta^2 R(L_1, L_2) + O(\eta^3)",
    printed=(n**2, sp.Integer(0)),
    planted=(n**2 - beta * K**2 / 2, beta * K**2 / 2),
    judge=judge_warm,
)


def judge_cold(printed: tuple[sp.Expr, sp.Expr]) -> Judgement:
    """Printed: the same, from no momentum."""
    return after_the_tail(sp.Integer(0), printed, "(n² − ½βK²) R + ½βK² (H1 g1 − H2 g2)")


COLD = Claim(
    id="momentum-cold-start",
    source="extension: optimizers",
    statement="from no momentum H1 g1 − H2 g2 is left beside the bracket, as 1/n² of it",
    latex=r"\lim_{\tau \to \infty} (\theta_{12} - \theta_{21}) = \eta^2 \big( (n^2 - \tfrac12 \beta K^2) R "
    r"+ \tfrac12 \beta K^2 (H_1 g_1 - H_2 g_2) \big) + O(\eta^3), \quad K = \frac{1 - \beta^n}{1 - \beta}",
    printed=(n**2 - beta * K**2 / 2, beta * K**2 / 2),
    planted=(n**2 - beta * K**2 / 2, -beta * K**2 / 2),
    judge=judge_cold,
)

CLAIMS = [SHADOW, SETTLED, MEMORY, WARM, COLD]
