"""The arrays that a caller supplies: gradients and their contractions with Hessians and third derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from commute_verify.symbolic.iterated import Word
from commute_verify.symbolic.trees import TARGET, Tree, tree

NAMES = "ijklpqrs"
"""How letters 1, 2, … are printed as indices; ``n`` is the axis of parameters."""


@dataclass(frozen=True)
class Primitive:
    """An array (..., K, …, K, n) of vectors: ``shape`` read as a vector, with ``indices`` along its axes.

    A tree is read as a vector at its root, D(τ) = D^{m+1} L_c (…); the target is a colour like any other
    here, so that its leaf is u = ∇L. Letters of the shape that are no index stand for one domain each.

    >>> hg = Primitive("Hg", tree(1, tree(2)), (1, 2))
    >>> hg.match(tree(3, tree(1))), hg.text((3, 1))
    ((3, 1), 'H_k g_i')
    """

    name: str
    shape: Tree
    indices: Word

    def match(self, t: Tree) -> Word | None:
        """The letters along the axes that make this array hold ``t``, or None."""
        own, theirs = letters(self.shape), letters(t)
        if len(own) == len(theirs):
            for image in permutations(theirs):
                renamed = dict(zip(own, image, strict=True))
                fixed = all(renamed[k] == k for k in own if k not in self.indices)
                if fixed and relabel(self.shape, renamed) == t:
                    return tuple(renamed[k] for k in self.indices)
        return None

    def text(self, at: Word) -> str:
        """The vector at these letters, as mathematics."""
        return vector_text(relabel(self.shape, dict(zip(self.indices, at, strict=True))))


def letters(t: Tree) -> Word:
    """The domains in a tree, root first."""
    below = tuple(k for child in t.children for k in letters(child))
    return below if t.color == TARGET else (t.color, *below)


def relabel(t: Tree, names: dict[int, int]) -> Tree:
    """The tree with each domain's colour replaced, where ``names`` replaces it."""
    return tree(names.get(t.color, t.color), *(relabel(child, names) for child in t.children))


def vector_text(t: Tree) -> str:
    """The tree read as a vector, as mathematics.

    >>> vector_text(tree(3, tree(TARGET), tree(1)))
    'D³L_k(u, g_i)'
    """
    name = "L" if t.color == TARGET else NAMES[t.color - 1]
    inside = [vector_text(child) for child in t.children]
    if not inside:
        return "u" if t.color == TARGET else f"g_{name}"
    if len(inside) == 1:
        return f"H_{name} {inside[0]}"
    loss = "L" if t.color == TARGET else f"L_{name}"
    power = str(len(inside) + 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"D{power}{loss}({', '.join(inside)})"


_U = tree(TARGET)

PRIMITIVES = (
    Primitive("g", tree(1), (1,)),
    Primitive("u", _U, ()),
    Primitive("Hu", tree(1, _U), (1,)),
    Primitive("Hg", tree(1, tree(2)), (1, 2)),
    Primitive("HHg", tree(1, tree(2, tree(3))), (1, 2, 3)),
    Primitive("Tgg", tree(1, tree(2), tree(3)), (1, 2, 3)),
    Primitive("HLg", tree(TARGET, tree(1)), (1,)),
    Primitive("Tu_g", tree(1, _U, tree(2)), (1, 2)),
    Primitive("TL", tree(TARGET, tree(1), tree(2)), (1, 2)),
)
"""Enough for orders 1 to 3. Another order needs more of these, and nothing else."""

PAIR = (
    Primitive("hessian_j_gradient_i", tree(2, tree(1)), ()),
    Primitive("hessian_i_gradient_j", tree(1, tree(2)), ()),
)
"""The two vectors of one pair of domains."""
