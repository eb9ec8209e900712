# %% [markdown]
# # First variation and costate
#
# What a little more of domain k at time t does to the loss at the end: ∂L(θ(T))/∂w_k(t) = ⟨p(t), v_k(θ(t))⟩,
# with v_k = −g_k and the costate p that p' = H_w p carries back from ∇L(θ(T)). Its slope in t is the bracket
# with p in ∇L's place, and at the end of training p is ∇L: there the slope is the paper's criterion.

# %%
from __future__ import annotations

from dataclasses import replace
from functools import cache

import sympy as sp

from commute_verify.symbolic.expansions import loss_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import (
    TARGET,
    Series,
    Tree,
    combine,
    criterion,
    derivative,
    gradient,
    lie_bracket,
    order,
    tree,
)
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, expressions, scaled

delta, s, t, r = sp.symbols("delta s t r", positive=True)
W = sp.symbols("w1 w2 w3", nonnegative=True)
LATER = (sp.Rational(1, 3), sp.Rational(2, 3))
COSTATE_LAW = "p' = H_w p with p = ∇L at the end, and v_k = −g_k"

# %% [markdown]
# ## The costate, from its equation alone
# ⟨p, u⟩ for a probe u, a leaf that nothing grows from, as a series in trees at θ(t). With r the time left
# in a stage, ⟨p, u⟩ = q(r) along θ' = V_w, so that p' = c H_w p reads ∂q/∂r = V_w q − c q(H_w u), with q(0)
# the ⟨p, u⟩ of the stage after it, or ⟨∇L, u⟩. Its Taylor series in r solves it; c is as printed.

# %%
PROBE = tree(len(W) + 1)
Stages = tuple[tuple[sp.Expr, tuple[sp.Expr, ...]], ...]


def costate(stages: Stages, c: int, most: int) -> Series:
    """⟨p, u⟩ before these stages, with up to ``most`` derivatives of domains' losses; u is ``PROBE``."""
    q: Series = {tree(TARGET, PROBE): sp.Integer(1)}
    for length, weights in reversed(stages):
        drift = {tree(k): -w for k, w in enumerate(weights, start=1)}
        carried = {tree(k, PROBE): w for k, w in enumerate(weights, start=1)}
        term, power = q, sp.Integer(1)
        for n in range(1, most + 1):
            moved = {x: a for x, a in derivative(drift, term).items() if probe_is_leaf(x)}
            term = combine((1, moved), (-c, with_probe(term, carried)))
            term = {x: sp.expand(a) for x, a in term.items() if order(x) - 1 <= most}
            power *= length / n
            q = combine((1, q), (power, term))
    return q


def probe_is_leaf(x: Tree) -> bool:
    """Whether the probe is constant in this tree: nothing hangs below it."""
    if x.color == PROBE.color:
        return not x.children
    return all(map(probe_is_leaf, x.children))


def with_probe(q: Series, field: Series) -> Series:
    """q with the probe replaced by a field, where it stands."""
    return combine(*((a * b, {grown(x, y): 1}) for x, a in q.items() for y, b in field.items()))


def grown(x: Tree, branch: Tree) -> Tree:
    if x == PROBE:
        return branch
    return tree(x.color, *(grown(child, branch) for child in x.children))


# %% [markdown]
# ## The variation, from the flow
# A stage of length s with w + δ e_k, and then what was going to come: the mixture for r and other weights for
# t. The coefficient of δ s in L at the end is ∂L(θ(T))/∂w_k at the time before it.


# %%
@cache
def varied(bump: tuple[int, ...], later: Stages, most: int) -> Series:
    """The coefficient of δ s in L(θ(T)) for a bump in the weights before the later stages."""
    weights = tuple(w + delta * c for w, c in zip(later[0][1], bump, strict=True))
    series = expressions(loss_series(SymbolicSchedule(((s, weights), *later)), most))
    return expressions({x: a.coeff(delta, 1).coeff(s, 1) for x, a in series.items()})


def judge_variation(printed: tuple[int, int]) -> Judgement:
    """Printed: the sign of H_w p in p', and the sign of g_k in v_k."""
    later = ((r, W[:2]), (t, LATER))
    p = costate(later, printed[0], 3)
    terms = 0
    for k in (1, 2):
        flow = varied((int(k == 1), int(k == 2)), later, 4)
        found = compare(with_probe(p, {tree(k): printed[1]}), {AS_WRITTEN: flow}, COSTATE_LAW)
        terms += len(flow)
        if found.verdict != "holds":
            return found
    return Judgement("holds", f"all {terms} terms to order 4 agree, the weights changing once before the end")


