# %% [markdown]
# # Live second moments: an effect that no tail removes
#
# With linear losses every Hessian is zero and so is every bracket. Adam's orders differ nonetheless, at O(η)
# and for good: v ← β₂v + (1−β₂)g² scales the steps by what came before, and that is not linear.

# %%
from __future__ import annotations

from functools import cache

import sympy as sp
from mpmath import mp

from proofs.claim import Claim, Judgement
from proofs.compare import compare, math

# %% [markdown]
# ## Adam on linear losses, and a tail without end
# One coordinate with the gradients 3 and 1; Adam late in training (bias correction 1), with the moments of
# the mixture's gradient 2; 5 steps of each domain, and then the mixture in both orders. The denominator is
# v^p, p = ½ for Adam and 0 for momentum alone. What is still to come after τ common steps is bounded by
# geometric series: j steps on, m and v of the two orders differ by β₁^j and β₂^j times what they do now, and
# m ≤ 3, v ≥ 1, as means of what they have seen.

# %%
GRADIENTS, COUNT, TAIL, BETA1, BETA2 = (3, 1), 5, 2000, "0.9", "0.99"


@cache
def after_tail(power: sp.Rational) -> tuple[mp.mpf, mp.mpf]:
    """(θ_12 − θ_21)/(−η) after ``TAIL`` common steps, and a bound on all that comes later."""
    with mp.workdps(30):
        beta1, beta2, p = mp.mpf(BETA1), mp.mpf(BETA2), mp.mpf(power.p) / power.q
        mixture = mp.mpf(sum(GRADIENTS)) / 2
        ends = []
        for order in (GRADIENTS, GRADIENTS[::-1]):
            m, v, moved = mixture, mixture**2, mp.mpf(0)
            for g in [g for g in order for _ in range(COUNT)] + [mixture] * TAIL:
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                moved += m / v**p
            ends.append((m, v, moved))
        (m12, v12, moved12), (m21, v21, moved21) = ends
        largest, least = max(GRADIENTS), mp.mpf(min(GRADIENTS) ** 2)
        by_m = abs(m12 - m21) * beta1 / (1 - beta1) / least**p
        by_v = largest * p * abs(v12 - v21) * beta2 / (1 - beta2) / least ** (p + 1)
        return moved12 - moved21, by_m + by_v + mp.mpf(10) ** -20  # and roundoff


def judge_no_tail(printed: sp.Rational) -> Judgement:
    """Printed: the power of v̂ in the denominator of the steps whose order is to leave a lasting effect."""
    difference, bound = after_tail(printed)
    figures = f"{mp.nstr(difference, 6)} after {TAIL} common steps, and at most {mp.nstr(bound, 1)} to come"
    if abs(difference) > bound:
        return Judgement("holds", f"θ_12 − θ_21 is −η times {figures}, though R = 0")
    return Judgement("false", figures, "without live second moments the tail removes what is O(η)")


NO_TAIL = Claim(
    id="second-moments-no-tail",
    source="extension: optimizers",
    statement="with linear losses, so R = 0, Adam's two orders differ at O(η) after any common tail",
    latex=r"R = 0, \quad \lim_{\tau \to \infty} \frac{\theta_{12} - \theta_{21}}{\eta} \neq 0",
    printed=sp.Rational(1, 2),
    planted=sp.Integer(0),
    judge=judge_no_tail,
)

# %% [markdown]
# ## How large it is
# Per coordinate, with gradients a and b of the domains and steps g/√v. v sees g² and a noise of variance σ²,
# and was v̄ = ¼(a+b)² + σ², the mixture's own, before the swap. To first order in 1−β₂, with an endless tail:
#
# - in the window v strays by (1−β₂) Σ (g² + σ² − v̄) over the steps so far;
# - after it the two orders' v differ by −(1−β₂ⁿ)²(a² − b²), which the tail forgets as β₂^j, j = 1, 2, …
#
# The coefficient is at most quadratic in n and 0 at n = 0, so n = 1, 2 decide it; 3 and 4 are held too.

# %%
a, b, n = sp.symbols("a b n")
v, eps = sp.symbols("v epsilon", positive=True)  # v̄ and 1 − β₂
LONGEST = 4


def strays(seen: list[sp.Expr]) -> list[sp.Expr]:
    """v − v̄ after each step, exactly; the noise is in v̄, since g² + σ² − v̄ = g² − ¼(a+b)²."""
    now, found = sp.Integer(0), []
    for g in seen:
        now = sp.expand((1 - eps) * now + eps * (g**2 - (a + b) ** 2 / 4))
        found.append(now)
    return found


@cache
def lasting(count: int) -> sp.Expr:
    """(θ_12 − θ_21)/(−η) after an endless tail, at first order in 1−β₂."""
    window, left = [], []
    for order in ((a, b), (b, a)):
        seen = [g for g in order for _ in range(count)]
        stray = strays(seen)
        slopes = (g * d.coeff(eps, 1) for g, d in zip(seen, stray, strict=True))
        window.append(-sum(slopes) / 2)  # (v̄ + d)^(−½) = v̄^(−½) − ½ v̄^(−3/2) d + …
        left.append(stray[-1])
    gap = sp.expand(left[0] - left[1])
    if gap.coeff(eps, 0) != 0 or gap.coeff(eps, 1) != 0:
        raise ArithmeticError("equal totals leave v apart at first order in 1−β₂")
    tail = -(a + b) / 2 * gap.coeff(eps, 2) / 2  # Σ_j (1−ε)^j = 1/ε + …; d² is of order ε³, and ε² here
    return sp.factor((window[0] - window[1] + tail) * v ** sp.Rational(-3, 2) * eps)


def judge_size(printed: sp.Expr) -> Judgement:
    """Printed: (θ_12 − θ_21)/(−η) in a, b, n, v̄ and ε = 1−β₂."""
    for count in range(1, LONGEST + 1):
        derived = {"": lasting(count)}
        found = compare(
            {"": printed.subs(n, count)}, {f"n = {count}": derived}, "(1−β₂) n² (a−b)³/(8 v̄^(3/2))"
        )
        if found.verdict != "holds":
            return found
    quiet = (1 + 100) ** -1.5
    return Judgement(
        "holds",
        f"n = 1 to {LONGEST} agree, the last with {math(lasting(LONGEST))}; noise of 10 times the mixture's "
        f"gradient leaves {quiet:.1e} of what there is without noise",
    )


SIZE = Claim(
    id="second-moments-lasting",
    source="extension: optimizers",
    statement="what live second moments leave for good is −η(1−β₂)n²(g1−g2)³/(8v^1.5) in each coordinate, at "
    "first order in 1−β₂: small where noise dominates v",
    latex=r"\lim_{\tau \to \infty} (\theta_{12} - \theta_{21}) = "
    r"-\eta\, (1 - \beta_2)\, n^2\, \frac{(g_1 - g_2)^3}{8 \bar v^{3/2}} + O((1 - \beta_2)^2)",
    printed=eps * n**2 * (a - b) ** 3 / (8 * v ** sp.Rational(3, 2)),
    planted=eps * n**2 * (a - b) ** 3 / (4 * v ** sp.Rational(3, 2)),
    judge=judge_size,
)

CLAIMS = [NO_TAIL, SIZE]
