"""From a tree to the contraction of primitives that computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from commute_verify.codegen.primitives import NAMES, Primitive
from commute_verify.errors import CommuteError
from commute_verify.symbolic.iterated import Word
from commute_verify.symbolic.trees import TARGET, Tree, tree


@dataclass(frozen=True)
class Factor:
    """A primitive at given letters."""

    primitive: Primitive
    letters: Word

    def text(self) -> str:
        """The vector, as mathematics."""
        return self.primitive.text(self.letters)


@dataclass(frozen=True)
class Contraction:
    """One vector, or the inner product of two."""

    factors: tuple[Factor, ...]

    @property
    def is_scalar(self) -> bool:
        """Whether the axis of parameters is summed."""
        return len(self.factors) == 2

    def text(self) -> str:
        """The contraction as mathematics."""
        inside = ", ".join(factor.text() for factor in self.factors)
        return f"⟨{inside}⟩" if self.is_scalar else inside

    def einsum(self, signature: str | None, summed: Word, free: Word) -> tuple[str, tuple[str, ...]]:
        """Subscripts and operands, with leading batch axes; ``signature`` is indexed by ``summed``.

        >>> from commute_verify.codegen.primitives import PRIMITIVES
        >>> contract(tree(TARGET, tree(2, tree(1))), PRIMITIVES).einsum("d2", (1, 2), ())
        ('...ij,...jn,...in->...', ('d2', 'Hu', 'g'))
        """
        inputs = [_axes(factor.letters) + "n" for factor in self.factors]
        operands = [factor.primitive.name for factor in self.factors]
        if signature is not None:
            inputs, operands = [_axes(summed), *inputs], [signature, *operands]
        output = _axes(free) + ("" if self.is_scalar else "n")
        return f"{','.join(inputs)}->{output}", tuple(operands)


def contract(t: Tree, primitives: Sequence[Primitive]) -> Contraction:
    """The tree as a contraction: a scalar if its root is the target, a vector if it is a domain.

    A scalar is cut at one edge into two vectors; of all cuts whose sides are primitives the one whose arrays
    have the fewest axes is taken, the first if there are several. Raises CommuteError, naming the tree, when
    there is none.

    >>> from commute_verify.codegen.primitives import PRIMITIVES
    >>> contract(tree(TARGET, tree(3, tree(2, tree(1)))), PRIMITIVES).text()
    '⟨H_j g_i, H_k u⟩'
    """
    splits = cuts(t) if t.color == TARGET else iter([(t,)])
    found = [factors for split in splits if (factors := _factors(split, primitives)) is not None]
    if not found:
        names = ", ".join(primitive.name for primitive in primitives)
        raise CommuteError(f"the tree {t} is no contraction of {names}: add a primitive that it needs")
    return Contraction(min(found, key=_cost))


def cuts(t: Tree, above: tuple[Tree, ...] = ()) -> Iterator[tuple[Tree, Tree]]:
    """Each edge of the tree cut, as the two trees rooted at its ends.

    >>> [f"{upper} · {lower}" for upper, lower in cuts(tree(TARGET, tree(2, tree(1))))]
    ['L · 2[1]', '2[L] · 1']
    """
    for position, child in enumerate(t.children):
        rest = t.children[:position] + t.children[position + 1 :]
        upper = tree(t.color, *rest, *above)
        yield upper, child
        yield from cuts(child, (upper,))


def _factors(split: tuple[Tree, ...], primitives: Sequence[Primitive]) -> tuple[Factor, ...] | None:
    factors = []
    for t in split:
        matches = ((primitive, primitive.match(t)) for primitive in primitives)
        factor = next((Factor(p, at) for p, at in matches if at is not None), None)
        if factor is None:
            return None
        factors.append(factor)
    return tuple(sorted(factors, key=lambda factor: -len(factor.letters)))


def _cost(factors: tuple[Factor, ...]) -> list[int]:
    return [len(factor.letters) for factor in factors]


def _axes(letters: Word) -> str:
    return "..." + "".join(NAMES[k - 1] for k in letters)
