r"""The flow of a schedule as a series in derivatives of the losses, and the excess of one over another.

    θ(T) − θ(0) = Σ_τ (−1)^{|τ|} a(τ)/σ(τ) · D(τ),

for descent θ' = −Σ_k w_k ∇L_k, with a(τ) the iterated integrals of w (iterated sums for gradient steps) and
D(τ) the elementary differentials of ``trees``. For a target, L(θ(T)) − L(θ(0)) is the same sum over trees
whose root is L. Source: B-series with colours (Hairer, Lubich & Wanner, III.1); order 2 is the paper's D.2.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from sympy.polys.rings import PolyRing

from commute_verify.errors import CommuteError
from commute_verify.symbolic.iterated import Word, coefficients, common_ring
from commute_verify.symbolic.schedules import SymbolicSchedule, check_order
from commute_verify.symbolic.trees import (
    TARGET,
    Series,
    Tree,
    combine,
    graft,
    symmetry,
    tree,
    trees,
)
from commute_verify.symbolic.trees import order as order_of

Expansion = Callable[..., Series]


def parameter_series(schedule: SymbolicSchedule, order: int, ring: PolyRing | None = None) -> Series:
    """θ(T) − θ(0) up to ``order`` derivatives of losses, as {tree: polynomial}.

    >>> import sympy as sp
    >>> series = parameter_series(SymbolicSchedule.constant([1], sp.Symbol("t")), 2)
    >>> {str(t): c.as_expr() for t, c in series.items()}
    {'1': -t, '1[1]': t**2/2}
    """
    colors = schedule.domains
    shapes = [t for n in range(1, check_order(order) + 1) for t in trees(n, colors)]
    values = coefficients(schedule, shapes, ring)
    return combine(*((_sign(t), {t: values[t] * _inverse_symmetry(t, values)}) for t in shapes))


def loss_series(schedule: SymbolicSchedule, order: int, ring: PolyRing | None = None) -> Series:
    """L(θ(T)) − L(θ(0)) for a target L up to ``order``, as {tree rooted in L: polynomial}."""
    colors = schedule.domains
    shapes = [t for n in range(1, check_order(order) + 1) for t in trees(n, colors, root=TARGET)]
    branches = {child for t in shapes for child in t.children}
    values = coefficients(schedule, branches, ring)
    return combine(
        *(
            (_sign(t), {t: prod(values[child] for child in t.children) * _inverse_symmetry(t, values)})
            for t in shapes
        )
    )


def excess(
    schedule: SymbolicSchedule,
    reference: SymbolicSchedule,
    order: int,
    expansion: Expansion = parameter_series,
) -> Series:
    """The expansion (of θ, or of L with ``loss_series``) along ``schedule`` less that along ``reference``.

    >>> import sympy as sp
    >>> dt = sp.Symbol("Dt")
    >>> swap = SymbolicSchedule.blocks({1: dt, 2: dt})
    >>> {str(t): c.as_expr() for t, c in excess(swap, swap.straight(), 2).items()}  # ½ Δt² (H2 g1 − H1 g2)
    {'2[1]': Dt**2/2, '1[2]': -Dt**2/2}
    """
    if schedule.domains != reference.domains:
        raise CommuteError(
            f"schedules over {len(schedule.domains)} and {len(reference.domains)} domains; give both the same"
        )
    ring = common_ring(schedule, reference)
    return combine((1, expansion(schedule, order, ring)), (-1, expansion(reference, order, ring)))


def of_order(series: Series, order: int) -> Series:
    """The terms with exactly ``order`` domain derivatives."""
    return {t: c for t, c in series.items() if order_of(t) == order}


def word_operator(word: Word, start: Tree) -> Series:
    """V_{k₁} V_{k₂} … V_{kₙ} D(start), with V_k = −⟨g_k, ∇⟩: what a word of the Chen–Fliess series does.

    >>> {str(t): c for t, c in word_operator((1, 2), tree(TARGET)).items()}
    {'L[1, 2]': 1, 'L[2[1]]': 1}
    """
    result: Series = {start: 1}
    for letter in reversed(word):
        result = combine(*((-c, graft(tree(letter), t)) for t, c in result.items()))
    return result


def words_to_trees(words: dict[Word, Any], start: Tree) -> Series:
    """Σ_words S_word V_word D(start) as a sum of trees; from ``tree(TARGET)`` it is ``loss_series`` again."""
    return combine(*((c, word_operator(word, start)) for word, c in words.items() if word))


def _sign(t: Tree) -> int:
    return -1 if order_of(t) % 2 else 1


def _inverse_symmetry(t: Tree, values: dict[Tree, Any]) -> Any:
    ring = next(iter(values.values())).ring
    return ring.domain(1, symmetry(t))
