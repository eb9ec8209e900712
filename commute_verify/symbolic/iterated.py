r"""Exact iterated integrals (flows) and iterated sums (gradient steps) of a symbolic schedule.

The coefficient of a tree with root c and subtrees τᵢ is

    a(τ)(t) = ∫₀ᵗ w_c(s) ∏ᵢ a(τᵢ)(s) ds            for a flow,
    a(τ)(m) = Σ_{l<m} η w_c(l) ∏ᵢ a(τᵢ)(l)          for steps of size η,

and the signature S_{k₁…kₙ} is a(τ) of the tall tree whose root is the last letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from math import comb
from typing import Any

import sympy as sp
from sympy.polys.polyerrors import CoercionFailed
from sympy.polys.rings import PolyElement, PolyRing

from commute_verify.errors import CommuteError
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule, check_order
from commute_verify.symbolic.trees import Tree, tree

Word = tuple[int, ...]


def common_ring(*schedules: SymbolicSchedule) -> PolyRing:
    """ℚ[symbols of the schedules, local time]; the local time is the last generator."""
    symbols = sorted(frozenset().union(*(schedule.symbols for schedule in schedules)), key=str)
    return PolyRing((*symbols, LOCAL_TIME), sp.QQ)


def coefficients(
    schedule: SymbolicSchedule, trees: Iterable[Tree], ring: PolyRing | None = None
) -> dict[Tree, PolyElement]:
    """a(τ) at the end of the schedule, for each tree.

    >>> t = sp.Symbol("t")
    >>> a = coefficients(SymbolicSchedule.constant([1], t), [tree(1, tree(1), tree(1))])
    >>> a[tree(1, tree(1), tree(1))].as_expr()
    t**3/3
    """
    ring = ring or common_ring(schedule)
    accumulate = _accumulator(schedule, ring)
    stages = [
        (_in_ring(ring, length), tuple(_in_ring(ring, weight) for weight in weights))
        for length, weights in schedule.stages
    ]
    time = ring.gens[-1]

    @cache
    def running(t: Tree) -> tuple[list[PolyElement], PolyElement]:
        if t.color not in schedule.domains:
            raise CommuteError(f"the tree {t} over {len(schedule.domains)} domains; colour it by 1 … K")
        below = [running(child)[0] for child in t.children]
        start, values = ring.zero, []
        for position, (length, weights) in enumerate(stages):
            rate = weights[t.color - 1]
            for child in below:
                rate = rate * child[position]
            value = start + accumulate(rate)
            values.append(value)
            start = value.compose(time, length)
        return values, start

    return {t: running(t)[1] for t in trees}


def signature(
    schedule: SymbolicSchedule, order: int, ring: PolyRing | None = None
) -> dict[Word, PolyElement]:
    """S_{k₁…kₙ} = ∫_{t₁<…<tₙ} w_{k₁}(t₁) … w_{kₙ}(tₙ) for all words up to ``order``, the empty one included.

    For gradient steps these are strict iterated sums, which are no shuffle character: the Chen–Fliess series
    is for flows, and steps are expanded over trees.

    >>> dt = sp.Symbol("Dt")
    >>> {w: c.as_expr() for w, c in signature(SymbolicSchedule.blocks({1: dt, 2: dt}), 2).items() if c}
    {(): 1, (1,): Dt, (2,): Dt, (1, 1): Dt**2/2, (1, 2): Dt**2, (2, 2): Dt**2/2}
    """
    ring = ring or common_ring(schedule)
    words: list[Word] = [()]
    tall: dict[Word, Tree] = {}
    for word in words:
        if len(word) < check_order(order):
            for letter in schedule.domains:
                longer = (*word, letter)
                tall[longer] = tree(letter, tall[word]) if word else tree(letter)
                words.append(longer)
    values = coefficients(schedule, tall.values(), ring)
    return {(): ring.one} | {word: values[t] for word, t in tall.items()}


def antiderivative(p: PolyElement) -> PolyElement:
    """∫₀ˢ p in the last generator."""
    return _by_terms(p, lambda power: {power + 1: Fraction(1, power + 1)})


def antidifference(p: PolyElement) -> PolyElement:
    """Σ_{m=0}^{s−1} p(m) in the last generator (Faulhaber)."""
    return _by_terms(p, power_sum)


@cache
def power_sum(power: int) -> dict[int, Fraction]:
    """Σ_{m=0}^{s−1} m^power as {power of s: coefficient}, from (m+1)^{p+1} − m^{p+1} summed over m.

    >>> power_sum(1) == {2: Fraction(1, 2), 1: Fraction(-1, 2)}
    True
    """
    total: dict[int, Fraction] = {power + 1: Fraction(1, power + 1)}
    for lower in range(power):
        share = Fraction(comb(power + 1, lower), power + 1)
        for exponent, coefficient in power_sum(lower).items():
            total[exponent] = total.get(exponent, Fraction(0)) - share * coefficient
    return {exponent: coefficient for exponent, coefficient in total.items() if coefficient}


def _accumulator(schedule: SymbolicSchedule, ring: PolyRing) -> Callable[[PolyElement], PolyElement]:
    if schedule.step is None:
        return antiderivative
    eta = _in_ring(ring, schedule.step)
    return lambda p: eta * antidifference(p)


def _by_terms(p: PolyElement, rule: Callable[[int], dict[int, Fraction]]) -> PolyElement:
    ring = p.ring
    terms: dict[Any, Any] = {}
    for (*others, power), coefficient in p.terms():
        for exponent, factor in rule(power).items():
            monomial = (*others, exponent)
            term = coefficient * ring.domain(factor.numerator, factor.denominator)
            terms[monomial] = terms.get(monomial, ring.domain.zero) + term
    return ring.from_dict({m: c for m, c in terms.items() if c})


def _in_ring(ring: PolyRing, expression: sp.Expr) -> PolyElement:
    try:
        return ring.from_expr(sp.expand(expression))
    except (ValueError, CoercionFailed) as error:
        raise CommuteError(
            f"{expression} is not a polynomial with rational coefficients; give lengths, weights and steps "
            "that are"
        ) from error
