"""What a user hands in as losses, held to: real smooth SymPy expressions in the given symbols.

A fractional power is finite where its base vanishes and its derivatives are not, so its base must be seen
to be positive. Poles and logarithms (1/x, tan x, log x) blow up where they are not smooth: trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy as sp

from commute_verify.codegen.scalars import number
from commute_verify.errors import CommuteError


def check_losses(losses: Mapping[str, sp.Expr]) -> None:
    """CommuteError unless there is at least one loss, and every name is a text."""
    if not isinstance(losses, Mapping) or not losses:
        raise CommuteError(f"losses are {losses!r}: give a mapping from names to SymPy expressions")
    strange = [name for name in losses if not isinstance(name, str) or not name]
    if strange:
        raise CommuteError(f"losses are named {strange}: give non-empty text")


def check_variables(variables: Sequence[sp.Symbol]) -> None:
    """CommuteError unless these are distinct real symbols; without assumptions a symbol counts as real."""
    if not isinstance(variables, list | tuple) or not variables:
        raise CommuteError(f"variables are {variables!r}: give a list of SymPy symbols")
    for x in variables:
        if not isinstance(x, sp.Symbol):
            raise CommuteError(f"variable {x!r} is of type {type(x).__name__}: give a SymPy Symbol")
        if not x.is_commutative or x.is_real is False or (x.is_complex and not x.is_real):
            raise CommuteError(f"variable {sp.srepr(x)} is not a real number: give real symbols")
    if len({x.name for x in variables}) < len(variables):
        raise CommuteError(f"variables {list(variables)} repeat a name: give each once")


def check_loss(what: str, loss: Any, variables: Sequence[sp.Symbol]) -> None:
    """CommuteError unless this is an expression in the variables alone; text is never parsed."""
    if not isinstance(loss, sp.Expr):
        raise CommuteError(f"{what} is {loss!r} of type {type(loss).__name__}: give a SymPy expression")
    foreign = sorted(map(sp.srepr, loss.free_symbols - set(variables)))
    if foreign:
        raise CommuteError(
            f"{what} depends on {', '.join(foreign)}, and the variables are "
            f"{', '.join(map(sp.srepr, variables))}: give all losses the same variables"
        )


def real(loss: sp.Expr, variables: Sequence[sp.Symbol]) -> sp.Expr:
    """The loss in real symbols, where SymPy shows what is not smooth.

    >>> x = sp.Symbol("x")
    >>> real(sp.sqrt(x**2), [x])
    Abs(x)
    """
    return loss.xreplace({x: real_symbol(x) for x in variables})


def check_powers(loss: sp.Expr) -> None:
    """CommuteError for a fractional power of a base that SymPy cannot show to be positive, as it may vanish.

    ``loss`` is in real symbols and of printable nodes. SymPy sees a positive constant plus squares, an
    exponential, and what assumptions say, such as ``positive=True``, which is believed. Bases are factored
    too: √(x² − 2x + 1) is |x − 1|, and is refused as such.

    >>> x = sp.Symbol("x", real=True)
    >>> check_powers(sp.sqrt(1 + (x - 1) ** 2))
    >>> check_powers(sp.sqrt(x**2 - 2 * x + 1))
    Traceback (most recent call last):
    commute_verify.errors.CommuteError: Abs in sqrt(x**2 - 2*x + 1) = Abs(x - 1): give smooth losses
    """
    for power in sorted(loss.atoms(sp.Pow), key=sp.default_sort_key):
        base, exponent = power.args
        if not base.free_symbols or base.is_positive or number(exponent).is_integer():
            continue
        factored = sp.factor(base) ** exponent
        if factored.has(sp.Abs):
            raise CommuteError(f"Abs in {power} = {factored}: give smooth losses")
        if not sp.factor(base).is_positive:
            raise CommuteError(
                f"Pow in {power}, not smooth where {base} vanishes: write the base as a positive constant "
                "plus squares, or give symbols with positive=True"
            )


def real_symbol(x: sp.Symbol) -> sp.Symbol:
    """The symbol itself if it is real, else one of its name that is."""
    return x if x.is_real else sp.Symbol(x.name, real=True)
