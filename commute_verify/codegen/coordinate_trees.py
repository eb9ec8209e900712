"""Trees in coordinates: elementary differentials of losses that are SymPy expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from commute_verify.symbolic.trees import TARGET, Series, Tree

Vector = tuple[sp.Expr, ...]


@dataclass(frozen=True)
class CoordinateTrees:
    """Losses by colour, the target's included, over common variables.

    >>> from commute_verify.symbolic.trees import criterion, gradient, lie_bracket
    >>> x, y = sp.symbols("x y")
    >>> trees = CoordinateTrees({1: x**2 / 2, 2: x * y, TARGET: y}, (x, y))
    >>> trees.vector(lie_bracket(gradient(1), gradient(2))), trees.scalar(criterion(1, 2))
    ((-y, x), x)
    """

    losses: Mapping[int, sp.Expr]
    variables: Sequence[sp.Symbol]

    def vector(self, series: Series) -> Vector:
        """Σ coefficient · D(τ), for trees rooted in domains."""
        terms = [(c, self._differential(t)) for t, c in series.items()]
        return tuple(sp.Add(*(c * d[i] for c, d in terms)) for i in range(len(self.variables)))

    def scalar(self, series: Series) -> sp.Expr:
        """Σ coefficient · D(τ), for trees rooted in the target."""
        target = self.losses[TARGET]
        return sp.Add(*(c * self.along(target, *self._branches(t)) for t, c in series.items()))

    def along(self, f: sp.Expr, *fields: Vector) -> sp.Expr:
        """Dᵐf(X₁, …, X_m): derivatives of f along fields that are held fixed."""
        if not fields:
            return f
        first, *rest = fields
        return sp.Add(
            *(xi * self.along(f.diff(x), *rest) for xi, x in zip(first, self.variables, strict=True))
        )

    def _differential(self, t: Tree) -> Vector:
        branches = self._branches(t)
        return tuple(self.along(self.losses[t.color].diff(x), *branches) for x in self.variables)

    def _branches(self, t: Tree) -> list[Vector]:
        return [self._differential(child) for child in t.children]
