# %% [markdown]
# # Frozen curvature: all terms without a third derivative
#
# Each loss is replaced by its quadratic model at θ₀. Its flow is affine: over a stage of length t the
# displacement d becomes e^{−tH} d − t φ₁(−tH) g with the stage's mixed H and g, and for m gradient steps
# (1 − ηH)^m d − Σ_{l<m} η(1 − ηH)^l g. That is the series of the true flow without the trees in which a
# domain's node has two branches, which stand for third and higher derivatives.

# %%
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order, parameter_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import TARGET, Series, Tree, combine, inner, order, tree
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, expressions, scaled

Dt, p, q, eta = sp.symbols("Dt p q eta", positive=True)
m, n = sp.symbols("m n", positive=True, integer=True)
a, b = sp.symbols("a b", nonnegative=True)
HALF = sp.Rational(1, 2)
ORDER = 4

# %% [markdown]
# ## The affine flow in words
# The word k₁ k₂ … kₙ stands for H_{k₁} H_{k₂} … g_{kₙ}. One stage multiplies by powers of H = Σ w_k H_k, to
# order 4, with the coefficients of e^{−tH}, t^j/j!, or of (1 − ηH)^m, C(m, j) η^j. φ₁ has no coefficients of
# its own: φ₁(z) z = e^z − 1 takes the same ones, and for steps the geometric sum does.

# %%
Word = tuple[int, ...]
Displacement = dict[Word, sp.Expr]
t = sp.Symbol("t", positive=True)
j = sp.Symbol("j", nonnegative=True, integer=True)


def after(d: Displacement, length: sp.Expr, weights: Sequence[sp.Expr], power: sp.Expr) -> Displacement:
    """The displacement one stage later; ``power`` is the coefficient of (−H)^j in terms of t and j."""
    total = dict(d)
    on_d, on_g = d, {(k,): w for k, w in enumerate(weights, start=1)}
    for degree in range(1, ORDER + 1):
        on_d = _times_H(on_d, weights)
        factor = (-1) ** degree * power.subs(j, degree).subs(t, length)
        for word, c in (*on_d.items(), *on_g.items()):
            total[word] = sp.expand(total.get(word, 0) + factor * c)
        on_g = _times_H(on_g, weights)
    return total


def _times_H(d: Displacement, weights: Sequence[sp.Expr]) -> Displacement:
    shorter = {word: c for word, c in d.items() if len(word) < ORDER}
    return {(k, *word): w * c for k, w in enumerate(weights, start=1) for word, c in shorter.items()}


def frozen(schedule: SymbolicSchedule, power: sp.Expr) -> Series:
    """θ(T) − θ₀ of the quadratic models, as trees: H_{k₁} H_{k₂} … g_{kₙ} is the tall tree of the word."""
    d: Displacement = {}
    for length, weights in schedule.stages:
        d = after(d, length, weights, power)
    return {tall(word): c for word, c in d.items() if c != 0}


def tall(word: Word) -> Tree:
    """The tree that does not branch, its root the first letter."""
    return tree(word[0], tall(word[1:])) if len(word) > 1 else tree(word[0])


def branches(t: Tree) -> int:
    """The most subtrees that a domain's node has."""
    own = 0 if t.color == TARGET else len(t.children)
    return max([own, *map(branches, t.children)])


def kept(series: Series, most: int, at_root: int = ORDER) -> Series:
    """The terms with at most so many subtrees of a domain's node, and of the root."""
    return {t: c for t, c in series.items() if branches(t) <= most and len(t.children) <= at_root}


# %% [markdown]
# ## Agreement with the engine, order by order
# Three domains on two stages with symbols for the flow, two for the steps, both to order 4. The engine's
# series is that of the true flow, branching trees included.

# %%
FLOW = SymbolicSchedule(((p, (a, 1 - a, 0)), (q, (0, b, 1))))
STEPS = SymbolicSchedule(((m, (1, 0)), (n, (HALF, b))), step=eta)
EXPONENTIAL = t**j / sp.factorial(j)
BINOMIAL = sp.ff(t, j) * eta**j / sp.factorial(j)


