# %% [markdown]
# # Noise in real steps
#
# Three things that the generators of noisy flows leave out: how a batch of the mixture is drawn, the drift
# that a step of finite size adds, and what noise and drift do to n steps of each domain.

# %%
from __future__ import annotations

from functools import cache
from itertools import product

import sympy as sp
from sympy.polys.rings import PolyElement

from commute_verify.symbolic.differentials import evaluate_loss
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.trees import TARGET, Series, Tree, combine, criterion, graft, tree
from commute_verify.symbolic.words import WordSeries, add, exp, multiply
from proofs.check import LOSSES, TARGET_LOSS, x, y
from proofs.claim import Claim, Judgement
from proofs.compare import compare
from proofs.generators import (
    COVARIANCE,
    CURVATURE,
    HALF,
    THIRD,
    Coefficients,
    acting,
    antisymmetric,
    eta,
    generator,
    noise_terms,
)

B, w, n = sp.symbols("B w n", positive=True)

# %% [markdown]
# ## Where the domain of each example is drawn
# A batch of the mixture that holds its share of each domain has the covariance w Σ₁ + (1−w) Σ₂, Σ_k that of a
# whole batch of domain k: the generator is then the mean of the two. If the domain of each of B examples is
# drawn instead, the batch's own share varies. Here every outcome is enumerated: examples of domain k have the
# gradient g_k ± c_k, in the plane.

# %%
MOST_EXAMPLES = 2


def moments(outcomes: list[tuple[sp.Expr, sp.Matrix]]) -> tuple[sp.Matrix, sp.Matrix]:
    """Mean and covariance of (probability, vector)."""
    mean = sum((p * v for p, v in outcomes), sp.zeros(2, 1))
    second = sum((p * v * v.T for p, v in outcomes), sp.zeros(2, 2))
    return mean, (second - mean * mean.T).expand()


def examples(k: int) -> list[tuple[sp.Expr, sp.Matrix]]:
    """The gradients of a domain's examples."""
    g, c = (sp.Matrix(sp.symbols(f"{name}{k}_1:3")) for name in "gc")
    return [(HALF, g + c), (HALF, g - c)]


def batches(size: int, one: list[tuple[sp.Expr, sp.Matrix]]) -> list[tuple[sp.Expr, sp.Matrix]]:
    """The mean gradient of so many independent examples."""
    return [
        (sp.prod(p for p, _ in drawn), sum((v for _, v in drawn), sp.zeros(2, 1)) / size)
        for drawn in product(one, repeat=size)
    ]


def judge_sampling(printed: sp.Expr) -> Judgement:
    """Printed: the factor of (g₁ − g₂)(g₁ − g₂)ᵀ, with the weight w and the examples B."""
    share = {1: w, 2: 1 - w}
    for size in range(1, MOST_EXAMPLES + 1):
        drawn = [(share[k] * p, v) for k in (1, 2) for p, v in examples(k)]
        (g1, one), (g2, two) = (moments(batches(size, examples(k))) for k in (1, 2))
        _, mixed = moments(batches(size, drawn))
        rest = (mixed - w * one - (1 - w) * two).expand()
        d = g1 - g2
        found = compare(
            {
                (0, 0): (printed.subs(B, size) * d[0] ** 2).expand(),
                (0, 1): (printed.subs(B, size) * d[0] * d[1]).expand(),
            },
            {f"B = {size}": {(0, 0): rest[0, 0], (0, 1): rest[0, 1]}},
            "w(1−w)/B, which is 1/(4B) for equal weights",
        )
        if found.verdict != "holds":
            return found
    return Judgement(
        "holds",
        f"every outcome enumerated for B = 1 to {MOST_EXAMPLES}; the mixture alone has it, so that at w = ½ "
        "the excess of both orders contains −ηΔt/(4B) ⟨g₁−g₂, H_L (g₁−g₂)⟩, at first order in Δt",
    )


