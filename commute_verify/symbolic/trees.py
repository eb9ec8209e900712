r"""Coloured rooted trees and the elementary differentials that they stand for.

A tree with root colour c and subtrees τ₁ … τₘ stands for

    D(τ) = D^{m+1} L_c (D(τ₁), …, D(τₘ)),

the gradient of L_c differentiated m more times, so that the leaf ``c`` is g_c, the tree ``c[k]`` is
H_c g_k and ``c[j, k]`` is D³L_c(g_j, g_k). Coloured trees: Hairer, Lubich & Wanner, *Geometric Numerical
Integration*, III.1–III.2; sums of them are plain dicts from tree to coefficient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod
from typing import Any, NamedTuple

TARGET = 0
"""The colour of a target loss L, below every domain's colour (domains are 1 … K)."""

Series = dict["Tree", Any]
"""A sum Σ coefficient(τ) D(τ); coefficients live in any commutative ring."""


class Tree(NamedTuple):
    """A rooted tree with a coloured root; ``children`` are sorted, so that equal trees are equal tuples.

    >>> str(tree(1, tree(2), tree(3)))
    '1[2, 3]'
    """

    color: int
    children: tuple[Tree, ...] = ()

    def __str__(self) -> str:
        """Root and subtrees, such as ``L[1[2], 3]``."""
        name = "L" if self.color == TARGET else str(self.color)
        return name + (f"[{', '.join(map(str, self.children))}]" if self.children else "")


def tree(color: int, *children: Tree) -> Tree:
    """The tree with this root and these subtrees, in any order."""
    return Tree(color, tuple(sorted(children)))


def order(t: Tree) -> int:
    """The number of domain nodes (a target at the root does not count)."""
    return (t.color != TARGET) + sum(map(order, t.children))


@cache
def symmetry(t: Tree) -> int:
    """σ(τ): the number of automorphisms.

    >>> symmetry(tree(1, tree(2), tree(2))), symmetry(tree(1, tree(2), tree(3)))
    (2, 1)
    """
    repeated = Counter(t.children).items()
    return prod(factorial(count) * symmetry(child) ** count for child, count in repeated)


@cache
def forests(n: int, colors: tuple[int, ...]) -> tuple[tuple[Tree, ...], ...]:
    """All multisets of trees with ``n`` nodes together, coloured by ``colors``."""
    if n == 0:
        return ((),)
    found: set[tuple[Tree, ...]] = set()
    for sizes in _partitions(n):
        found.update(_pick(sizes, colors))
    return tuple(sorted(found))


def trees(n: int, colors: tuple[int, ...], root: int | None = None) -> Iterator[Tree]:
    """All trees with ``n`` domain nodes: rooted in a domain, or in ``root`` (``TARGET``) if it is given.

    >>> [str(t) for t in trees(2, (1, 2))]
    ['1[1]', '1[2]', '2[1]', '2[2]']
    >>> [str(t) for t in trees(2, (1,), root=TARGET)]
    ['L[1, 1]', 'L[1[1]]']
    """
    roots, below = (colors, n - 1) if root is None else ((root,), n)
    for color in roots:
        for forest in forests(below, colors):
            yield Tree(color, forest)


def graft(branch: Tree, onto: Tree) -> Series:
    """The derivative of D(onto) along D(branch): ``branch`` attached at each node of ``onto`` in turn."""
    grown: Series = Counter({tree(onto.color, *onto.children, branch): 1})
    for position, child in enumerate(onto.children):
        rest = onto.children[:position] + onto.children[position + 1 :]
        for new_child, count in graft(branch, child).items():
            grown[tree(onto.color, *rest, new_child)] += count
    return dict(grown)


def combine(*terms: tuple[Any, Series]) -> Series:
    """The linear combination Σ factor · series, without its zeros."""
    total: Series = {}
    for factor, series in terms:
        for t, coefficient in series.items():
            total[t] = total[t] + factor * coefficient if t in total else factor * coefficient
    return {t: c for t, c in total.items() if c}


def derivative(along: Series, of: Series) -> Series:
    """D(of)·along for two fields, bilinear in both (the pre-Lie product of trees)."""
    return combine(*((x * y, graft(a, b)) for a, x in along.items() for b, y in of.items()))


def lie_bracket(x: Series, y: Series) -> Series:
    """[X, Y] = DY·X − DX·Y.

    >>> g1, g2 = {tree(1): 1}, {tree(2): 1}
    >>> {str(t): c for t, c in lie_bracket(g1, g2).items()}  # R(L1, L2) = H2 g1 − H1 g2
    {'2[1]': 1, '1[2]': -1}
    """
    return combine((1, derivative(x, y)), (-1, derivative(y, x)))


def inner(field: Series) -> Series:
    """⟨∇L, X⟩: every tree of the field hung below the target."""
    return {Tree(TARGET, (t,)): coefficient for t, coefficient in field.items()}


def gradient(losses: Mapping[int, Any] | int) -> Series:
    """The gradient of a domain's loss, or of a combination {domain: weight}."""
    if isinstance(losses, int):
        return {tree(losses): 1}
    return {tree(domain): weight for domain, weight in losses.items() if weight}


def criterion(i: Mapping[int, Any] | int, j: Mapping[int, Any] | int) -> Series:
    """P(L_i, L_j; L) = ⟨R(L_i, L_j), ∇L⟩ for domains or combinations {domain: weight} of them.

    >>> {str(t): c for t, c in criterion(1, 2).items()}
    {'L[2[1]]': 1, 'L[1[2]]': -1}
    """
    return inner(lie_bracket(gradient(i), gradient(j)))


def latex(t: Tree) -> str:
    r"""The elementary differential as LaTeX.

    >>> print(latex(tree(1, tree(2, tree(1)))))
    H_{1} H_{2} g_{1}
    >>> print(latex(tree(TARGET, tree(1), tree(2))))
    \langle g_{1}, H_{L}\, g_{2} \rangle
    """
    name = "L" if t.color == TARGET else str(t.color)
    inside = [latex(child) for child in t.children]
    if t.color == TARGET and len(inside) == 1:
        return rf"\langle \nabla L, {inside[0]} \rangle"
    if t.color == TARGET and len(inside) == 2:
        return rf"\langle {inside[0]}, H_{{L}}\, {inside[1]} \rangle"
    if t.color == TARGET:
        return rf"D^{{{len(inside)}}}L({', '.join(inside)})"
    if not inside:
        return f"g_{{{name}}}"
    if len(inside) == 1:
        return f"H_{{{name}}} {inside[0]}"
    return f"D^{{{len(inside) + 1}}}L_{{{name}}}({', '.join(inside)})"


def _partitions(n: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    if n == 0:
        yield ()
    for part in range(min(n, largest or n), 0, -1):
        for rest in _partitions(n - part, part):
            yield (part, *rest)


def _pick(sizes: Sequence[int], colors: tuple[int, ...]) -> Iterator[tuple[Tree, ...]]:
    forest_lists: list[tuple[tuple[Tree, ...], ...]] = []
    for size, count in Counter(sizes).items():
        choices = tuple(trees(size, colors))
        forest_lists.append(tuple(combinations_with_replacement(choices, count)))
    stack: list[tuple[Tree, ...]] = [()]
    for options in forest_lists:
        stack = [forest + option for forest in stack for option in options]
    for forest in stack:
        yield tuple(sorted(forest))
