r"""Polynomial vector fields in coordinates, over ℚ: the second way to every expansion.

Nothing here knows of trees, words or iterated integrals. A flow is built from operators alone,

    f(θ(T)) = e^{d₁V₁} e^{d₂V₂} … f (θ₀),      V f = Σᵢ Vⁱ ∂f/∂xⁱ,

with V_i the field of stage i and d_i its length; a stage whose weights depend on time gains the time as one
more coordinate. Terms are graded by the number of losses in them, which is what "order" means everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy.polys.rings import PolyElement, PolyRing

from commute_verify.errors import CommuteError
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule, check_order

Field = tuple[PolyElement, ...]
GRADE = sp.Symbol("_grade")


class Coordinates:
    """The ring ℚ[parameters, grade, local time, x₁ … x_d] and calculus on its polynomials.

    >>> x, y = sp.symbols("x y")
    >>> space = Coordinates((x, y))
    >>> l1, l2 = space(x**2 / 2), space(x * y)
    >>> [p.as_expr() for p in space.lie_bracket(space.gradient(l1), space.gradient(l2))]  # H2 g1 − H1 g2
    [-y, x]
    """

    def __init__(self, variables: Sequence[sp.Symbol], parameters: Sequence[sp.Symbol] = ()) -> None:
        """Coordinates named by ``variables``; ``parameters`` are the schedule's own symbols."""
        symbols = (*parameters, GRADE, LOCAL_TIME, *variables)
        if len(set(symbols)) < len(symbols):
            raise CommuteError(f"the symbols {symbols}; give variables and parameters that all differ")
        self.ring = PolyRing(symbols, sp.QQ)
        self.variables: Field = self.ring.gens[len(self.ring.gens) - len(variables) :]
        self.grade, self.time = self.ring.gens[len(parameters)], self.ring.gens[len(parameters) + 1]

    def __call__(self, expression: sp.Expr | int) -> PolyElement:
        """The expression as an element of the ring."""
        return self.ring.from_expr(sp.expand(expression))

    def gradient(self, f: PolyElement) -> Field:
        """∇f."""
        return tuple(f.diff(x) for x in self.variables)

    def hessian(self, f: PolyElement) -> tuple[Field, ...]:
        """The rows of the matrix of second derivatives."""
        return tuple(self.gradient(partial) for partial in self.gradient(f))

    def derivative(self, field: Field, f: PolyElement) -> PolyElement:
        """V f, the derivative of f along the field."""
        return sum((v * f.diff(x) for v, x in zip(field, self.variables, strict=True)), self.ring.zero)

    def lie_bracket(self, x: Field, y: Field) -> Field:
        """[X, Y] = DY·X − DX·Y."""
        return tuple(self.derivative(x, b) - self.derivative(y, a) for a, b in zip(x, y, strict=True))

    def inner(self, x: Field, y: Field) -> PolyElement:
        """⟨X, Y⟩."""
        return sum((a * b for a, b in zip(x, y, strict=True)), self.ring.zero)

    def along(
        self, f: PolyElement, losses: Sequence[PolyElement], schedule: SymbolicSchedule, order: int
    ) -> PolyElement:
        """f(θ(T)) for descent on the losses along the schedule, as a polynomial in θ₀, up to ``order``.

        Terms carry a power of the grade; ``graded`` reads it.
        """
        check_order(order)
        if len(losses) != len(schedule.domains):
            raise CommuteError(f"{len(losses)} losses for {len(schedule.domains)} domains; give one for each")
        descent = [tuple(-p * self.grade for p in self.gradient(loss)) for loss in losses]
        for length, weights in reversed(schedule.stages):
            drift = tuple(
                sum((self(w) * v[i] for w, v in zip(weights, descent, strict=True)), self.ring.zero)
                for i in range(len(self.variables))
            )
            if schedule.step is None:
                f = self._flow(f, drift, self(length), order)
            else:
                f = self._steps(f, drift, length, self(schedule.step), order)
        return f

    def graded(self, f: PolyElement, order: int) -> PolyElement:
        """The part of f with exactly ``order`` losses in it, without the grade."""
        at = self.ring.gens.index(self.grade)
        terms = {(*m[:at], 0, *m[at + 1 :]): c for m, c in f.terms() if m[at] == order}
        return self.ring.from_dict(terms)

    def _truncated(self, f: PolyElement, order: int) -> PolyElement:
        at = self.ring.gens.index(self.grade)
        return self.ring.from_dict({m: c for m, c in f.terms() if m[at] <= order})

    def _flow(self, f: PolyElement, drift: Field, length: PolyElement, order: int) -> PolyElement:
        total, term, n = f, f, 0
        while term:
            n += 1
            moved = self.derivative(drift, term) + term.diff(self.time)
            term = self._truncated(moved * length, order) * self.ring.domain(1, n)
            total += term
        return total.compose(self.time, self.ring.zero)

    def _steps(
        self, f: PolyElement, drift: Field, length: sp.Expr, eta: PolyElement, order: int
    ) -> PolyElement:
        if not length.is_Integer:
            raise CommuteError(f"{length} steps; coordinates follow whole numbers of steps")
        for step in reversed(range(int(length))):
            now = [v.compose(self.time, self.ring(step)) for v in drift]
            moved = [(x, x + eta * v) for x, v in zip(self.variables, now, strict=True)]
            f = self._truncated(f.compose(moved), order)
        return f