FIRST_VARIATION = Claim(
    id="first-variation",
    source="extension: trajectory",
    statement="a little more of domain k at t changes the loss at the end by ⟨p(t), v_k(θ(t))⟩, with "
    "p' = H_w p carried back from ∇L(θ(T))",
    latex=r"\frac{\partial L(\theta(T))}{\partial w_k(t)} = \langle p(t), v_k(\theta(t)) \rangle, \quad "
    r"p' = H_w\, p, \quad p(T) = \nabla L(\theta(T))",
    printed=(1, -1),
    planted=(-1, -1),
    judge=judge_variation,
)

# %% [markdown]
# ## Its slope in time is the bracket with p
# The same bump of domain i against j, a time t later, with T fixed. Its derivative by t at t = 0 is
# ⟨p, R(L_w, L_i − L_j)⟩. Half of a tilt minus the other half is −δε² times it: that is 2 of the convention,
# with p for ∇L, the effect at the end (``cor3.2b``).

# %%
MIXTURE = dict(enumerate(W, start=1))
BRACKET = lie_bracket(gradient(MIXTURE), gradient({1: 1, 2: -1}))


@cache
def slope() -> Series:
    """d/dt of ∂L(θ(T))/∂w_1(t) − ∂L(θ(T))/∂w_2(t), with r left until T, to order 3."""
    before, tilted = (t, W), tuple(w + delta * c for w, c in zip(W, (1, -1, 0), strict=True))
    schedule = SymbolicSchedule((before, (s, tilted), (r, W)))
    series = expressions(loss_series(schedule, 3))
    at_t = {x: a.coeff(delta, 1).coeff(s, 1).subs(r, r - t) for x, a in series.items()}
    return expressions({x: sp.expand(a).coeff(t, 1) for x, a in at_t.items()})


def judge_slope(printed: Series) -> Judgement:
    """Printed: the field that p is multiplied by."""
    claimed = with_probe(costate(((r, W),), 1, 1), printed)
    found = compare(claimed, {AS_WRITTEN: slope()}, "⟨p, R(Σ w_k L_k, L_i − L_j)⟩")
    return replace(found, reason=f"{found.reason}, to order 3 and for three domains")


SLOPE = Claim(
    id="costate-bracket",
    source="extension: trajectory",
    statement="the first variation's slope in time is the bracket with the costate in ∇L's place",
    latex=r"\frac{d}{dt} \Big( \frac{\partial L(\theta(T))}{\partial w_i(t)} "
    r"- \frac{\partial L(\theta(T))}{\partial w_j(t)} \Big) "
    r"= \langle p(t), R(\Sigma_k w_k L_k, L_i - L_j) \rangle",
    printed=BRACKET,
    planted=scaled(-1, BRACKET),
    judge=judge_slope,
)

# %% [markdown]
# ## The paper's criterion is the limit t → T
# With nothing left to train, p = ∇L, and the tilt of eq. 8 has its effect by P itself.


# %%
def judge_limit(printed: Series) -> Judgement:
    """Printed: the slope at the end of training, over trees rooted in L."""
    at_end = expressions({x: a.subs(r, 0) for x, a in slope().items()})
    return compare(printed, {AS_WRITTEN: at_end}, "−P(L_i − L_j, Σ w_k L_k; L)")


LIMIT = Claim(
    id="criterion-as-limit",
    source="extension: trajectory",
    statement="at the end of training, where p = ∇L, the slope is the paper's criterion: "
    "−P(Li − Lj, Σ w_k L_k; L)",
    latex=r"\frac{d}{dt} \Big( \frac{\partial L(\theta(T))}{\partial w_i(t)} "
    r"- \frac{\partial L(\theta(T))}{\partial w_j(t)} \Big)_{t = T} "
    r"= -P(L_i - L_j, \Sigma_k w_k L_k; L)",
    printed=scaled(-1, criterion({1: 1, 2: -1}, MIXTURE)),
    planted=scaled(-1, criterion(1, 2)),
    judge=judge_limit,
)

CLAIMS = [FIRST_VARIATION, SLOPE, LIMIT]
