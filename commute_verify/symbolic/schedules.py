"""Exact weight schedules: weights polynomial in time, on stages whose lengths may be symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import sympy as sp

from commute_verify.errors import CommuteError

LOCAL_TIME = sp.Symbol("s")
"""The time since the stage began; a weight may be a polynomial in it."""

Exact: TypeAlias = "sp.Expr | int"


@dataclass(frozen=True)
class SymbolicSchedule:
    """Weights w_k(t) of the domains 1 … K on consecutive stages, in exact arithmetic.

    ``stages`` holds (length, (w_1, …, w_K)) pairs. Lengths and weights are polynomials, over ℚ, in any
    symbols; a weight may also depend on ``LOCAL_TIME``. With ``step=None`` time is continuous and lengths
    are durations of flow. With a step size η lengths count gradient steps of that size.

    Weights need not sum to 1: a learning rate γ(t) is a factor on all of them (flow time, dτ = γ dt).

    >>> dt = sp.Symbol("Dt")
    >>> SymbolicSchedule.blocks({1: dt, 2: dt}).totals()
    (Dt, Dt)
    """

    stages: tuple[tuple[sp.Expr, tuple[sp.Expr, ...]], ...]
    step: sp.Expr | None = None

    def __post_init__(self) -> None:
        """Sympify the numbers and check that every stage has as many weights as the first."""
        exact = tuple(_stage(pair) for pair in _row(self.stages, "stages, as (length, weights) pairs"))
        if not exact or not exact[0][1]:
            raise CommuteError("a schedule without stages or domains; give at least one of each")
        counts = {len(weights) for _, weights in exact}
        if len(counts) > 1:
            raise CommuteError(f"stages with {sorted(counts)} weights; give every stage one per domain")
        step = None if self.step is None else _exact(self.step)
        for length in (*(length for length, _ in exact), *(() if step is None else (step,))):
            if LOCAL_TIME in length.free_symbols or length.is_positive is False:
                raise CommuteError(f"a length or step of {length}; give one above 0, free of {LOCAL_TIME}")
        if step is not None and any(length.is_integer is False for length, _ in exact):
            raise CommuteError("a fraction of a step; with a step size, lengths count whole steps")
        object.__setattr__(self, "stages", exact)
        object.__setattr__(self, "step", step)

    @classmethod
    def constant(cls, weights: Sequence[Exact], length: Exact, step: Exact | None = None) -> SymbolicSchedule:
        """The same weights throughout."""
        return cls(((length, _row(weights, "weights")),), step)

    @classmethod
    def blocks(cls, totals: Mapping[int, Exact], step: Exact | None = None) -> SymbolicSchedule:
        """Each domain alone for its total, in the order of the mapping."""
        if not isinstance(totals, Mapping):
            raise CommuteError(f"blocks of {totals!r}; give a mapping from domains to totals")
        if any(not isinstance(block, int) or isinstance(block, bool) or block < 1 for block in totals):
            raise CommuteError(f"blocks of domains {list(totals)}; number domains from 1")
        domains = range(1, max(totals, default=0) + 1)
        stages = tuple((total, tuple(int(k == block) for k in domains)) for block, total in totals.items())
        return cls(stages, step)

    @classmethod
    def tilt(
        cls, weights: Sequence[Exact], i: int, j: int, delta: Exact, length: Exact, step: Exact | None = None
    ) -> SymbolicSchedule:
        """Paper, eq. 8: w_i + δ and w_j − δ for ``length``, then w_i − δ and w_j + δ for ``length``."""
        base = _row(weights, "weights")
        if i == j or i not in range(1, len(base) + 1) or j not in range(1, len(base) + 1):
            raise CommuteError(f"domains {i} and {j} of {len(base)}; give two different ones")
        shift = _exact(delta)

        def tilted(sign: int) -> tuple[sp.Expr, ...]:
            shifts = {i: sign * shift, j: -sign * shift}
            return tuple(_exact(w) + shifts.get(k, 0) for k, w in enumerate(base, start=1))

        return cls(((length, tilted(1)), (length, tilted(-1))), step)

    @property
    def domains(self) -> tuple[int, ...]:
        """The domains' colours 1 … K."""
        return tuple(range(1, len(self.stages[0][1]) + 1))

    @cached_property
    def symbols(self) -> frozenset[sp.Symbol]:
        """The symbols that lengths, weights and the step depend on, without ``LOCAL_TIME``."""
        expressions = [e for length, weights in self.stages for e in (length, *weights)]
        used = sp.Tuple(*expressions, self.step or 0).free_symbols
        return frozenset(used) - {LOCAL_TIME}

    def totals(self) -> tuple[sp.Expr, ...]:
        """∫ w_k dt (or η Σ w_k) for each domain."""
        from commute_verify.symbolic.iterated import coefficients
        from commute_verify.symbolic.trees import tree

        values = coefficients(self, [tree(k) for k in self.domains])
        return tuple(values[tree(k)].as_expr() for k in self.domains)

    def straight(self) -> SymbolicSchedule:
        """A constant flow with the same totals; it needs no division, as only ∫w dt counts for it."""
        return SymbolicSchedule.constant(self.totals(), 1)

    def then(self, later: SymbolicSchedule) -> SymbolicSchedule:
        """This schedule, and ``later`` after it."""
        if not isinstance(later, SymbolicSchedule):
            raise CommuteError(f"a schedule and then {later!r}; give a SymbolicSchedule")
        if self.step != later.step:
            raise CommuteError(f"schedules with steps {self.step} and {later.step}; give both the same")
        return SymbolicSchedule(self.stages + later.stages, self.step)


def check_order(order: int) -> int:
    """The order itself, if it is a whole number of at least 1."""
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise CommuteError(f"order {order!r}; give a whole number of at least 1")
    return order


def _stage(pair: Any) -> tuple[sp.Expr, tuple[sp.Expr, ...]]:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise CommuteError(f"the stage {pair!r}; give a (length, weights) pair")
    length, weights = pair
    return _exact(length), tuple(_exact(weight) for weight in _row(weights, "weights"))


def _row(values: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(values, Sequence | sp.Tuple) or isinstance(values, str):
        raise CommuteError(f"{values!r} for the {what}; give a list or tuple")
    return tuple(values)


def _exact(value: Any) -> sp.Expr:
    if isinstance(value, str):
        raise CommuteError(f"the text {value!r}; give an int, a Rational or a SymPy expression")
    try:
        expression = sp.sympify(value, strict=True)
    except sp.SympifyError:
        expression = None
    if not isinstance(expression, sp.Expr):
        raise CommuteError(f"{value!r}; give an int, a Rational or a SymPy expression")
    if expression.has(sp.Float):
        raise CommuteError(f"{expression} holds a float; give an int or a Rational, so that it is exact")
    return expression
