# %% [markdown]
# # Noise: what minibatches add to the bracket
#
# Steps of size η with gradients of covariance Σ_k move the expectation of a function by the generator
# 𝓛_k = v_k·∇ + (η/2) Σ_k:∇², v_k = −g_k, in flow time. Along blocks of 1 and then 2 it is
# e^{Δt𝓛₁} e^{Δt𝓛₂} L, and for the mixture with covariance ½(Σ₁ + Σ₂) it is e^{Δt(𝓛₁ + 𝓛₂)} L, so that the
# expected excess of a swap is ½ Δt² (𝓛₁𝓛₂ − 𝓛₂𝓛₁) L + O(Δt³).

# %%
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import sympy as sp
from sympy.polys.rings import PolyElement

from commute_verify.symbolic.fields import Coordinates, Field
from commute_verify.symbolic.trees import TARGET, Tree, tree
from commute_verify.symbolic.words import commutator
from proofs.claim import Claim, Judgement
from proofs.compare import compare, expressions
from proofs.generators import (
    BEND,
    COLUMNS,
    COVARIANCE,
    CURVATURE,
    HALF,
    THIRD,
    TWIST,
    Coefficients,
    acting,
    eta,
    generator,
    with_bracket,
)

# %% [markdown]
# ## By operator algebra, in any dimension
# The generators are words in first-order operators, and words act on the target's tree by grafting. Each term
# of ``COLUMNS`` is taken less the same with 1 and 2 exchanged.


# %%
@cache
def by_words() -> dict[Tree, sp.Expr]:
    """(𝓛₁𝓛₂ − 𝓛₂𝓛₁) L."""
    return expressions(acting(commutator(generator(1), generator(2), 4), tree(TARGET)))


# %% [markdown]
# ## In coordinates
# Losses and covariances are polynomials whose coefficients are symbols: at θ = 0 every derivative that the
# commutator contains is a symbol of its own, so that an equality there is one for all smooth losses and
# covariances in this dimension. Σ_k need not be a sum of squares of smooth columns here.


# %%
@dataclass(frozen=True, eq=False)
class Jets:
    """Two losses, a target and two covariances as polynomials with symbolic coefficients."""

    space: Coordinates
    losses: tuple[PolyElement, PolyElement]
    target: PolyElement
    covariances: tuple[tuple[Field, ...], tuple[Field, ...]]
    eta: PolyElement

    def generator(self, k: int, f: PolyElement) -> PolyElement:
        """𝓛_k f."""
        drift = self.space.derivative(self.space.gradient(self.losses[k]), f)
        return self.eta * self.contracted(self.covariances[k], self.space.hessian(f)) * HALF - drift

    def contracted(self, one: tuple[Field, ...], other: tuple[Field, ...]) -> PolyElement:
        """Σ_ab one_ab other_ab."""
        return sum((self.space.inner(a, b) for a, b in zip(one, other, strict=True)), self.space.ring.zero)

    def mapped(self, matrix: tuple[Field, ...], along: Field) -> tuple[Field, ...]:
        """The derivative of a matrix along a field."""
        return tuple(tuple(self.space.derivative(along, entry) for entry in row) for row in matrix)

    def at_zero(self, f: PolyElement) -> PolyElement:
        """f at θ = 0."""
        zero = self.space.ring.zero
        return f.compose([(x, zero) for x in self.space.variables])


@cache
def jets(dimension: int, constant: bool) -> Jets:
    """Generic losses of degree 3, a target of degree 4, covariances of degree 2 or 0."""
    variables = sp.symbols(f"x1:{dimension + 1}")
    names: list[sp.Symbol] = []

    def generic(name: str, lowest: int, degree: int) -> sp.Expr:
        total = sp.Integer(0)
        for powers in product(range(degree + 1), repeat=dimension):
            if lowest <= sum(powers) <= degree:
                names.append(sp.Symbol(name + "".join(map(str, powers))))
                total += names[-1] * sp.prod(x**p for x, p in zip(variables, powers, strict=True))
        return total

    losses = [generic(f"l{k}", 1, 3) for k in (1, 2)]
    target = generic("t", 1, 4)
    sigma = [
        {
            (a, b): generic(f"s{k}{a}{b}", 0, 0 if constant else 2)
            for a in range(dimension)
            for b in range(a + 1)
        }
        for k in (1, 2)
    ]
    space = Coordinates(variables, (eta, *names))
    one, two = (
        tuple(tuple(space(entries[max(a, b), min(a, b)]) for b in range(dimension)) for a in range(dimension))
        for entries in sigma
    )
    return Jets(space, (space(losses[0]), space(losses[1])), space(target), (one, two), space(eta))


