"""Signed terms of a formula, and how sums of them are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from commute_verify.codegen.contractions import Contraction, contract
from commute_verify.codegen.formulas import Formula, Part
from commute_verify.codegen.primitives import Primitive

Signed = tuple[bool, str]
"""Whether a term is subtracted, and the term without its sign."""


@dataclass(frozen=True)
class Sum:
    """A part of a formula with every tree contracted: Σ coefficient · contraction."""

    part: Part
    terms: tuple[tuple[int, Contraction], ...]

    @property
    def name(self) -> str:
        """The local variable that holds the sum."""
        return f"of_depth_{len(self.part.letters)}" if self.part.signature else "result"


def contracted(formula: Formula, primitives: Sequence[Primitive]) -> list[Sum]:
    """The formula with its trees as contractions of the primitives."""
    return [
        Sum(part, tuple((c, contract(t, primitives)) for t, c in part.series.items()))
        for part in formula.parts
    ]


def used(sums: Sequence[Sum], primitives: Sequence[Primitive]) -> list[Primitive]:
    """Those of the primitives that the sums name."""
    named = {factor.primitive for s in sums for _, contraction in s.terms for factor in contraction.factors}
    return [primitive for primitive in primitives if primitive in named]


def signed(coefficient: int, text: str, times: str) -> Signed:
    """The product of a whole number and a text, its sign apart.

    >>> signed(-1, "x", " * "), signed(2, "x", " * ")
    ((True, 'x'), (False, '2 * x'))
    """
    size = abs(coefficient)
    return coefficient < 0, text if size == 1 else f"{size}{times}{text}"


def spelled(terms: Sequence[Signed], minus: str = "-") -> list[str]:
    """Terms with their signs, to be joined by spaces.

    >>> spelled([(True, "x"), (False, "y")])
    ['-x', '+ y']
    """
    (negative, first), *rest = terms
    return [minus * negative + first, *(f"{minus if n else '+'} {text}" for n, text in rest)]