SAMPLING = Claim(
    id="noise-domain-sampling",
    source="extension: noise",
    statement="drawing the domain of each example adds w(1−w)(g1−g2)(g1−g2)ᵀ/B to the mixture's covariance, "
    "¼ of it at equal weights: an offset common to both orders",
    latex=r"\Sigma_{\mathrm{mix}} = w \Sigma_1 + (1 - w) \Sigma_2 + \frac{w (1 - w)}{B} "
    r"(g_1 - g_2)(g_1 - g_2)^\top",
    printed=w * (1 - w) / B,
    planted=w * (1 - w),
    judge=judge_sampling,
)


# %% [markdown]
# ## What a step of finite size adds to the drift
# The mean of f over θ − ηg + ηεs with ε = ±1, by Taylor's formula on trees, n times; beside it e^{nη𝓛} with
# the drift v + c η Dv v. They agree to order η² for one c.


# %%
def twice(branch: Tree, onto: Series) -> Series:
    """The second derivative along a vector held fixed: no graft on the branch itself."""
    once = combine(*((c, graft(branch, t)) for t, c in onto.items()))
    again = combine(*((c, graft(branch, t)) for t, c in once.items()))
    return combine((1, again), *((-c, graft(tree(branch.color, branch), t)) for t, c in onto.items()))


def to_power(series: Series, power: int) -> Series:
    """The terms up to this power of η."""
    return {t: kept for t, c in series.items() if (kept := _to_power(sp.sympify(c), power)) != 0}


def _to_power(coefficient: sp.Expr, power: int) -> sp.Expr:
    polynomial = sp.Poly(coefficient, eta)
    return sum((c * eta**k for (k,), c in polynomial.terms() if k <= power), sp.Integer(0))


def mean_step(domain: int, onto: Series) -> Series:
    """The expectation after a step, to order η²."""
    g, s = tree(domain), tree(domain + 2)
    along = combine(*((c, graft(g, t)) for t, c in onto.items()))
    second = eta**2 / 2
    return to_power(combine((1, onto), (-eta, along), (second, twice(g, onto)), (second, twice(s, onto))), 2)


def judge_drift(printed: sp.Expr) -> Judgement:
    """Printed: c."""
    steps: Series = {tree(TARGET): sp.Integer(1)}
    for count in range(1, 4):
        steps = mean_step(1, steps)
        flow = acting(exp(add((count * eta, generator(1, printed))), 2), tree(TARGET))
        found = compare(to_power(flow, 2), {f"n = {count}": steps}, "v − (η/2) Dv v")
        if found.verdict != "holds":
            return found
    return Judgement("holds", "Taylor's formula on trees and the exponential agree for n = 1, 2, 3")


DRIFT = Claim(
    id="noise-drift",
    source="extension: noise",
    statement="n steps of stochastic descent are, in expectation and to order η², the flow with the noise's "
    "covariance and the drift v − (η/2) Dv v, v = −g",
    latex=r"\mathbb{E} f(\theta_n) = e^{n \eta \mathcal{L}} f + O(\eta^3), \quad \mathcal{L} = "
    r"(v - \tfrac{\eta}{2} Dv\, v) \cdot \nabla + \tfrac{\eta}{2} \Sigma : \nabla^2",
    printed=-HALF,
    planted=HALF,
    judge=judge_drift,
)

# %% [markdown]
# ## n steps of each domain, in both orders
# The words give the difference to order η³ for any n. It is checked against the steps themselves: polynomial
# losses in the plane, columns that depend on θ, every sign of every step's noise averaged.

# %%
DRIFT_TERMS: Series = {
    tree(TARGET, tree(2, tree(1), tree(2))): 1,
    tree(TARGET, tree(2, tree(2, tree(1)))): 1,
    tree(TARGET, tree(2, tree(1, tree(1)))): 1,
}
"""⟨D³L₂(g₁, g₂) + H₂H₂g₁ + H₂H₁g₁, ∇L⟩."""
FLOW = "the flow's order 3"
POTENTIALS = (x**2 * y + x**2 + y / 2, x * y**2 - x**2 / 2 + x)
"""The columns are their gradients."""
COUNTS = (1, 2)


def commutators() -> WordSeries:
    """[V₁², V₂] + [V₁, V₂²], the flow's own next term."""
    return {(1, 1, 2): 1, (2, 1, 1): -1, (1, 2, 2): 1, (2, 2, 1): -1}


