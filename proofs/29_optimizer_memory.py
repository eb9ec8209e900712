# %% [markdown]
# # τ: what AdamW's memory does to a swap
#
# An optimizer is an update u(g; z) of θ and an advance of its buffers z. At O(η) the gradients are those at
# θ₀, and an order of domains acts through the buffers alone: θ_AB − θ_BA = −ητ + O(η²) for one step of each,
# τ = u(g_A; z₀) + u(g_B; z_A) − u(g_B; z₀) − u(g_A; z_B), with z_A the buffers advanced by g_A at θ₀. No
# Hessian is needed. For smooth losses and v̂ > 0 the remainder is O(η²), as u is smooth there.

# %%
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sympy as sp
from mpmath import mp

from proofs.claim import Claim, Judgement

# %% [markdown]
# ## AdamW, one coordinate of it
# The update is coordinate by coordinate, and so is τ. The same lines run on symbols and on 60-digit numbers.
# Each domain has a gradient and a curvature; "M" is the mixture, which has their means.


# %%
class Buffers(NamedTuple):
    m: Any
    v: Any
    steps: Any  # taken before, for bias correction


@dataclass(frozen=True)
class AdamW:
    """Numbers or symbols: the optimizer's constants, and where the swap begins."""

    beta1: Any
    beta2: Any
    decay: Any
    floor: Any
    theta: Any
    start: Buffers
    slopes: dict[str, Any]
    curvatures: dict[str, Any]
    root: Callable[[Any], Any]

    def advance(self, z: Buffers, g: Any) -> Buffers:
        m, v = self.beta1 * z.m + (1 - self.beta1) * g, self.beta2 * z.v + (1 - self.beta2) * g**2
        return Buffers(m, v, z.steps + 1)

    def update(self, g: Any, z: Buffers, theta: Any) -> Any:
        """u(g; z) with decoupled weight decay: θ ← θ − ηu."""
        m, v, steps = self.advance(z, g)
        scale = self.root(v / (1 - self.beta2**steps)) + self.floor
        return m / (1 - self.beta1**steps) / scale + self.decay * theta

    def gradient(self, domain: str, theta: Any) -> Any:
        if domain == "M":
            return (self.gradient("A", theta) + self.gradient("B", theta)) / 2
        return self.slopes[domain] + self.curvatures[domain] * (theta - self.theta)

    def trained(self, order: str, eta: Any) -> Any:
        """θ after a step on each domain of the order, with θ and the buffers live."""
        theta, z = self.theta, self.start
        for domain in order:
            g = self.gradient(domain, theta)
            theta, z = theta - eta * self.update(g, z, theta), self.advance(z, g)
        return theta

    def buffers(self, order: str) -> Buffers:
        """z advanced by the gradients at the start, with θ frozen."""
        z = self.start
        for domain in order:
            z = self.advance(z, self.gradient(domain, self.theta))
        return z

    def update_after(self, domain: str, order: str) -> Any:
        """u(g_domain; z_order), with θ frozen."""
        return self.update(self.gradient(domain, self.theta), self.buffers(order), self.theta)


# %% [markdown]
# ## One step of each
# The derivative of the live runs by η at 0, in symbols, against the four updates.

# %%
eta, decay = sp.symbols("eta lambda", positive=True)
m0, gA, gB, hA, hB = sp.symbols("m0 g_A g_B h_A h_B", real=True)
SYMBOLS = AdamW(
    *sp.symbols("beta1 beta2", positive=True),
    decay,
    *sp.symbols("epsilon theta0", positive=True),
    Buffers(m0, sp.Symbol("v0", positive=True), sp.Symbol("t", positive=True, integer=True)),
    {"A": gA, "B": gB},
    {"A": hA, "B": hB},
    sp.sqrt,
)
Terms = tuple[tuple[int, str, str], ...]


@cache
def live() -> sp.Expr:
    """(θ_AB − θ_BA)/(−η) at η → 0, from the live runs."""
    return -(SYMBOLS.trained("AB", eta) - SYMBOLS.trained("BA", eta)).diff(eta).subs(eta, 0)


