"""Coloured rooted trees against brute force on labelled nodes, and the algebra of sums of trees."""

from collections import Counter
from fractions import Fraction
from itertools import permutations, product
from math import factorial, prod

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commute_verify.symbolic import trees as T
from commute_verify.symbolic.trees import TARGET, combine, derivative, graft, lie_bracket, symmetry, tree
from tests.exact_strategies import coloured_trees, fractions


def nodes_of(t):
    """(colours, parents) of the labelled tree, the root first."""
    colors, parents = [], []

    def visit(node, parent):
        colors.append(node[0])
        parents.append(parent)
        label = len(colors) - 1
        for child in node[1]:
            visit(child, label)

    visit(t, None)
    return colors, parents


def built_from(colors, parents):
    def subtree(label):
        return tree(colors[label], *(subtree(c) for c, p in enumerate(parents) if p == label))

    return subtree(0)


def automorphisms(t):
    colors, parents = nodes_of(t)
    labels = range(len(colors))
    return sum(
        all(colors[moved[v]] == colors[v] for v in labels)
        and all(parents[moved[v]] == moved[parents[v]] for v in labels if v)
        for moved in ((0, *rest) for rest in permutations(labels[1:]))
    )


def attached_everywhere(branch, onto):
    colors, parents = nodes_of(onto)
    more_colors, more_parents = nodes_of(branch)
    shifted = [p + len(colors) for p in more_parents[1:]]
    return Counter(
        built_from(colors + more_colors, [*parents, node, *shifted]) for node in range(len(colors))
    )


def density(t):
    """τ!: the product over nodes of the sizes of what hangs there, the node included."""

    def visit(node):
        sizes, factors = zip(*map(visit, node[1]), strict=True) if node[1] else ((), ())
        return 1 + sum(sizes), (1 + sum(sizes)) * prod(factors)

    return visit(t)[1]


@pytest.mark.parametrize(
    ("colors", "counts"),
    [
        ((1,), [1, 1, 2, 4, 9, 20, 48]),  # OEIS A000081
        ((1, 2), [2, 4, 14, 52, 214, 916]),  # OEIS A038055
        ((1, 2, 3), [3, 9, 45, 246]),  # OEIS A038059
        ((2, 5), [2, 4, 14, 52]),
    ],
)
def test_there_are_as_many_coloured_trees_as_the_known_sequences_say(colors, counts):
    found = [list(T.trees(n, colors)) for n in range(1, len(counts) + 1)]
    assert [len(of_order) for of_order in found] == counts
    assert all(len(set(of_order)) == len(of_order) for of_order in found)
    assert all(T.order(t) == n for n, of_order in enumerate(found, start=1) for t in of_order)


@pytest.mark.parametrize(("colors", "counts"), [((1,), [1, 2, 4, 9, 20]), ((1, 2), [2, 7, 26, 107])])
def test_trees_below_a_target_are_counted_by_one_colour_of_roots_with_a_node_more(colors, counts):
    found = [list(T.trees(n, colors, root=TARGET)) for n in range(1, len(counts) + 1)]
    assert [len(set(of_order)) for of_order in found] == counts
    assert all(T.order(t) == n for n, of_order in enumerate(found, start=1) for t in of_order)


def test_every_recursively_grown_tree_is_listed_and_nothing_else_is():
    for n in range(1, 5):
        grown = {
            built_from(colors, [None, *parents])
            for colors in product((1, 2), repeat=n)
            for parents in product(*(range(node) for node in range(1, n)))
        }
        assert set(T.trees(n, (1, 2))) == grown


@given(st.data())
def test_the_order_of_children_does_not_matter(data):
    children = data.draw(st.lists(coloured_trees(st.integers(1, 3)), max_size=4))
    shuffled = data.draw(st.permutations(children))
    assert tree(1, *children) == tree(1, *shuffled)
    assert str(tree(1, *children)) == str(tree(1, *shuffled))


def test_different_trees_have_different_names_and_different_formulas():
    listed = [t for n in range(1, 5) for t in (*T.trees(n, (1, 2)), *T.trees(n, (1, 2), root=TARGET))]
    assert len({str(t) for t in listed}) == len(listed)
    assert len({T.latex(t) for t in listed}) == len(listed)


def symmetry_without_the_childrens_own(t):
    return prod(factorial(count) for count in Counter(t.children).values())


def symmetry_blind_to_repeated_children(t):
    return prod(map(symmetry_blind_to_repeated_children, t.children))


def symmetry_counting_repeated_childrens_own_once(t):
    repeated = Counter(t.children).items()
    return prod(
        factorial(count) * symmetry_counting_repeated_childrens_own_once(child) for child, count in repeated
    )


def symmetry_blind_to_colours(t):
    return symmetry(tree(1, *(recoloured(child) for child in t.children)))


def recoloured(t):
    return tree(1, *map(recoloured, t.children))


def is_the_number_of_automorphisms(sigma):
    cherry = tree(1, tree(2), tree(2))
    listed = [t for n in range(1, 6) for t in T.trees(n, (1, 2))] + list(T.trees(6, (1,)))
    listed.append(tree(1, cherry, cherry))
    return all(sigma(t) == automorphisms(t) for t in listed)


def test_the_symmetry_of_a_tree_is_its_number_of_automorphisms():
    assert is_the_number_of_automorphisms(symmetry)  # exact


@pytest.mark.parametrize(
    "planted",
    [
        symmetry_without_the_childrens_own,
        symmetry_blind_to_repeated_children,
        symmetry_counting_repeated_childrens_own_once,
        symmetry_blind_to_colours,
        lambda t: 1,
    ],
)
def test_a_wrong_symmetry_is_not_the_number_of_automorphisms(planted):
    assert not is_the_number_of_automorphisms(planted)


