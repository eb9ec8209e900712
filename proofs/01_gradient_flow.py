# %% [markdown]
# # From weighted steps to the flow
#
# Eq. 1 is a step on the weighted sum of gradients, eq. 2 the flow that it approaches, and the learning rate
# γ is a change of the flow's clock.

# %%
from __future__ import annotations

from itertools import product
from math import prod

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order, parameter_series
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import criterion, order
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, expressions, math, scaled

T, n, gamma, Dt = sp.symbols("T n gamma Dt", positive=True)
w = sp.Symbol("w", nonnegative=True)

# %% [markdown]
# ## Eq. 1 by weights or by sampling
# A batch of B examples, each from domain 1 with probability w and from domain 2 otherwise. All batches of
# B = 2 are enumerated. With a sample's gradient equal to its domain's (noise inside a domain adds the same
# to both forms), the mean is the weighted gradient, and the covariance is w(1−w)(g1−g2)(g1−g2)ᵀ/B: the two
# forms of eq. 1 agree in mean and in nothing else.

# %%
g1, g2 = sp.symbols("g1 g2")
BATCH = 2


def moments(probability: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Mean and variance of the sampled gradient along one direction."""
    draws = [
        (prod(probability if k == 1 else 1 - probability for k in batch), sum((0, g1, g2)[k] for k in batch))
        for batch in product((1, 2), repeat=BATCH)
    ]
    mean = sp.expand(sum(p * s / BATCH for p, s in draws))
    return mean, sp.factor(sum(p * (s / BATCH) ** 2 for p, s in draws) - mean**2)


def judge_equivalence(printed: tuple[sp.Expr, sp.Expr]) -> Judgement:
    """Printed: mean and variance of the sampled step along one direction, in the weights' terms."""
    mean, variance = moments(w)
    same_mean = sp.expand(printed[0] - mean) == 0
    same_variance = sp.expand(printed[1] - variance) == 0
    if same_mean and same_variance:
        return Judgement("holds", f"mean {math(mean)}, variance {math(variance)} for B = {BATCH}")
    if not same_mean:
        return Judgement("false", f"the sampled mean is {math(mean)}", "weight and probability must be equal")
    return Judgement(
        "corrected",
        f"equal in mean; sampling adds the variance {math(variance)} for B = {BATCH}",
        "the two forms agree in mean only: sampling adds w(1−w)(g1−g2)(g1−g2)ᵀ/B to the covariance",
    )


EQ1 = Claim(
    id="eq1-equivalence",
    source="§2, eq. 1",
    statement="a weighted sum of domain gradients is equivalent to sampling the batch's domains with these "
    "probabilities",
    latex=r"\sum_k w_k \nabla L_k \;\equiv\; \text{batch with domains drawn with probabilities } w_k",
    printed=(w * g1 + (1 - w) * g2, sp.Integer(0)),
    planted=((1 - w) * g1 + w * g2, sp.Integer(0)),
    right=(w * g1 + (1 - w) * g2, w * (1 - w) * (g1 - g2) ** 2 / BATCH),
    judge=judge_equivalence,
)

# %% [markdown]
# ## Eq. 2: the flow is the limit of small steps
# n steps of size T/n, weights that vary linearly along the way. Every coefficient up to order 4 is a rational
# function of n; its limit is compared with the flow's iterated integral, the descent sign included.

# %%
a, b, h = sp.symbols("a b h")
STEPS = SymbolicSchedule.constant((a + b * h * LOCAL_TIME, 1 - a), n, step=T * h)  # h = 1/n
FLOW = SymbolicSchedule.constant((T * (a + b * LOCAL_TIME), T * (1 - a)), 1)  # clock of unit length
ORDER = 4


def limit(coefficient: sp.Expr) -> sp.Expr:
    """The limit for n → ∞ of a polynomial in n and h = 1/n."""
    settled, vanishing = sp.expand(coefficient.subs(h, 1 / n)).as_independent(n, as_Add=True)
    if not sp.Poly(vanishing, 1 / n).eval(0) == 0:
        raise ValueError(f"{vanishing} does not vanish")
    return settled


def judge_euler_limit(printed: int) -> Judgement:
    """Printed: the sign in front of Σ w_k ∇L_k."""
    limits = {t: limit(c) for t, c in expressions(parameter_series(STEPS, ORDER)).items()}
    flow = expressions(parameter_series(FLOW, ORDER))
    signed = {t: c if printed < 0 else (-1) ** order(t) * c for t, c in flow.items()}
    return compare(signed, {AS_WRITTEN: limits}, "θ' = −Σ w_k ∇L_k")


EQ2 = Claim(
    id="eq2-euler-limit",
    source="§3, eq. 2",
    statement="small steps on the weighted gradients follow the flow θ' = −Σ w_k(t) ∇L_k (to order 4)",
    latex=r"\dot\theta(t) = -\sum_k w_k(t) \nabla L_k(\theta(t))",
    printed=-1,
    planted=1,
    judge=judge_euler_limit,
)

# %% [markdown]
# ## The learning rate
# θ ← θ − γ Σ w_k ∇L_k is a step of the flow whose clock runs γ times as fast. A swap of two blocks of Δt
# steps has its bracket scaled by γ², and every order n by γⁿ. (What remains of the steps themselves, against
# the flow, is the subject of ``discrete-steps``.)


# %%
def judge_gamma(printed: int) -> Judgement:
    """Printed: the power of γ that P is adjusted by."""
    swap = SymbolicSchedule.blocks({1: gamma * Dt, 2: gamma * Dt})
    derived = of_order(excess(swap, swap.straight(), 2, loss_series), 2)
    claimed = scaled(gamma**printed * Dt**2 / 2, criterion(1, 2))
    return compare(claimed, {AS_WRITTEN: derived}, "½ Δt² γ² P: each order n carries γⁿ")


GAMMA = Claim(
    id="gamma-squared",
    source="§4.2",
    statement="with learning rate γ, P is to be multiplied by γ²",
    latex=r"\theta(t+1) = \theta(t) - \gamma \sum_k w_k \nabla L_k \;\Rightarrow\; P \mapsto \gamma^2 P",
    printed=2,
    planted=1,
    judge=judge_gamma,
)

CLAIMS = [EQ1, EQ2, GAMMA]
