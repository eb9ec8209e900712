"""The predicted difference of two orders of noisy steps (``python -m proofs noise-steps``), by dense algebra.

    E L₁₂ − E L₂₁ = n²η² (P + η N + η D) + ½ n³η³ F + O(η⁴)

with N the noise terms, D what the drift of finite steps adds, and F the flow's own next order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.symbolic.expansions import word_operator
from commute_verify.symbolic.trees import TARGET, Series, Tree, combine, criterion, tree

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Jet:
    """Gradient (d,), Hessian (d, d) and third derivatives (d, d, d) of a loss at a point."""

    g: Array
    H: Array
    T: Array


@dataclass(frozen=True, eq=False)
class Local:
    """All that a prediction needs: jets by colour (0 is the target), covariances and their derivatives.

    ``sigma`` (2, d, d) is that of a step's gradient; ``slope`` (2, d, d, d) its derivative, by θ in the last.
    """

    jets: Mapping[int, Jet]
    sigma: Array
    slope: Array


def contracted(t: Tree, jets: Mapping[int, Jet]) -> Array:
    """The elementary differential of a tree: a number for one rooted in the target, else a vector."""
    jet, children = jets[t.color], [contracted(child, jets) for child in t.children]
    found: Array = (jet.g, jet.H, jet.T)[len(children) - (t.color == TARGET)]
    for child in children:
        found = found @ child
    return found


def value(series: Series, jets: Mapping[int, Jet]) -> float:
    """Σ coefficient · differential."""
    return float(sum(float(c) * contracted(t, jets) for t, c in series.items()))


def drift() -> Series:
    """½⟨D³L₂(g₁, g₂) + H₂H₂g₁ + H₂H₁g₁, ∇L⟩ less the same with 1 and 2 exchanged."""
    parts = []
    for sign, i, j in ((0.5, 1, 2), (-0.5, 2, 1)):
        own = (tree(j, tree(i), tree(j)), tree(j, tree(j, tree(i))), tree(j, tree(i, tree(i))))
        parts += [(sign, {tree(TARGET, t): 1}) for t in own]
    return combine(*parts)


def next_order() -> Series:
    """([V₁², V₂] + [V₁, V₂²]) L."""
    words = {(1, 1, 2): 1, (2, 1, 1): -1, (1, 2, 2): 1, (2, 2, 1): -1}
    return combine(*((sign, word_operator(word, tree(TARGET))) for word, sign in words.items()))


def noise_terms(local: Local) -> dict[str, float]:
    """The three parts of N."""
    u, HL = local.jets[TARGET].g, local.jets[TARGET].H
    found = dict.fromkeys(("curvature", "third derivative", "covariance"), 0.0)
    for sign, i, j in ((1, 1, 2), (-1, 2, 1)):
        jet, S = local.jets[i], local.sigma[j - 1]
        found["curvature"] += sign * float(np.trace(S @ jet.H @ HL))
        found["third derivative"] += sign * 0.5 * float(np.einsum("abc,ab,c->", jet.T, S, u))
        moved = local.slope[j - 1] @ jet.g
        found["covariance"] -= sign * 0.5 * float(np.sum(moved * HL))
    return found


def predicted(local: Local, steps: int, rate: float) -> dict[str, float]:
    """The difference of the orders by the bracket alone, with noise, and with the steps' own corrections."""
    bracket = value(criterion(1, 2), local.jets)
    noise = sum(noise_terms(local).values())
    area = (steps * rate) ** 2
    own = rate * value(drift(), local.jets) + 0.5 * steps * rate * value(next_order(), local.jets)
    return {
        "bracket": area * bracket,
        "noise": area * (bracket + rate * noise),
        "steps": area * (bracket + rate * noise + own),
        "steps alone": area * (bracket + own),
    }


def common(local: Local, steps: int, rate: float, batch: float) -> dict[str, float]:
    """What both orders have in common against the mixture, to order η²: the steps' part, and the sampling's.

    −¼nη²⟨(H₁ − H₂)(g₁ − g₂), ∇L⟩ and −nη²/(4B) ⟨g₁ − g₂, H_L (g₁ − g₂)⟩.
    """
    one, two, target = (local.jets[k] for k in (1, 2, TARGET))
    d = one.g - two.g
    size = steps * rate**2 / 4
    return {
        "steps": -size * float((one.H - two.H) @ d @ target.g),
        "sampling": -size / batch * float(d @ target.H @ d),
    }
