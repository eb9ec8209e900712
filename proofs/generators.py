"""Generators of noisy descent as words in first-order operators, acting on trees: any dimension, any Σ.

𝓛_k = v_k·∇ + (η/2) Σ_k:∇² with v_k = −g_k. Σ_k is a sum of s sᵀ over columns s(θ), and what is asked of it is
a sum over columns, or over pairs of one column of each domain: one column each is the general case. Then
s sᵀ:∇² = X² − Y with X = s·∇ and Y = (Ds s)·∇.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from commute_verify.symbolic.trees import TARGET, Series, Tree, combine, criterion, graft, tree
from commute_verify.symbolic.words import WordSeries, add, letter, multiply

eta = sp.Symbol("eta", positive=True)
HALF = sp.Rational(1, 2)
COLUMN = {1: 3, 2: 4}
"""The colour of the column of a domain's covariance, beside the domain's own."""

V1, V2, X1, X2, Y1, Y2, W1, W2 = range(1, 9)
BRANCHES: Mapping[int, tuple[int, Tree]] = {
    V1: (-1, tree(1)),
    V2: (-1, tree(2)),
    X1: (1, tree(3)),
    X2: (1, tree(4)),
    Y1: (1, tree(3, tree(3))),
    Y2: (1, tree(4, tree(4))),
    W1: (1, tree(1, tree(1))),
    W2: (1, tree(2, tree(2))),
}
"""The field of each letter: −g_k, s_k, Ds_k s_k, and Dv_k v_k = H_k g_k."""
LETTERS = {1: (V1, X1, Y1, W1), 2: (V2, X2, Y2, W2)}


def generator(domain: int, drift: Any = 0) -> WordSeries:
    """𝓛_k + drift · η (Dv_k v_k)·∇."""
    V, X, Y, W = LETTERS[domain]
    square = multiply(letter(X), letter(X), 2)
    return add((1, letter(V)), (eta / 2, square), (-eta / 2, letter(Y)), (drift * eta, letter(W)))


def acting(words: WordSeries, onto: Tree) -> Series:
    """Σ coefficient · word, applied to a tree: the last letter of a word acts first."""
    total: Series = {}
    for word, coefficient in words.items():
        now: Series = {onto: 1}
        for one in reversed(word):
            sign, branch = BRANCHES[one]
            now = combine(*((sign * c, graft(branch, t)) for t, c in now.items()))
        total = combine((1, total), (coefficient, now))
    return total


CURVATURE, THIRD, COVARIANCE = "tr(Σ₂ H₁ H_L)", "D³L₁(Σ₂, ∇L)", "(D_{g₁}Σ₂):H_L"
BEND, TWIST = "(Σ₁:∇²Σ₂):H_L", "Σ₁ᵃᵇ ∂ₐΣ₂ᶜᵈ D³L_{bcd}"
s1, s2 = tree(3), tree(4)
COLUMNS: Mapping[str, tuple[int, Series]] = {
    CURVATURE: (1, {tree(TARGET, tree(1, s2), s2): 1}),
    THIRD: (1, {tree(TARGET, tree(1, s2, s2)): 1}),
    COVARIANCE: (1, {tree(TARGET, tree(4, tree(1)), s2): 2}),
    BEND: (2, {tree(TARGET, tree(4, s1, s1), s2): 2, tree(TARGET, tree(4, s1), tree(4, s1)): 2}),
    TWIST: (2, {tree(TARGET, s1, tree(4, s1), s2): 2}),
}
"""Each term's power of η, and what it is for one column of each covariance."""
Coefficients = Mapping[str, sp.Expr]


def exchanged(t: Tree) -> Tree:
    """The same tree of the other domain."""
    other = {1: 2, 2: 1, 3: 4, 4: 3}
    return tree(other.get(t.color, t.color), *map(exchanged, t.children))


def antisymmetric(series: Series) -> Series:
    """The series less the same with 1 and 2 exchanged."""
    return combine((1, series), (-1, {exchanged(t): c for t, c in series.items()}))


def noise_terms(printed: Coefficients) -> Series:
    """The printed terms, each less its mirror image."""
    terms = ((c * eta ** COLUMNS[name][0], COLUMNS[name][1]) for name, c in printed.items())
    return combine(*((factor, antisymmetric(series)) for factor, series in terms))


def with_bracket(printed: Coefficients) -> Series:
    """P and the printed terms."""
    return combine((1, criterion(1, 2)), (1, noise_terms(printed)))
