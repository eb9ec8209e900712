"""Coordinate functions of a user's own losses: the public face of the SymPy emitter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from commute_verify.codegen.backends import backend_named
from commute_verify.codegen.coordinate_source import CoordinateModule
from commute_verify.codegen.scalars import ScalarPrinter
from commute_verify.codegen.user_losses import (
    check_loss,
    check_losses,
    check_powers,
    check_variables,
    real,
    real_symbol,
)
from commute_verify.errors import CommuteError


@dataclass(frozen=True)
class CoordinateFunctions:
    """Gradient g, Hessian-vector product H v, bracket R and criterion P of named losses, as arrays.

        R(L_i, L_j) = H_j g_i − H_i g_j,        P(L_i, L_j; L) = ⟨R(L_i, L_j), ∇L⟩

    Points ``theta`` and directions ``v`` are arrays (..., n) of ``backend``, n coordinates in the order of
    the variables; leading axes broadcast, and the floating dtype, device and autograd are kept. Losses are
    given by their names. ``source`` is the emitted module; it holds no name or text of the user's.
    Units: those of the losses over those of the variables. Sign: P > 0 says to put ``second`` first.
    Where a loss is not real or not smooth, such as log x at x ≤ 0, the library's nan or inf comes back.
    Raises CommuteError for unknown names, for arrays of the wrong shape or of integers, and for P without
    a target. Built by ``coordinate_functions``.
    """

    names: tuple[str, ...]
    backend: str
    source: str = field(repr=False)
    module: Mapping[str, Any] = field(repr=False, compare=False)

    def gradient(self, name: str, theta: Any) -> Any:
        """g = ∇L_name at theta (..., n); returns (..., n)."""
        return self.module[f"gradient_{self._index(name)}"](theta)

    def hvp(self, name: str, theta: Any, v: Any) -> Any:
        """H_name v at theta (..., n) for v (..., n); returns (..., n)."""
        return self.module[f"hvp_{self._index(name)}"](theta, v)

    def bracket(self, first: str, second: str, theta: Any) -> Any:
        """R(L_first, L_second) = H_second g_first − H_first g_second at theta (..., n); returns (..., n)."""
        return self._of_pair("bracket", first, second, theta)

    def P(self, first: str, second: str, theta: Any) -> Any:
        """P(L_first, L_second; L) for the target L at theta (..., n); returns (...)."""
        if "criterion_0_0" not in self.module:
            raise CommuteError("P without a target: give `target` to coordinate_functions")
        return self._of_pair("criterion", first, second, theta)

    def _of_pair(self, what: str, first: str, second: str, theta: Any) -> Any:
        i, j = self._index(first), self._index(second)
        value = self.module[f"{what}_{min(i, j)}_{max(i, j)}"](theta)
        return value if i <= j else -value

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise CommuteError(f"loss {name!r}: the losses are {list(self.names)}")
        return self.names.index(name)


def coordinate_functions(
    losses: Mapping[str, sp.Expr],
    variables: Sequence[sp.Symbol],
    target: sp.Expr | None = None,
    *,
    backend: str = "numpy",
) -> CoordinateFunctions:
    """Emit and load coordinate functions for losses given as SymPy expressions.

    ``losses`` maps names to expressions in ``variables``; ``target`` is the loss L of P, and may be one of
    them; ``backend`` is "numpy" or "torch". Bracket and P are the engine's trees, put into these coordinates
    and differentiated exactly, then printed by a whitelist of smooth real nodes. Nothing of the user's is
    parsed or evaluated as text, and symbols reach the source as x0, x1, …; what is executed is that source.
    Symbols without assumptions count as real. Trusted, and not checked: assumptions such as
    ``positive=True``, which √x needs, and that points keep away from poles and the logarithm's edge.

    Raises CommuteError for text or anything but expressions; nodes that are not on the list (Abs, Max,
    Piecewise, floor, I, unknown functions, …), by name; fractional powers of a base that SymPy cannot show
    to be positive, such as x^(1/3), √(x² + y²) and √(x² − 2x + 1) = |x − 1|; constants that float64 cannot
    hold; symbols that are not among the variables; variables that repeat or are not real; and empty input.

    >>> import numpy as np
    >>> x, y = sp.symbols("x y")
    >>> toy = coordinate_functions({"en": x**2 / 2, "ru": x * y}, [x, y], target=y)
    >>> theta = np.array([1.0, 2.0])
    >>> toy.gradient("ru", theta).tolist(), toy.hvp("en", theta, np.array([3.0, 4.0])).tolist()
    ([2.0, 1.0], [3.0, 0.0])
    >>> toy.bracket("en", "ru", theta).tolist()  # (−y, x)
    [-2.0, 1.0]
    >>> float(toy.P("en", "ru", theta))  # above 0: put "ru" first
    1.0
    """
    printed = backend_named(backend)
    check_losses(losses)
    check_variables(variables)
    symbols = [real_symbol(x) for x in variables]
    printer = ScalarPrinter(dict.fromkeys(symbols, "x"), printed)

    def checked(what: str, loss: sp.Expr) -> sp.Expr:
        check_loss(what, loss, variables)
        in_real_symbols = real(loss, variables)
        try:
            printer(in_real_symbols)
            check_powers(in_real_symbols)
        except CommuteError as error:
            raise CommuteError(f"{what}: {error}") from error
        return in_real_symbols

    accepted = [checked(f"loss {name!r}", loss) for name, loss in losses.items()]
    goal = None if target is None else checked("the target", target)
    source = CoordinateModule(accepted, symbols, goal, printed).source()
    module: dict[str, Any] = {}
    exec(compile(source, "<commute_verify coordinate functions>", "exec"), module)
    return CoordinateFunctions(tuple(losses), backend, source, module)
