"""The bracket's algebra on polynomial fields that are no gradients, where a transposed Jacobian shows."""

from functools import partial

import pytest
import sympy as sp
from hypothesis import assume, example, given
from hypothesis import strategies as st

from commute_verify.symbolic.differentials import evaluate_field
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.trees import combine, tree
from commute_verify.symbolic.trees import lie_bracket as bracket_of_trees
from tests.exact_strategies import coloured_trees, fractions, polynomials, rationals

X, Y = PLANE = sp.symbols("x y")
SPACE = Coordinates(PLANE)
BRACKET = SPACE.lie_bracket
ZERO = (SPACE.ring.zero, SPACE.ring.zero)

functions = polynomials(SPACE, PLANE, 3)
fields = st.tuples(functions, functions)


def field(*components):
    return tuple(map(SPACE, components))


def plus(*terms):
    """Σ factor · field; a factor may be a polynomial."""
    return tuple(sum((a * v[i] for a, v in terms), SPACE.ring.zero) for i in range(2))


def number(rational):
    return SPACE(sp.Rational(rational))


ROTATION = field(-Y, X)
SHEAR = field(Y, 0)
SWIRL = field(X * Y, X**2 - Y)
TWIST = field(Y**2, X * Y**2 + 1)
BENDING = SPACE(X**2 * Y + Y)


# --- planted brackets


def jacobian(v):
    return [[component.diff(x) for x in SPACE.variables] for component in v]


def times(matrix, v):
    return tuple(SPACE.inner(row, v) for row in matrix)


def transposed_times(matrix, v):
    return times(list(zip(*matrix, strict=True)), v)


def transposed(x, y):
    """DYᵀX − DXᵀY."""
    return plus((1, transposed_times(jacobian(y), x)), (-1, transposed_times(jacobian(x), y)))


def half_transposed(x, y):
    """DY·X − DXᵀY."""
    return plus((1, times(jacobian(y), x)), (-1, transposed_times(jacobian(x), y)))


def swapped(x, y):
    return BRACKET(y, x)


def halved(x, y):
    return plus((number("1/2"), BRACKET(x, y)))


def symmetrised(x, y):
    return plus((1, times(jacobian(y), x)), (1, times(jacobian(x), y)))


def one_sided(x, y):
    return times(jacobian(y), x)


def half_missing(x, y):
    return plus((1, times(jacobian(y), x)), (number("-1/2"), times(jacobian(x), y)))


# --- what a bracket must satisfy


def is_the_dense_one(bracket, x, y):
    """DY·X − DX·Y with SymPy's own Jacobians."""
    a, b = (sp.Matrix([p.as_expr() for p in v]) for v in (x, y))
    dense = (b.jacobian(PLANE) * a - a.jacobian(PLANE) * b).applyfunc(sp.expand)
    return [p.as_expr() for p in bracket(x, y)] == list(dense)


def is_antisymmetric(bracket, x, y):
    return bracket(x, y) == plus((-1, bracket(y, x))) and bracket(x, x) == ZERO


def is_bilinear(bracket, x, y, z, a, b):
    mixed = plus((number(a), x), (number(b), y))
    left = plus((number(a), bracket(x, z)), (number(b), bracket(y, z)))
    right = plus((number(a), bracket(z, x)), (number(b), bracket(z, y)))
    return bracket(mixed, z) == left and bracket(z, mixed) == right


def is_leibniz(bracket, x, y, f):
    """[X, fY] = (Xf) Y + f [X, Y] and [fX, Y] = −(Yf) X + f [X, Y]."""
    right = plus((SPACE.derivative(x, f), y), (f, bracket(x, y)))
    left = plus((-SPACE.derivative(y, f), x), (f, bracket(x, y)))
    return bracket(x, plus((f, y))) == right and bracket(plus((f, x)), y) == left


def is_jacobi(bracket, x, y, z):
    cyclic = ((x, y, z), (y, z, x), (z, x, y))
    return plus(*((1, bracket(a, bracket(b, c))) for a, b, c in cyclic)) == ZERO