def resummed(schedule: SymbolicSchedule, power: sp.Expr, most: int) -> Judgement:
    """Whether the frozen models give the series without the trees of more branches than that."""
    model, true = frozen(schedule, power), kept(parameter_series(schedule, ORDER), most)
    for k in range(1, ORDER + 1):
        found = compare(of_order(model, k), {f"order {k}": of_order(true, k)}, "the trees without branches")
        if found.verdict != "holds":
            return replace(found, verdict="false")
    return Judgement("holds", f"orders 1 to {ORDER} agree, {len(model)} terms in all")


def judge_flow(printed: tuple[sp.Expr, int]) -> Judgement:
    """Printed: the coefficient of (−H)^j in a stage of length t, and the most branches that are kept."""
    return resummed(FLOW, *printed)


FROZEN = Claim(
    id="frozen-curvature",
    source="extension: frozen curvature",
    statement="the exact flow of the losses' quadratic models is the true series without its trees that "
    "branch (third and higher derivatives), and all of the rest",
    latex=r"d \mapsto e^{-tH} d - t\,\varphi_1(-tH)\, g "
    r"= \sum_{\text{tall } \tau} \frac{(-1)^{|\tau|} a(\tau)}{\sigma(\tau)} D(\tau)",
    printed=(EXPONENTIAL, 1),
    planted=(EXPONENTIAL, 2),
    judge=judge_flow,
)


def judge_steps(printed: tuple[sp.Expr, int]) -> Judgement:
    """Printed: the same, for a stage of t steps of size η."""
    return resummed(STEPS, *printed)


FROZEN_STEPS = Claim(
    id="frozen-steps",
    source="extension: frozen curvature",
    statement="for gradient steps the same holds with (1 − ηH)^m in the place of e^{−tH}, for any number of "
    "steps m",
    latex=r"d \mapsto (1 - \eta H)^m d - \textstyle\sum_{l<m} \eta (1 - \eta H)^l g",
    printed=(BINOMIAL, 1),
    planted=((t * eta) ** j / sp.factorial(j), 1),
    judge=judge_steps,
)

# %% [markdown]
# ## The target
# L may be evaluated at the predicted point, or be taken as its own quadratic model: then the root has at
# most two subtrees.


# %%
def judge_target(printed: tuple[int, int]) -> Judgement:
    """Printed: the most branches of a domain's node, and of the root, for L's quadratic model."""
    d = {s: c for s, c in frozen(FLOW, EXPONENTIAL).items() if order(s) < ORDER}
    pairs = [(x, y) for x, y in product(d, repeat=2) if order(x) + order(y) < ORDER]
    squares = ((HALF, {tree(TARGET, x, y): sp.expand(d[x] * d[y])}) for x, y in pairs)
    model = combine((1, inner(d)), *squares)
    series = kept(loss_series(FLOW, ORDER - 1), *printed)
    found = compare(model, {f"orders 1 to {ORDER - 1}": series}, "at most two subtrees of L, one elsewhere")
    return replace(found, verdict="false") if found.verdict != "holds" else found


TARGET_MODEL = Claim(
    id="frozen-target",
    source="extension: frozen curvature",
    statement="with the target's quadratic model as well, the trees are those with at most two branches at "
    "the root and one elsewhere",
    latex=r"\langle \nabla L, d \rangle + \tfrac12 \langle d, H_L d \rangle",
    printed=(1, 2),
    planted=(1, 1),
    judge=judge_target,
)

# %% [markdown]
# ## What it leaves out first
# A swap of Δt each, against the mixture: the third derivatives at order 3.


# %%
def judge_first_error(printed: Series) -> Judgement:
    """Printed: (θ_12 − θ_base) less its frozen prediction, as factors of Δt³."""
    swap = SymbolicSchedule.blocks({1: Dt, 2: Dt})
    base = SymbolicSchedule.constant((HALF, HALF), 2 * Dt)
    true = excess(swap, base, 3)
    loss = excess(swap, base, 3, loss_series)
    if not agrees_with_flow(of_order(loss, 3), swap, base, 3):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    model = combine((1, frozen(swap, EXPONENTIAL)), (-1, frozen(base, EXPONENTIAL)))
    missing = combine((1, expressions(true)), (-1, {s: c for s, c in model.items() if order(s) <= 3}))
    return compare(scaled(Dt**3, printed), {AS_WRITTEN: missing}, "the terms of order 3 that branch")