@pytest.mark.parametrize("colors", [(1,), (1, 2), (1, 2, 3)])
def test_symmetries_and_densities_of_all_trees_sum_to_one_over_n(colors):
    for n in range(1, 6):
        total = sum(Fraction(1, symmetry(t) * density(t)) for t in T.trees(n, colors))
        assert total == Fraction(len(colors) ** n, n)  # exact: −ln(1 − Kt) solves x' = K eˣ


small_trees = coloured_trees(st.integers(1, 3))


@given(small_trees, coloured_trees(st.integers(1, 5)))
@example(tree(1), tree(1, tree(1), tree(1)))
@example(tree(2), tree(TARGET, tree(1), tree(1)))
def test_grafting_attaches_the_branch_at_every_node_once(branch, onto):
    assert graft(branch, onto) == attached_everywhere(branch, onto)
    assert sum(graft(branch, onto).values()) == T.order(onto) + (onto.color == TARGET)


tree_series = st.dictionaries(small_trees, fractions(), max_size=3).map(lambda series: combine((1, series)))


def root_only(along, of):
    """A planted product rule: branches attached at the root alone."""
    return combine(
        *((x * y, {tree(b.color, *b.children, a): 1}) for a, x in along.items() for b, y in of.items())
    )


def is_pre_lie(product_of, a, b, c):
    def associator(x, y):
        return combine((1, product_of(product_of(x, y), c)), (-1, product_of(x, product_of(y, c))))

    return associator(a, b) == associator(b, a)


@given(tree_series, tree_series, tree_series)
@example({}, {tree(1): 1}, {tree(1): 1})
def test_differentiating_along_fields_is_a_left_pre_lie_product(a, b, c):
    assert is_pre_lie(derivative, a, b, c)  # exact


@pytest.mark.parametrize(
    "planted",
    [
        root_only,
        lambda along, of: derivative(of, along),
        lambda along, of: combine((1, derivative(along, of)), (1, derivative(of, along))),
    ],
    ids=["grafted at the root alone", "swapped order", "symmetrised"],
)
def test_a_wrong_product_is_not_left_pre_lie(planted):
    assert not is_pre_lie(planted, {tree(1): 1}, {tree(2): 1}, {tree(3): 1})


def jacobiator(bracket, x, y, z):
    return combine(
        (1, bracket(x, bracket(y, z))), (1, bracket(y, bracket(z, x))), (1, bracket(z, bracket(x, y)))
    )


@given(tree_series, tree_series)
def test_the_bracket_of_tree_series_is_antisymmetric(x, y):
    assert lie_bracket(x, y) == combine((-1, lie_bracket(y, x)))
    assert lie_bracket(x, x) == {}


@given(tree_series, tree_series, tree_series, fractions(), fractions())
def test_the_bracket_of_tree_series_is_bilinear(x, y, z, a, b):
    mixed = combine((a, x), (b, y))
    assert lie_bracket(mixed, z) == combine((a, lie_bracket(x, z)), (b, lie_bracket(y, z)))
    assert lie_bracket(z, mixed) == combine((a, lie_bracket(z, x)), (b, lie_bracket(z, y)))


@given(tree_series, tree_series, tree_series)
def test_the_bracket_of_tree_series_satisfies_jacobi(x, y, z):
    assert jacobiator(lie_bracket, x, y, z) == {}


def planted_sum(x, y):
    return combine((1, derivative(x, y)), (1, derivative(y, x)))


def planted_root_only(x, y):
    return combine((1, root_only(x, y)), (-1, root_only(y, x)))


def planted_half_missing(x, y):
    return combine((1, derivative(x, y)), (Fraction(-1, 2), derivative(y, x)))


@pytest.mark.parametrize("planted", [planted_sum, planted_root_only, planted_half_missing])
def test_a_wrong_bracket_of_tree_series_breaks_jacobi(planted):
    assert jacobiator(planted, {tree(1): 1}, {tree(2): 1}, {tree(1, tree(2)): 1}) != {}


def is_the_papers_bracket(bracket):
    return bracket({tree(1): 1}, {tree(2): 1}) == {tree(2, tree(1)): 1, tree(1, tree(2)): -1}


def test_the_bracket_of_two_gradients_is_h2_g1_minus_h1_g2():
    assert is_the_papers_bracket(lie_bracket)


@pytest.mark.parametrize(
    "planted",
    [
        lambda x, y: lie_bracket(y, x),
        lambda x, y: combine((Fraction(1, 2), lie_bracket(x, y))),
        planted_sum,
    ],
    ids=["sign", "factor ½", "sum"],
)
def test_a_bracket_of_wrong_sign_or_factor_is_not_the_papers(planted):
    assert not is_the_papers_bracket(planted)


@given(st.lists(fractions(), min_size=3, max_size=3), st.lists(fractions(), min_size=3, max_size=3))
def test_the_criterion_of_combined_losses_is_the_combination_of_pairs(a, b):
    pairs = combine(
        *((a[i - 1] * b[j - 1], T.criterion(i, j)) for i in (1, 2, 3) for j in (1, 2, 3) if i != j)
    )
    combined = T.criterion(dict(enumerate(a, start=1)), dict(enumerate(b, start=1)))
    assert combined == pairs


@given(st.data())
def test_combining_series_leaves_no_zeros(data):
    x = data.draw(tree_series)
    assert combine((1, x), (-1, x)) == {}
    assert combine((0, x)) == {}
    assert all(combine((1, x), (1, x)).values())
