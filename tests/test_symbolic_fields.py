"""Polynomial fields in coordinates against SymPy's own calculus, Picard iteration and the flow's equation."""

from itertools import product

import pytest
import sympy as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commute_verify.errors import CommuteError
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from tests.exact_strategies import expressions, flow_schedules, polynomials, step_schedules, weights

X, Y = PLANE = sp.symbols("x y")
T, U, NOW = sp.symbols("t u now")
SPACE = Coordinates(PLANE, (T, U))
GRADE = sp.Symbol("grade")
FEWER = settings().max_examples // 3

losses = polynomials(SPACE, PLANE, 3)
fields = st.tuples(losses, losses)


def as_expression(p):
    return sp.expand(p.as_expr())


# --- calculus


def is_sympys_gradient(gradient, expression):
    return [p.as_expr() for p in gradient] == [sp.expand(sp.diff(expression, x)) for x in PLANE]


@given(expressions(PLANE, 4))
@example(sp.Integer(0))
@example(sp.Integer(3))
def test_the_gradient_and_the_hessian_are_sympys(expression):
    p = SPACE(expression)
    assert is_sympys_gradient(SPACE.gradient(p), expression)
    hessian = sp.Matrix([[entry.as_expr() for entry in row] for row in SPACE.hessian(p)])
    assert hessian == sp.hessian(expression, PLANE).applyfunc(sp.expand)


@pytest.mark.parametrize(
    "planted", [lambda g: g[::-1], lambda g: [-p for p in g], lambda g: [2 * p for p in g]]
)
def test_a_gradient_with_a_planted_error_is_not_sympys(planted):
    expression = X**2 * Y + 3 * X
    assert is_sympys_gradient(SPACE.gradient(SPACE(expression)), expression)
    assert not is_sympys_gradient(planted(SPACE.gradient(SPACE(expression))), expression)


def dense_bracket(x, y):
    """DY·X − DX·Y with SymPy's Jacobians, rows for components."""
    a, b = (sp.Matrix([p.as_expr() for p in field]) for field in (x, y))
    return list((b.jacobian(PLANE) * a - a.jacobian(PLANE) * b).applyfunc(sp.expand))


@given(fields, fields)
def test_the_bracket_of_any_two_fields_is_the_dense_one_with_jacobians(x, y):
    assert [p.as_expr() for p in SPACE.lie_bracket(x, y)] == dense_bracket(x, y)


@given(losses, losses)
def test_the_bracket_of_two_gradients_is_h2_g1_minus_h1_g2(first, second):
    g1, g2 = (sp.Matrix([p.as_expr() for p in SPACE.gradient(loss)]) for loss in (first, second))
    h1, h2 = (sp.hessian(loss.as_expr(), PLANE) for loss in (first, second))
    bracket = SPACE.lie_bracket(SPACE.gradient(first), SPACE.gradient(second))
    assert [p.as_expr() for p in bracket] == list((h2 * g1 - h1 * g2).applyfunc(sp.expand))


@given(fields, losses, fields)
def test_the_derivative_along_a_field_is_its_inner_product_with_the_gradient(x, f, y):
    assert SPACE.derivative(x, f) == SPACE.inner(x, SPACE.gradient(f))
    assert SPACE.inner(x, y) == SPACE.inner(y, x)


@given(losses, st.integers(0, 3))
def test_the_parts_of_every_grade_add_up_to_the_whole(p, order):
    whole = sum(((k + 1) * p * SPACE.grade**k for k in range(4)), SPACE.ring.zero)
    assert SPACE.graded(whole, order) == (order + 1) * p
    assert SPACE.graded(p, 0) == p


# --- flows


def picard(problem_losses, schedule, order):
    """θ(T) up to ``order`` losses, by iterating θ(s) = θ + ∫ −Σ w_k ∇L_k(θ(s)) ds on each stage."""
    state = list(PLANE)
    for length, stage_weights in schedule.stages:
        drift = [
            -GRADE * sum(w * sp.diff(p, x) for w, p in zip(stage_weights, problem_losses, strict=True))
            for x in PLANE
        ]
        path = state
        for _ in range(order):
            moving = dict(zip(PLANE, path, strict=True))
            rates = [cut(sp.sympify(d).subs(moving, simultaneous=True), order) for d in drift]
            path = [
                x + sp.integrate(rate.subs(LOCAL_TIME, NOW), (NOW, 0, LOCAL_TIME))
                for x, rate in zip(state, rates, strict=True)
            ]
        state = [cut(x.subs(LOCAL_TIME, length), order) for x in path]
    return state


def cut(expression, order):
    p = sp.Poly(sp.expand(expression), GRADE)
    return sum((c * GRADE**k for (k,), c in p.terms() if k <= order), sp.Integer(0))


def stepped(problem_losses, schedule, order):
    """θ after every gradient step in turn, in SymPy expressions."""
    state = list(PLANE)
    for length, stage_weights in schedule.stages:
        for step in range(int(length)):
            here = dict(zip(PLANE, state, strict=True))
            mixture = sum(
                sp.sympify(w).subs(LOCAL_TIME, step) * p
                for w, p in zip(stage_weights, problem_losses, strict=True)
            )
            state = [
                cut(x - GRADE * schedule.step * sp.diff(mixture, v).subs(here, simultaneous=True), order)
                for x, v in zip(state, PLANE, strict=True)
            ]
    return state