@cache
def commutator_at_zero(jet: Jets) -> PolyElement:
    """(𝓛₁𝓛₂ − 𝓛₂𝓛₁) L at θ = 0."""
    one, two = (jet.generator(k, jet.target) for k in (0, 1))
    return jet.at_zero(jet.generator(0, two)) - jet.at_zero(jet.generator(1, one))


@cache
def terms_at_zero(jet: Jets, i: int, j: int) -> dict[str, PolyElement]:
    """The terms with i for 1 and j for 2."""
    space, sigma_i, sigma = jet.space, jet.covariances[i], jet.covariances[j]
    g, H = space.gradient(jet.losses[i]), space.hessian(jet.losses[i])
    u, HL = space.gradient(jet.target), space.hessian(jet.target)
    around = range(len(g))
    third = sum((u[a] * jet.contracted(sigma, space.hessian(g[a])) for a in around), space.ring.zero)
    HHL = tuple(tuple(space.inner(H[a], HL[b]) for b in around) for a in around)
    slopes = [jet.mapped(sigma, tuple(space.ring(a == b) for b in around)) for a in around]
    bent = tuple(tuple(jet.contracted(sigma_i, space.hessian(entry)) for entry in row) for row in sigma)
    twisted = sum(
        (sigma_i[a][b] * jet.contracted(slopes[a], space.hessian(u[b])) for a in around for b in around),
        space.ring.zero,
    )
    found = {
        CURVATURE: jet.contracted(sigma, HHL),
        THIRD: third,
        COVARIANCE: jet.contracted(jet.mapped(sigma, g), HL),
        BEND: jet.contracted(bent, HL),
        TWIST: twisted,
    }
    return {name: jet.at_zero(term) for name, term in found.items()}


def holds_in_coordinates(printed: Coefficients, dimension: int, constant: bool) -> bool:
    """Whether P and the printed terms are the commutator at θ = 0."""
    jet = jets(dimension, constant)
    space = jet.space
    bracket = space.lie_bracket(*map(space.gradient, jet.losses))
    claimed = jet.at_zero(space.inner(bracket, space.gradient(jet.target)))
    one, two = terms_at_zero(jet, 0, 1), terms_at_zero(jet, 1, 0)
    for name, coefficient in printed.items():
        factor = space(coefficient * eta ** COLUMNS[name][0])
        claimed += factor * (one[name] - two[name])
    return bool(claimed == commutator_at_zero(jet))


# %%
CASES = {(1, False): "dimension 1", (2, False): "dimension 2", (3, True): "dimension 3 with constant Σ"}


def judge_terms(printed: Coefficients) -> Judgement:
    """Printed: the coefficient of each term, without its power of η."""
    found = compare(with_bracket(printed), {"by words, in any dimension": by_words()}, CORRECTION)
    agrees = {words: holds_in_coordinates(printed, *case) for case, words in CASES.items()}
    constant = agrees.pop(CASES[3, True])
    if found.verdict == "holds" and not (constant and all(agrees.values())):
        raise ArithmeticError("words and coordinates differ")
    told = ", ".join(words for words, right in {**agrees, CASES[3, True]: constant}.items() if right)
    reason = f"{found.reason}; at θ = 0 with symbols for all derivatives: equal in {told or 'none'}"
    return Judgement(found.verdict, reason, found.correction)


CORRECTION = "P + η [tr(Σ₂ H₁ H_L) + ½ D³L₁(Σ₂, ∇L) − ½ (D_{g₁}Σ₂):H_L − (1 ↔ 2)] + η² [¼ …]"
RIGHT: Coefficients = {
    CURVATURE: sp.Integer(1),
    THIRD: HALF,
    COVARIANCE: -HALF,
    BEND: HALF / 2,
    TWIST: HALF,
}

TERMS = Claim(
    id="noise-terms",
    source="extension: noise",
    statement="with minibatch noise the expected excess of a swap is ½Δt² times P and terms of order η and "
    "η², of which those of η² and one of η vanish where the covariances are constant",
    latex=r"(\mathcal{L}_1 \mathcal{L}_2 - \mathcal{L}_2 \mathcal{L}_1) L = P + \eta \big[ "
    r"\mathrm{tr}(\Sigma_2 H_1 H_L) + \tfrac12 D^3 L_1(\Sigma_2, \nabla L) "
    r"- \tfrac12 (D_{g_1} \Sigma_2) : H_L - (1 \leftrightarrow 2) \big] + \eta^2 \big[ "
    r"\tfrac14 (\Sigma_1 : \nabla^2 \Sigma_2) : H_L + \tfrac12 \Sigma_1^{ab} \partial_a \Sigma_2^{cd} "
    r"\partial_{bcd} L - (1 \leftrightarrow 2) \big]",
    printed=RIGHT,
    planted={**RIGHT, CURVATURE: HALF},
    judge=judge_terms,
)

CLAIMS = [TERMS]