def claimed(printed: tuple[Coefficients, sp.Expr]) -> Series:
    """n²η²P + n²η³ (noise + drift) + ½n³η³ ([V₁², V₂] + [V₁, V₂²]) L."""
    noise, drift = printed
    own = acting(commutators(), tree(TARGET))
    return combine(
        (n**2 * eta**2, criterion(1, 2)),
        (n**2 * eta**2, noise_terms(noise)),
        (n**2 * eta**3 * drift, antisymmetric(DRIFT_TERMS)),
        (n**3 * eta**3 / 2, own),
    )


@cache
def by_words() -> Series:
    """E L₁₂ − E L₂₁ to order η³, after a comparison with the steps themselves."""
    one, two = (exp(add((n * eta, generator(k, -HALF))), 3) for k in (1, 2))
    both = add((1, multiply(one, two, 3)), (-1, multiply(two, one, 3)))
    derived = to_power(acting(both, tree(TARGET)), 3)
    space = Coordinates((x, y), (eta,))
    losses = [space(loss) for loss in (*LOSSES[:2], *POTENTIALS)]
    for count in COUNTS:
        now: Series = {t: sp.expand(sp.sympify(c).subs(n, count)) for t, c in derived.items()}
        predicted = evaluate_loss(now, space, losses, space(TARGET_LOSS))
        orders = (steps_in_coordinates(space, order, count) for order in ((1, 2), (2, 1)))
        if next(orders) - next(orders) != predicted:
            raise ArithmeticError(f"the steps themselves differ from the words at n = {count}")
    return derived


def steps_in_coordinates(space: Coordinates, order: tuple[int, int], count: int) -> PolyElement:
    """E L after ``count`` steps of each domain in this order, to order η³."""
    f, step = space(TARGET_LOSS), space(eta)
    for k in reversed([k for k in order for _ in range(count)]):
        g, s = space.gradient(space(LOSSES[k - 1])), space.gradient(space(POTENTIALS[k - 1]))
        ends = [
            f.compose([(z, z + step * (e * b - a)) for z, a, b in zip(space.variables, g, s, strict=True)])
            for e in (1, -1)
        ]
        f = _cut(space, (ends[0] + ends[1]) * HALF)
    return f


def _cut(space: Coordinates, f: PolyElement) -> PolyElement:
    at = space.ring.gens.index(space(eta))
    return space.ring.from_dict({powers: c for powers, c in f.terms() if powers[at] <= 3})


def judge_swap(printed: tuple[Coefficients, sp.Expr]) -> Judgement:
    """Printed: the coefficients of the noise terms, and of the drift's."""
    found = compare(claimed(printed), {"by words": by_words()}, "P + η (noise + ½ drift) + ½nη (…)")
    steps = ", ".join(map(str, COUNTS))
    told = f"{found.reason}; the steps themselves, all signs averaged, agree with the words for n = {steps}"
    return Judgement(found.verdict, told, found.correction)


NOISE: Coefficients = {CURVATURE: sp.Integer(1), THIRD: HALF, COVARIANCE: -HALF}

SWAP = Claim(
    id="noise-steps",
    source="extension: noise",
    statement="n noisy steps of each domain: the expected losses of the two orders differ by n²η² times P, "
    "the noise terms at order η, the drift's of the same order, and the flow's own order 3",
    latex=r"\mathbb{E} L_{12} - \mathbb{E} L_{21} = n^2 \eta^2 \big( P + \eta N + \tfrac{\eta}{2} \langle "
    r"D^3 L_2(g_1, g_2) + H_2 H_2 g_1 + H_2 H_1 g_1 - (1 \leftrightarrow 2), \nabla L \rangle \big) + "
    r"\tfrac12 n^3 \eta^3 ([V_1^2, V_2] + [V_1, V_2^2]) L + O(\eta^4)",
    printed=(NOISE, HALF),
    planted=({**NOISE, COVARIANCE: HALF}, HALF),
    judge=judge_swap,
)

CLAIMS = [SAMPLING, DRIFT, SWAP]