def is_the_commutator_of_derivations(bracket, x, y, f):
    """X(Yf) − Y(Xf) = [X, Y] f."""
    commutator = SPACE.derivative(x, SPACE.derivative(y, f)) - SPACE.derivative(y, SPACE.derivative(x, f))
    return SPACE.derivative(bracket(x, y), f) == commutator


def pushed(matrix, v):
    """(A_* V)(y) = A V(A⁻¹ y)."""
    back = matrix.inv() * sp.Matrix(PLANE)
    moved = [p.compose([(g, SPACE(b)) for g, b in zip(SPACE.variables, back, strict=True)]) for p in v]
    return tuple(sum((number(matrix[i, j]) * moved[j] for j in range(2)), SPACE.ring.zero) for i in range(2))


def is_natural(bracket, x, y, matrix):
    """[A_* X, A_* Y] = A_* [X, Y]."""
    return bracket(pushed(matrix, x), pushed(matrix, y)) == pushed(matrix, bracket(x, y))


@given(fields, fields)
@example(ROTATION, SHEAR)
def test_the_bracket_is_the_dense_one_with_jacobians(x, y):
    assert is_the_dense_one(BRACKET, x, y)  # exact


@given(fields, fields)
@example(ZERO, SWIRL)
@example(SWIRL, SWIRL)
def test_the_bracket_is_antisymmetric_and_zero_on_a_field_with_itself(x, y):
    assert is_antisymmetric(BRACKET, x, y)  # exact


@given(fields, fields, fields, rationals, rationals)
@example(ROTATION, SHEAR, SWIRL, sp.Integer(0), sp.Integer(-1))
def test_the_bracket_is_bilinear(x, y, z, a, b):
    assert is_bilinear(BRACKET, x, y, z, a, b)  # exact


@given(fields, fields, functions)
@example(ROTATION, SWIRL, BENDING)
def test_the_bracket_follows_the_leibniz_rule(x, y, f):
    assert is_leibniz(BRACKET, x, y, f)  # exact


@given(fields, fields, fields)
@example(ROTATION, SHEAR, SWIRL)
@example(ROTATION, ROTATION, SWIRL)
def test_the_bracket_satisfies_jacobi(x, y, z):
    assert is_jacobi(BRACKET, x, y, z)  # exact


@given(fields, fields, functions)
@example(ROTATION, TWIST, BENDING)
def test_the_bracket_is_the_commutator_of_derivations(x, y, f):
    assert is_the_commutator_of_derivations(BRACKET, x, y, f)  # exact


@given(fields, fields, st.lists(st.integers(-2, 2), min_size=4, max_size=4))
@example(ROTATION, SWIRL, [1, 1, 0, 1])
def test_the_bracket_moves_with_a_linear_change_of_coordinates(x, y, entries):
    matrix = sp.Matrix(2, 2, entries)
    assume(matrix.det() != 0)
    assert is_natural(BRACKET, x, y, matrix)  # exact


STRETCH = sp.Matrix([[1, 1], [0, 2]])
QUARTER_TURN = sp.Matrix([[0, -1], [1, 0]])

CHECKS = {
    "dense": lambda b: is_the_dense_one(b, SWIRL, TWIST),
    "antisymmetric": lambda b: is_antisymmetric(b, SWIRL, TWIST),
    "bilinear": lambda b: is_bilinear(b, SWIRL, TWIST, ROTATION, 2, -1),
    "Leibniz": lambda b: is_leibniz(b, SWIRL, TWIST, BENDING),
    "Jacobi": lambda b: is_jacobi(b, SWIRL, TWIST, ROTATION),
    "derivations": lambda b: is_the_commutator_of_derivations(b, SWIRL, TWIST, BENDING),
    "natural": lambda b: is_natural(b, SWIRL, TWIST, STRETCH),
}