def ends_at(space, moved, expected, order):
    return all(
        sp.expand(space.graded(space(0) + m, n).as_expr() - sp.expand(e).coeff(GRADE, n)) == 0
        for m, e in zip(moved, expected, strict=True)
        for n in range(order + 1)
    )


def along(space, problem_losses, schedule, order):
    inside = [space(p) for p in problem_losses]
    return [space.along(x, inside, schedule, order) for x in space.variables]


pairs_of_losses = st.tuples(expressions(PLANE, 3, most=2), expressions(PLANE, 3, most=2))
ROUGH = (X**3 / 3 + X * Y, X * Y**2 + X**2)


@given(pairs_of_losses, flow_schedules(domains=2, stages=st.integers(1, 2), time_degree=1))
@settings(max_examples=FEWER // 2)
@example(ROUGH, SymbolicSchedule.blocks({1: T, 2: U}))
@example(ROUGH, SymbolicSchedule.constant([LOCAL_TIME**2, 1], T))
@example((sp.Integer(0), X), SymbolicSchedule.constant([0, 0], T))
def test_a_flow_is_the_limit_of_picard_iteration(problem_losses, schedule):
    expected = picard(problem_losses, schedule, 3)
    assert ends_at(SPACE, along(SPACE, problem_losses, schedule, 3), expected, 3)  # exact


@given(pairs_of_losses, step_schedules(stages=st.integers(1, 2), steps=st.integers(1, 3), time_degree=1))
@settings(max_examples=FEWER // 2)
@example(ROUGH, SymbolicSchedule.blocks({1: 2, 2: 3}, T))
def test_gradient_steps_are_substituted_one_after_another(problem_losses, schedule):
    expected = stepped(problem_losses, schedule, 3)
    assert ends_at(SPACE, along(SPACE, problem_losses, schedule, 3), expected, 3)  # exact


SWAP, SWAPPED = SymbolicSchedule.blocks({1: T, 2: U}), SymbolicSchedule.blocks({2: U, 1: T})


@pytest.mark.parametrize(
    ("planted_losses", "planted_schedule"),
    [
        (ROUGH, SWAPPED),
        (tuple(-p for p in ROUGH), SWAP),
        (tuple(p / 2 for p in ROUGH), SWAP),
        (ROUGH, SymbolicSchedule(((T, (1, 0)), (U, (0, 0))))),
    ],
    ids=["swapped order", "sign", "factor ½", "missing weight"],
)
def test_a_flow_with_a_planted_error_is_not_where_picard_ends(planted_losses, planted_schedule):
    expected = picard(ROUGH, SWAP, 2)
    assert ends_at(SPACE, along(SPACE, ROUGH, SWAP, 2), expected, 2)
    assert not ends_at(SPACE, along(SPACE, planted_losses, planted_schedule, 2), expected, 2)


def test_the_flow_of_a_linear_loss_is_a_straight_line():
    (x, y) = along(SPACE, (2 * X - Y,), SymbolicSchedule.constant([1], T), 5)
    grade = SPACE.grade
    assert (x, y) == (SPACE(X) - 2 * SPACE(T) * grade, SPACE(Y) + SPACE(T) * grade)


def test_the_flow_of_a_quadratic_is_the_exponential_series():
    (x, y) = along(SPACE, (X**2 / 2 - Y**2,), SymbolicSchedule.constant([1], T), 5)
    for n in range(6):
        assert SPACE.graded(x, n) == SPACE((-T) ** n / sp.factorial(n) * X)
        assert SPACE.graded(y, n) == SPACE((2 * T) ** n / sp.factorial(n) * Y)


def solves_the_flow(moved, f, problem_losses, stage_weights, order):
    """d/dt f(θ(t)) = −Σ w_k(t) ⟨∇f, ∇L_k⟩(θ(t)), one order of the grade at a time."""
    schedule = SymbolicSchedule.constant(stage_weights, T)
    rate = SPACE.ring.zero
    for w, loss in zip(stage_weights, problem_losses, strict=True):
        at_t = SPACE(sp.sympify(w).subs(LOCAL_TIME, T))
        slope = SPACE.inner(SPACE.gradient(f), SPACE.gradient(loss))
        rate -= at_t * SPACE.grade * SPACE.along(slope, problem_losses, schedule, order)
    return all(SPACE.graded(moved, n).diff(SPACE(T)) == SPACE.graded(rate, n) for n in range(order + 1))


@given(losses, st.tuples(losses, losses), weights(2, time_degree=2))
@settings(max_examples=FEWER)
def test_a_function_along_a_flow_changes_as_the_flow_says(f, problem_losses, stage_weights):
    moved = SPACE.along(f, problem_losses, SymbolicSchedule.constant(stage_weights, T), 3)
    assert solves_the_flow(moved, f, problem_losses, stage_weights, 3)  # exact


def test_a_function_along_the_reversed_flow_does_not_change_as_the_flow_says():
    problem_losses, f = tuple(map(SPACE, ROUGH)), SPACE(X * Y)
    stage_weights = (1, LOCAL_TIME)
    for planted in ((-1, -LOCAL_TIME), (LOCAL_TIME, 1), (sp.Rational(1, 2), LOCAL_TIME / 2)):
        moved = SPACE.along(f, problem_losses, SymbolicSchedule.constant(planted, T), 3)
        assert not solves_the_flow(moved, f, problem_losses, stage_weights, 3)


def truncated(p, order):
    return [SPACE.graded(p, n) for n in range(order + 1)]


@given(losses, losses, st.sampled_from([3, 4]))
@settings(max_examples=FEWER)
def test_flowing_twice_is_flowing_for_the_sum_of_the_times(f, loss, order):
    def flow(p, time):
        return SPACE.along(p, [loss], SymbolicSchedule.constant([1], time), order)

    assert truncated(flow(flow(f, T), U), order) == truncated(flow(f, T + U), order)  # exact


@given(losses, st.tuples(losses, losses), st.data())
@settings(max_examples=FEWER)
def test_a_schedule_after_another_is_the_composition_of_the_flows_the_later_one_inside(f, pair, data):
    earlier, later = (data.draw(flow_schedules(2, st.integers(1, 2), time_degree=1)) for _ in range(2))
    whole = SPACE.along(f, pair, earlier.then(later), 3)
    assert truncated(SPACE.along(SPACE.along(f, pair, later, 3), pair, earlier, 3), 3) == truncated(whole, 3)


def test_composing_the_flows_in_the_other_order_is_another_schedule():
    f, pair = SPACE(X), tuple(map(SPACE, ROUGH))
    first, second = SymbolicSchedule.constant([1, 0], T), SymbolicSchedule.constant([0, 1], U)
    wrong = SPACE.along(SPACE.along(f, pair, first, 2), pair, second, 2)
    assert truncated(wrong, 2) != truncated(SPACE.along(f, pair, first.then(second), 2), 2)


@given(st.data())
@settings(max_examples=FEWER)
def test_a_product_along_a_flow_is_the_product_along_it(data):
    f, g, loss = (data.draw(losses) for _ in range(3))
    schedule = SymbolicSchedule.constant([1], T)
    apart = SPACE.along(f, [loss], schedule, 3) * SPACE.along(g, [loss], schedule, 3)
    assert truncated(SPACE.along(f * g, [loss], schedule, 3), 3) == truncated(apart, 3)


COMMUTING = [
    (X**2, Y**2 + Y),
    (X**2 + Y**2, 3 * X**2 + 3 * Y**2),
    (X, Y),
    (X**3 + Y, sp.Integer(0)),
    (X**2 + 4 * X * Y + Y**2, X * Y),
]


@pytest.mark.parametrize(("first", "second"), COMMUTING)
def test_the_flows_of_losses_whose_bracket_is_zero_commute(first, second):
    pair = tuple(map(SPACE, (first, second)))
    assert SPACE.lie_bracket(*map(SPACE.gradient, pair)) == (0, 0)
    for x in map(SPACE, PLANE):
        assert SPACE.along(x, pair, SWAP, 4) == SPACE.along(x, pair, SWAPPED, 4)


def test_the_flows_of_losses_whose_bracket_is_not_zero_do_not_commute():
    pair = tuple(map(SPACE, ROUGH))
    bracket = SPACE.lie_bracket(*map(SPACE.gradient, pair))
    difference = [SPACE.along(x, pair, SWAP, 2) - SPACE.along(x, pair, SWAPPED, 2) for x in map(SPACE, PLANE)]
    assert [SPACE.graded(d, 2) for d in difference] == [SPACE(T * U) * component for component in bracket]


# --- what is refused


@pytest.mark.parametrize("order", [0, -1, 1.5, "2"])
def test_an_order_below_one_or_not_whole_is_refused(order):
    with pytest.raises(CommuteError, match="whole number of at least 1"):
        SPACE.along(SPACE(X), [SPACE(X)], SymbolicSchedule.constant([1], T), order)


def test_a_symbolic_number_of_steps_is_refused_in_coordinates():
    with pytest.raises(CommuteError, match="whole numbers of steps"):
        SPACE.along(SPACE(X), [SPACE(X)], SymbolicSchedule.constant([1], T, U), 2)


@pytest.mark.parametrize(
    ("variables", "parameters"), [((X, X), ()), ((X, Y), (X,)), ((X, LOCAL_TIME), ()), ((X,), (T, T))]
)
def test_symbols_that_mean_two_things_are_refused(variables, parameters):
    with pytest.raises(CommuteError, match="all differ"):
        Coordinates(variables, parameters)


def test_every_pair_of_symbols_and_powers_survives_the_ring():
    for a, b, c in product(range(3), repeat=3):
        expression = X**a * Y**b * T**c
        assert as_expression(SPACE(expression)) == expression
