"""Scalar SymPy expressions printed as source: a short list of smooth real nodes, and nothing else.

Numbers print as the nearest float64, in full, so that they round-trip; they are Python floats in the source,
which leave the dtype of arrays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite

import sympy as sp

from commute_verify.codegen.backends import Backend
from commute_verify.errors import CommuteError

FUNCTIONS = (sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.sinh, sp.cosh, sp.tanh, sp.atan)
_ARITHMETIC = (sp.Add, sp.Mul, sp.Pow)
_NUMBERS = (sp.Integer, sp.Rational, sp.Float, sp.NumberSymbol)
_SUM, _PRODUCT, _POWER, _ATOM = range(4)
_ALLOWED = "Symbol, Integer, Rational, Float, pi, E, Add, Mul, Pow, sqrt, " + ", ".join(map(str, FUNCTIONS))


class ScalarPrinter:
    """Prints expressions in the symbols of ``names``, which maps each to its identifier.

    >>> from commute_verify.codegen.backends import BACKENDS
    >>> x = sp.Symbol("x")
    >>> ScalarPrinter({x: "x0"}, BACKENDS["numpy"])(sp.sqrt(x) / 3 - sp.atan(x) ** 2)
    '-np.arctan(x0)**2 + 0.3333333333333333 * np.sqrt(x0)'
    """

    def __init__(self, names: Mapping[sp.Symbol, str], backend: Backend) -> None:
        """Symbols that are not in ``names`` are refused."""
        self.names, self.backend = names, backend

    def __call__(self, e: sp.Expr) -> str:
        """The source; CommuteError, naming the node, for anything that cannot be printed."""
        return self._print(e)[0]

    def _print(self, e: sp.Expr) -> tuple[str, int]:
        if e in self.names:
            return self.names[e], _ATOM
        check_node(e)
        if not e.free_symbols:
            value = number(e)
            return repr(value), _ATOM if value >= 0 else _SUM
        if isinstance(e, sp.Add):
            return self._sum(e.args), _SUM
        if isinstance(e, FUNCTIONS):
            return f"{self.backend.function(e.func.__name__)}({self(e.args[0])})", _ATOM
        if isinstance(e, sp.Pow) and not _is_reciprocal(e):
            return self._power(*e.args)
        negative, text = self._product(e)
        return ("-" + text, _SUM) if negative else (text, _PRODUCT)

    def _inside(self, e: sp.Expr, precedence: int) -> str:
        text, own = self._print(e)
        return text if own >= precedence else f"({text})"

    def _sum(self, terms: Sequence[sp.Expr]) -> str:
        (negative, first), *rest = [self._product(term) for term in terms]
        return "-" * negative + first + "".join(f" {'-' if n else '+'} {text}" for n, text in rest)

    def _product(self, e: sp.Expr) -> tuple[bool, str]:
        """Whether the product is subtracted, and its absolute text."""
        coefficient, factors = e.as_coeff_mul()
        size = number(abs(coefficient))
        above = [f for f in factors if not _is_reciprocal(f)]
        below = [sp.Pow(f.base, -f.exp) for f in factors if _is_reciprocal(f)]
        texts = [self._inside(f, _POWER) for f in above]
        if size != 1 or not texts:
            texts.insert(0, repr(size))
        divisors = [f" / {self._inside(f, _POWER)}" for f in below]
        return bool(coefficient < 0), " * ".join(texts) + "".join(divisors)

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> tuple[str, int]:
        if exponent == sp.S.Half:
            return f"{self.backend.function('sqrt')}({self(base)})", _ATOM
        if exponent.free_symbols and (base.free_symbols or not base.is_positive):
            raise CommuteError(
                f"Pow in {base**exponent}: give a number as its exponent, or as a base above 0"
            )
        power = str(exponent) if exponent.is_Integer else self._inside(exponent, _POWER)
        return f"{self._inside(base, _ATOM)}**{power}", _POWER


def check_node(e: sp.Expr) -> None:
    """CommuteError unless the node itself is on the list; symbols are left to the printer."""
    if not isinstance(e, (*_ARITHMETIC, *_NUMBERS, *FUNCTIONS)):
        raise CommuteError(
            f"{type(e).__name__} in {e} cannot be printed as smooth real source: use {_ALLOWED}"
        )


def number(e: sp.Expr) -> float:
    """The float64 nearest to a constant; CommuteError unless that is finite, and 0 only for 0.

    >>> number(sp.Rational(1, 3)), number(sp.pi)
    (0.3333333333333333, 3.141592653589793)
    """
    for node in sp.preorder_traversal(e):
        check_node(node)
    value = e if e.is_Rational or e.is_Float else sp.N(e, 40)
    if not value.is_extended_real:
        raise CommuteError(f"the constant {e} is not real: give real losses")
    try:
        nearest = float(Fraction(int(value.p), int(value.q))) if value.is_Rational else float(value)
    except OverflowError:
        nearest = float("inf")
    if not isfinite(nearest) or (nearest == 0) != bool(value == 0):
        raise CommuteError(f"the constant {sp.N(e, 5)} is out of the range of float64: rescale the losses")
    return nearest


def _is_reciprocal(e: sp.Expr) -> bool:
    return isinstance(e, sp.Pow) and not e.exp.free_symbols and bool(e.exp.is_negative)
