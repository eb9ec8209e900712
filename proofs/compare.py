"""Exact comparison of a printed formula with the derived one, under each reading of the conventions.

*Schedule reading*: "12" trains domain 1 first and R(L1, L2) = H2 g1 − H1 g2 (paper, eq. 6).
*Composition reading*: "12" is Φ1∘Φ2, which trains domain 2 first, and R(L1, L2) = H1 g2 − H2 g1 (eq. 4).
The two describe the same physics. A formula that fits neither is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from commute_verify.symbolic.trees import Series, Tree, latex
from proofs.claim import Judgement

SCHEDULE = "schedule reading (12 = 1 first)"
COMPOSITION = "composition reading (12 = Φ1∘Φ2, 2 first)"
AS_WRITTEN = "as written"

Element = Mapping[Any, Any]
"""A vector: coefficients on trees (a ``Series``), on components, or on names."""


def expressions(element: Element) -> dict[Any, sp.Expr]:
    """The nonzero coefficients as expanded SymPy expressions."""
    exact = {k: c.as_expr() if hasattr(c, "as_expr") else sp.Integer(c) for k, c in element.items()}
    return {k: sp.expand(c) for k, c in exact.items() if sp.expand(c) != 0}


def factor_between(printed: Element, derived: Element) -> sp.Expr | None:
    """c with printed = c · derived, or None if there is none."""
    p, d = expressions(printed), expressions(derived)
    if not p and not d:
        return sp.Integer(1)
    if set(p) != set(d):
        return None
    factors = {sp.factor(sp.cancel(p[k] / d[k])) for k in d}
    return factors.pop() if len(factors) == 1 else None


def compare(printed: Element, derived: Mapping[str, Element], correction: str) -> Judgement:
    """Holds if printed = derived in some reading; corrected if a factor repairs the first; else false.

    ``correction`` states the derived formula of the first reading. The reason names every reading.
    """
    found = {reading: factor_between(printed, element) for reading, element in derived.items()}
    reason = "; ".join(f"{reading}: {_outcome(factor)}" for reading, factor in found.items())
    holding = [reading for reading, factor in found.items() if factor == 1]
    if holding:
        only = holding[0] if len(holding) < len(found) else None
        return Judgement("holds", reason, reading=only)
    first = next(iter(found))
    if found[first] is not None:
        return Judgement("corrected", reason, correction)
    return Judgement("false", f"{reason}; {difference(printed, derived[first])}", correction)


def difference(printed: Element, derived: Element) -> str:
    """The terms in which the two differ, each as derived and as printed."""
    p, d = expressions(printed), expressions(derived)
    odd = [k for k in {**d, **p} if sp.expand(p.get(k, 0) - d.get(k, 0)) != 0]
    return f"derived: {text({k: d.get(k, 0) for k in odd})}; printed: {text({k: p.get(k, 0) for k in odd})}"


def text(element: Element) -> str:
    """A sum in one line of inline LaTeX, trees as elementary differentials."""
    terms = [
        rf"\left({sp.latex(c)}\right) {latex(k) if isinstance(k, Tree) else k}"
        for k, c in expressions(element).items()
    ]
    return f"${' + '.join(terms) or '0'}$"


def math(expression: sp.Expr) -> str:
    """An expression as inline LaTeX."""
    return f"${sp.latex(expression)}$"


def scaled(factor: Any, series: Series) -> dict[Tree, sp.Expr]:
    """factor · series with SymPy coefficients."""
    return {t: sp.sympify(factor) * c for t, c in expressions(series).items()}


def _outcome(factor: sp.Expr | None) -> str:
    if factor is None:
        return "no factor makes the two equal"
    if factor == 1:
        return "holds"
    return f"printed = {math(factor)} × derived"