def third(k: int, *along: int) -> Tree:
    """D³L_k(g_i, g_j)."""
    return tree(k, *map(tree, along))


FIRST_ERROR = Claim(
    id="frozen-first-error",
    source="extension: frozen curvature",
    statement="what frozen curvature leaves out of a swap begins with the third derivatives at order 3",
    latex=r"\Delta t^3 \big( \tfrac13 D^3L_1(g_1, g_2) + \tfrac16 D^3L_1(g_2, g_2) "
    r"- \tfrac13 D^3L_2(g_1, g_1) - \tfrac16 D^3L_2(g_1, g_2) \big)",
    printed={
        third(1, 1, 2): sp.Rational(1, 3),
        third(1, 2, 2): sp.Rational(1, 6),
        third(2, 1, 1): -sp.Rational(1, 3),
        third(2, 1, 2): -sp.Rational(1, 6),
    },
    planted={
        third(1, 1, 2): sp.Rational(1, 3),
        third(1, 2, 2): sp.Rational(1, 6),
        third(2, 1, 1): -sp.Rational(1, 3),
        third(2, 1, 2): sp.Rational(1, 6),
    },
    judge=judge_first_error,
)

# %% [markdown]
# ## Taken anew on the way
# The exponential midpoint rule: the models of where a part of length h starts lead to its middle, h/2, and
# those of the middle through the whole of it. On a line the trees of order 3 are told apart: with v = −g the
# tall one is v′²v, the branching one v″v².

# %%
v, v1, v2 = sp.symbols("v v1 v2")
parts = sp.Symbol("m", positive=True, integer=True)


def affine(x: sp.Expr, at: sp.Expr, length: sp.Expr) -> sp.Expr:
    """Where the flow of the models at ``at`` brings x, to order 3: x + Σ_j t^j/j! v′^{j−1} v, at x."""
    slope = v1 + v2 * at
    velocity = v + v1 * at + v2 * at**2 / 2 + slope * (x - at)
    moved = x + sum(length**k / sp.factorial(k) * slope ** (k - 1) * velocity for k in range(1, 4))
    return sum(sp.expand(moved).coeff(t, k) * t**k for k in range(4))


def taken_anew(times: int) -> Series:
    """A stage of length t in as many parts, as the trees of order 3."""
    x, h = sp.Integer(0), t / times
    for _ in range(times):
        x = affine(x, affine(x, x, h / 2), h)
    third_order = sp.Poly(sp.expand(x).coeff(t, 3), v, v1, v2)
    return {
        tall((1, 1, 1)): -(t**3) * third_order.coeff_monomial(v1**2 * v),
        third(1, 1, 1): -(t**3) * third_order.coeff_monomial(v2 * v**2),
    }


def judge_taken_anew(printed: sp.Expr) -> Judgement:
    """Printed: what m parts leave out of a stage, as a factor of t³ D³L(g, g)."""
    true = expressions(of_order(parameter_series(SymbolicSchedule.constant((1,), t), 3), 3))
    for times in (1, 2, 3):
        missing = combine((1, true), (-1, taken_anew(times)))
        said = {third(1, 1, 1): printed.subs(parts, times) * t**3}
        found = compare(said, {f"{times} parts": missing}, "−t³/(24 m²) D³L(g, g)")
        if found.verdict != "holds":
            return found
    return Judgement("holds", "one, two and three parts agree, the tall tree with nothing left out")


TAKEN_ANEW = Claim(
    id="frozen-anew",
    source="extension: frozen curvature",
    statement="taken anew in the middle of each of m parts of a stage, the models leave out 1/(4m²) of the "
    "third derivatives that those of its start leave out at order 3",
    latex=r"-\frac{t^3}{24 m^2}\, D^3L(g, g), \qquad \text{from the start} \quad -\frac{t^3}{6}\, D^3L(g, g)",
    printed=-1 / (24 * parts**2),
    planted=-1 / (24 * parts),
    judge=judge_taken_anew,
)

CLAIMS = [FROZEN, FROZEN_STEPS, TARGET_MODEL, FIRST_ERROR, TAKEN_ANEW]