def judge_tau(printed: Terms) -> Judgement:
    """Printed: the terms of τ, as sign, domain of the gradient, and domains that advanced the buffers."""
    tau = sum(sign * SYMBOLS.update_after(domain, before) for sign, domain, before in printed)
    if sp.expand(live() - tau) != 0:
        correction = "u(g_A; z₀) + u(g_B; z_A) − u(g_B; z₀) − u(g_A; z_B)"
        return Judgement("false", "the derivative of the live runs by η is another", correction)
    gone = not {decay, hA, hB} & sp.expand(tau).free_symbols
    without = "; the weight decay cancels, and no curvature is in it" if gone else ""
    return Judgement("holds", f"the derivative of the live runs by η, in symbols{without}")


TAU = Claim(
    id="tau-adamw",
    source="extension: optimizers",
    statement="AdamW's memory makes the effect of a swap O(η): −ητ, with four updates and no Hessian",
    latex=r"\theta_{AB} - \theta_{BA} = -\eta \tau + O(\eta^2), \quad "
    r"\tau = u(g_A; z_0) + u(g_B; z_A) - u(g_B; z_0) - u(g_A; z_B)",
    printed=((1, "A", ""), (1, "B", "A"), (-1, "B", ""), (-1, "A", "B")),
    planted=((1, "A", ""), (1, "B", "B"), (-1, "B", ""), (-1, "A", "A")),
    judge=judge_tau,
)

# %% [markdown]
# ## Blocks, and a common tail
# For longer orders τ adds up the updates along each, with θ frozen and the buffers advanced. A common tail
# has its own terms: its gradients are the same in both orders, its buffers are not. In 60-digit numbers:
# what −ητ leaves of θ_AB − θ_BA must fall by 10² when η falls by 10.

# %%
AHEAD, BACK, COMMON = "AAABBB", "BBBAAA", "MMMM"


def numbers() -> AdamW:
    """A swap in numbers, with every constant at work."""
    constants = (mp.mpf(text) for text in ("0.9", "0.95", "0.1", "0.01", "0.7"))
    slopes, curvatures = ({"A": mp.mpf(a), "B": mp.mpf(b)} for a, b in (("1.5", "-0.4"), ("2", "0.3")))
    return AdamW(*constants, Buffers(mp.mpf("0.2"), mp.mpf("0.6"), 7), slopes, curvatures, mp.sqrt)


def judge_tail(printed: str) -> Judgement:
    """Printed: the common steps whose own updates are in τ."""
    with mp.workdps(60):
        run = numbers()
        sums = []
        for order in (AHEAD, BACK):
            steps = order + printed
            sums.append(sum(run.update_after(domain, steps[:i]) for i, domain in enumerate(steps)))
        tau = sums[0] - sums[1]
        left = []
        for size in (mp.mpf(10) ** -20, mp.mpf(10) ** -21):
            apart = run.trained(AHEAD + COMMON, size) - run.trained(BACK + COMMON, size)
            left.append(abs(apart + size * tau))
        slope = mp.log10(left[0] / left[1])
    reason = f"τ = {mp.nstr(tau, 6)}; what it leaves falls as η^{mp.nstr(slope, 4)}"
    if abs(slope - 2) < 1e-3:
        return Judgement("holds", f"{reason}, for {AHEAD} against {BACK} and then {COMMON}")
    return Judgement("false", reason, "the tail's updates are in τ, since its buffers differ")


TAIL = Claim(
    id="tau-tail",
    source="extension: optimizers",
    statement="for blocks and a common tail τ is the difference of the sums of updates along both orders, "
    "the tail's included, with θ frozen",
    latex=r"\tau = \sum_{t} \big( u(g_{w(t)}; z_t^{AB}) - u(g_{w(t)}; z_t^{BA}) \big)",
    printed=COMMON,
    planted="",
    judge=judge_tail,
)

CLAIMS = [TAU, TAIL]
