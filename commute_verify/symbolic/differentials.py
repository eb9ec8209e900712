"""Elementary differentials in coordinates: where a sum over trees meets a polynomial loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from sympy.polys.rings import PolyElement

from commute_verify.errors import CommuteError
from commute_verify.symbolic.fields import Coordinates, Field
from commute_verify.symbolic.trees import TARGET, Series, Tree


def evaluate_loss(
    series: Series, space: Coordinates, losses: Sequence[PolyElement], target: PolyElement
) -> PolyElement:
    """Σ coefficient(τ) D(τ) for trees rooted in the target.

    >>> import sympy as sp
    >>> from commute_verify.symbolic.trees import criterion
    >>> x, y = sp.symbols("x y")
    >>> space = Coordinates((x, y))
    >>> l1, l2, target = space(x**2 / 2), space(x * y), space(y)
    >>> evaluate_loss(criterion(1, 2), space, [l1, l2], target).as_expr()  # R = (−y, x), ∇L = (0, 1)
    x
    """
    return sum(
        (_in(space, c) * _scalar(t, space, losses, target) for t, c in series.items()), space.ring.zero
    )


def evaluate_field(series: Series, space: Coordinates, losses: Sequence[PolyElement]) -> Field:
    """Σ coefficient(τ) D(τ) for trees rooted in domains."""
    total = [space.ring.zero] * len(space.variables)
    for t, c in series.items():
        for i, component in enumerate(_field(t, space, losses)):
            total[i] += _in(space, c) * component
    return tuple(total)


def _field(t: Tree, space: Coordinates, losses: Sequence[PolyElement]) -> Field:
    if t.color == TARGET:
        raise CommuteError(f"{t} is rooted in the target; evaluate_loss takes such trees")
    branches = [_field(child, space, losses) for child in t.children]
    return tuple(_multilinear(p, branches, space) for p in space.gradient(losses[t.color - 1]))


def _scalar(t: Tree, space: Coordinates, losses: Sequence[PolyElement], target: PolyElement) -> PolyElement:
    if t.color != TARGET:
        raise CommuteError(f"{t} is rooted in a domain; evaluate_field takes such trees")
    return _multilinear(target, [_field(child, space, losses) for child in t.children], space)


def _multilinear(f: PolyElement, fields: Sequence[Field], space: Coordinates) -> PolyElement:
    total = space.ring.zero
    for components in product(range(len(space.variables)), repeat=len(fields)):
        term = f
        for i in components:
            term = term.diff(space.variables[i])
        for i, field in zip(components, fields, strict=True):
            term = term * field[i]
        total += term
    return total


def _in(space: Coordinates, coefficient: object) -> PolyElement:
    as_expr = getattr(coefficient, "as_expr", None)
    return space(as_expr() if as_expr else coefficient)
