r"""The free algebra: words over the domains, truncated products, log, BCH, and the Lie elements among them.

A series is a dict from word to coefficient, in any commutative ring that holds ℚ. The word k₁…kₙ stands for
the operator V_{k₁} … V_{kₙ}, earliest letter first, so that the flow of a schedule is Σ S_word · word
(Chen 1957; Fliess 1981) and its logarithm is a Lie series (Magnus 1954).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import product as pairs
from typing import Any

from commute_verify.errors import CommuteError
from commute_verify.symbolic.iterated import Word
from commute_verify.symbolic.schedules import check_order

WordSeries = dict[Word, Any]


def letter(k: int) -> WordSeries:
    """The series of one letter."""
    return {(k,): Fraction(1)}


def add(*terms: tuple[Any, WordSeries]) -> WordSeries:
    """The linear combination Σ factor · series, without its zeros."""
    total: WordSeries = {}
    for factor, series in terms:
        for word, coefficient in series.items():
            total[word] = total[word] + factor * coefficient if word in total else factor * coefficient
    return {word: c for word, c in total.items() if c}


def multiply(x: WordSeries, y: WordSeries, order: int) -> WordSeries:
    """The concatenation product, up to words of length ``order``."""
    total: WordSeries = {}
    for (u, a), (v, b) in pairs(x.items(), y.items()):
        if len(u) + len(v) <= order:
            word = u + v
            total[word] = total[word] + a * b if word in total else a * b
    return {word: c for word, c in total.items() if c}


def commutator(x: WordSeries, y: WordSeries, order: int) -> WordSeries:
    """x y − y x, up to ``order``.

    >>> sorted(commutator(letter(1), letter(2), 2).items())
    [((1, 2), Fraction(1, 1)), ((2, 1), Fraction(-1, 1))]
    """
    return add((1, multiply(x, y, order)), (-1, multiply(y, x, order)))


def exp(x: WordSeries, order: int) -> WordSeries:
    """Σ xⁿ/n! of a series without constant term."""
    if x.get(()):
        raise CommuteError(f"a constant term of {x[()]}; exp takes a series without one")
    total: WordSeries = {(): Fraction(1)}
    power = total
    for n in range(1, check_order(order) + 1):
        power = _over(multiply(power, x, order), n)
        total = add((1, total), (1, power))
    return total


def log(x: WordSeries, order: int) -> WordSeries:
    """−Σ (1 − x)ⁿ/n of a series with constant term 1; of a signature it is the log-signature.

    >>> log(exp(letter(1), 5), 5) == letter(1)
    True
    """
    if x.get(()) != 1:
        raise CommuteError(f"a constant term of {x.get((), 0)}; log takes a series with constant term 1")
    rest = {word: c for word, c in x.items() if word}
    total: WordSeries = {}
    power: WordSeries = {(): 1}
    for n in range(1, check_order(order) + 1):
        power = multiply(power, rest, order)
        total = add((1, total), ((-1) ** (n + 1), _over(power, n)))
    return total


def bch(order: int, x: WordSeries | None = None, y: WordSeries | None = None) -> WordSeries:
    """log(exp X exp Y) up to ``order`` (Baker, Campbell, Hausdorff); X and Y default to letters 1 and 2.

    >>> bch(2)[(1, 2)], bch(2)[(2, 1)]
    (Fraction(1, 2), Fraction(-1, 2))
    """
    x, y = letter(1) if x is None else x, letter(2) if y is None else y
    return log(multiply(exp(x, order), exp(y, order), order), order)


def dynkin(x: WordSeries) -> WordSeries:
    """Each word k₁…kₙ sent to (1/n) [[…[k₁, k₂], …], kₙ]: the identity on Lie elements, and only there.

    Source: Dynkin, Specht and Wever; Reutenauer, *Free Lie Algebras*, 1.4.
    """
    return add(*((a, _over(left_bracket(word), len(word))) for word, a in x.items() if word))


def is_lie(x: WordSeries) -> bool:
    """Whether the series is a Lie element."""
    return dynkin(x) == {word: c for word, c in x.items() if c}


@cache
def _left_bracket(word: Word) -> tuple[tuple[Word, int], ...]:
    if len(word) == 1:
        return ((word, 1),)
    total: dict[Word, int] = {}
    for inner, sign in _left_bracket(word[:-1]):
        total[(*inner, word[-1])] = total.get((*inner, word[-1]), 0) + sign
        total[(word[-1], *inner)] = total.get((word[-1], *inner), 0) - sign
    return tuple(total.items())


def left_bracket(word: Word) -> WordSeries:
    """[[…[k₁, k₂], …], kₙ] as words."""
    return {w: sign for w, sign in _left_bracket(word) if sign}


def lyndon_words(letters: tuple[int, ...], order: int) -> Iterator[Word]:
    """Lyndon words up to ``order`` (Duval 1988): one for each element of a basis of the free Lie algebra.

    >>> list(lyndon_words((1, 2), 3))
    [(1,), (1, 1, 2), (1, 2), (1, 2, 2), (2,)]
    """
    w = [-1]
    while w:
        w[-1] += 1
        yield tuple(letters[i] for i in w)
        length = len(w)
        while len(w) < order:
            w.append(w[-length])
        while w and w[-1] == len(letters) - 1:
            w.pop()


@cache
def standard_bracket(word: Word) -> tuple[tuple[Word, int], ...]:
    """[u, v] for the standard factorisation of a Lyndon word: v its longest proper Lyndon suffix."""
    if len(word) == 1:
        return ((word, 1),)
    split = next(i for i in range(1, len(word)) if _is_lyndon(word[i:]))
    u, v = dict(standard_bracket(word[:split])), dict(standard_bracket(word[split:]))
    return tuple(commutator(u, v, len(word)).items())


def lyndon_coordinates(x: WordSeries, letters: tuple[int, ...], order: int) -> dict[Word, Any]:
    """The coordinates of a Lie element in the Lyndon basis; order 2 of a log-signature is its Lévy areas.

    The bracket of a Lyndon word is that word plus greater ones, so coordinates are read off in turn.

    >>> lyndon_coordinates(bch(3), (1, 2), 3)[(1, 2, 2)]
    Fraction(1, 12)
    """
    rest, coordinates = {word: c for word, c in x.items() if c}, {}
    for word in sorted(lyndon_words(letters, order)):
        if rest.get(word):
            coordinates[word] = rest[word]
            rest = add((1, rest), (-rest[word], dict(standard_bracket(word))))
    if rest:
        raise CommuteError(
            f"not a Lie element up to order {order}: {len(rest)} words are left over, such as {min(rest)}"
        )
    return coordinates


def _is_lyndon(word: Word) -> bool:
    return all(word < word[i:] for i in range(1, len(word)))


def _over(x: WordSeries, n: int) -> WordSeries:
    return {word: (Fraction(c) if isinstance(c, int) else c) / n for word, c in x.items()}