REJECTS = {
    transposed: {"dense", "Leibniz", "Jacobi", "derivations", "natural"},
    half_transposed: {"dense", "antisymmetric", "Leibniz", "Jacobi", "derivations", "natural"},
    swapped: {"dense", "Leibniz", "derivations"},
    halved: {"dense", "Leibniz", "derivations"},
    symmetrised: {"dense", "antisymmetric", "Leibniz", "Jacobi", "derivations"},
    one_sided: {"dense", "antisymmetric", "Leibniz", "Jacobi", "derivations"},
    half_missing: {"dense", "antisymmetric", "Leibniz", "Jacobi", "derivations"},
}


def test_every_check_accepts_the_bracket():
    assert {name for name, check in CHECKS.items() if not check(BRACKET)} == set()


@pytest.mark.parametrize("planted", REJECTS, ids=lambda planted: planted.__name__)
def test_a_wrong_bracket_is_rejected_by_the_checks_that_can_see_it(planted):
    assert {name for name, check in CHECKS.items() if not check(planted)} == REJECTS[planted]


# --- the transposed Jacobian


@given(functions, functions)
def test_a_transposed_jacobian_cannot_be_seen_on_gradient_fields(first, second):
    g1, g2 = SPACE.gradient(first), SPACE.gradient(second)
    assert transposed(g1, g2) == half_transposed(g1, g2) == BRACKET(g1, g2)


def test_a_transposed_jacobian_is_seen_on_a_rotation_and_a_shear():
    assert BRACKET(ROTATION, SHEAR) == field(X, -Y)
    assert transposed(ROTATION, SHEAR) != BRACKET(ROTATION, SHEAR)
    assert half_transposed(ROTATION, SHEAR) != BRACKET(ROTATION, SHEAR)


def test_a_transposed_jacobian_survives_a_rotation_of_coordinates_but_not_a_stretch():
    assert is_natural(transposed, SWIRL, TWIST, QUARTER_TURN)
    assert not is_natural(transposed, SWIRL, TWIST, STRETCH)


# --- fields that commute


linear_maps = st.lists(st.integers(-2, 2), min_size=4, max_size=4).map(partial(sp.Matrix, 2, 2))


def linear_field(matrix):
    return field(*(matrix * sp.Matrix(PLANE)))


@given(linear_maps, linear_maps)
@example(sp.eye(2), sp.zeros(2, 2))
def test_the_bracket_of_linear_fields_is_minus_the_commutator_of_their_matrices(a, b):
    assert BRACKET(linear_field(a), linear_field(b)) == linear_field(b * a - a * b)


@given(linear_maps, fractions(), fractions())
def test_linear_fields_of_polynomials_in_one_matrix_commute(a, p, q):
    assert BRACKET(linear_field(a), linear_field(sp.Rational(p) * a**2 + sp.Rational(q) * sp.eye(2))) == ZERO


@given(rationals, rationals, rationals, rationals)
def test_constant_fields_commute(a, b, c, d):
    assert BRACKET(field(a, b), field(c, d)) == ZERO


@given(fields, functions)
def test_a_field_and_its_multiple_have_a_bracket_along_the_field(x, f):
    assert BRACKET(x, plus((f, x))) == plus((SPACE.derivative(x, f), x))


# --- trees in coordinates


series_of_trees = st.dictionaries(coloured_trees(st.integers(1, 3)), fractions(), max_size=2)


@given(series_of_trees, series_of_trees, st.tuples(functions, functions))
@example({tree(1): 1}, {tree(2): 1}, tuple(map(SPACE, (X**2 * Y, X + Y**3))))
def test_the_bracket_of_tree_series_is_the_bracket_of_the_fields_they_stand_for(a, b, losses):
    in_coordinates = [evaluate_field(combine((1, series)), SPACE, losses) for series in (a, b)]
    assert evaluate_field(bracket_of_trees(a, b), SPACE, losses) == BRACKET(*in_coordinates)  # exact


def test_the_swapped_bracket_of_tree_series_is_not_the_bracket_in_coordinates():
    losses = tuple(map(SPACE, (X**2 * Y, X + Y**3)))
    a, b = {tree(1): 1}, {tree(2): 1}
    in_coordinates = [evaluate_field(series, SPACE, losses) for series in (a, b)]
    assert evaluate_field(bracket_of_trees(b, a), SPACE, losses) != BRACKET(*in_coordinates)
