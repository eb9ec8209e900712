"""Order 3 and frozen curvature, as their proofs hold them, against flows that know no formula.

A formula that is right to order p − 1 leaves an error of order p: its slope is held from both sides for fixed
losses, where each planted neighbour loses it, and from below for random ones.
"""

from fractions import Fraction
from importlib import import_module

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from commute_verify.symbolic.expansions import loss_series
from commute_verify.symbolic.iterated import signature
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import combine, criterion, inner, lie_bracket, order, tree
from tests.exact_flows import (
    FEW,
    HALF,
    ONE,
    PLANE,
    ROUGH,
    START,
    TARGET,
    TWO,
    cubics,
    descent,
    ends,
    excess,
    fields_at_start,
    flown,
    is_order,
    loss_at_start,
    order_of_error,
    planted,
    polynomial,
    printed,
    rational,
    real,
    value,
)

third_order = import_module("proofs.23_third_order")
frozen_curvature = import_module("proofs.24_frozen_curvature")


# --- order 3


def order_3_error(data, losses, target, stages):
    exact = tuple((rational(length), tuple(map(rational, weights))) for length, weights in stages)
    S = {word: c.as_expr() for word, c in signature(SymbolicSchedule(exact), 3).items()}
    areas = combine(*(((S[i, j] - S[j, i]) / 2, criterion(i, j)) for i, j in ((1, 2), (1, 3), (2, 3))))
    second = loss_at_start(areas, losses, target)
    third = loss_at_start(third_order.claimed(data, S), losses, target)
    return lambda h: excess(target, losses, stages, h) - real(second * h**2) - real(third * h**3)


parts = st.builds(Fraction, st.integers(0, 3), st.integers(1, 3))
lengths = st.builds(Fraction, st.integers(1, 3), st.integers(1, 2))
stage_lists = st.lists(st.tuples(lengths, st.tuples(parts, parts, parts)), min_size=1, max_size=3)
STAGES = [(1, (1, HALF, 0)), (HALF, (0, 1, 2)), (1, (Fraction(1, 3), 0, 1))]


@given(st.tuples(cubics, cubics, cubics), cubics, stage_lists)
@FEW
def test_order_3_leaves_an_error_of_order_4_for_any_schedule(losses, target, stages):
    assert order_of_error(order_3_error(printed("order-3"), losses, target, stages)) > 3.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 4), (planted, 3)])
def test_order_3_is_right_and_its_neighbour_is_not(data, p):
    assert is_order(order_of_error(order_3_error(data("order-3"), ROUGH, TARGET, STAGES)), p)  # order


def both_orders_error(data, losses, target):
    bracket = lie_bracket({tree(1): 1, tree(2): -1}, lie_bracket({tree(1): 1}, {tree(2): 1}))
    both = loss_at_start(inner(bracket), losses, target) * data.subs(third_order.Dt, 1)

    def error(h):
        orders = ([(1, ONE), (1, TWO)], [(1, TWO), (1, ONE)])
        return sum(excess(target, losses, stages, h) for stages in orders) - real(both * h**3)

    return error


@given(st.tuples(cubics, cubics), cubics)
@FEW
def test_the_two_orders_of_a_swap_cancel_up_to_order_3(losses, target):
    assert order_of_error(both_orders_error(printed("both-orders-order-3"), losses, target)) > 3.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 4), (planted, 3)])
def test_a_wrong_sign_of_what_both_orders_share_is_seen(data, p):
    error = both_orders_error(data("both-orders-order-3"), ROUGH[:2], TARGET)
    assert is_order(order_of_error(error), p)  # order


# --- frozen curvature


def quadratic_model(loss, at=START):
    """The loss's Taylor polynomial of degree 2 at a point."""
    s, d = sp.Symbol("s"), dict(zip(PLANE, map(rational, at), strict=True))
    along = sp.expand(loss.subs({x: d[x] + s * x for x in PLANE}, simultaneous=True))
    model = sum(along.coeff(s, k) for k in range(3))
    return sp.expand(model.subs({x: x - d[x] for x in PLANE}, simultaneous=True))


def frozen_flow_error(power, losses, stages):
    exact = SymbolicSchedule(tuple((rational(a), tuple(map(rational, w))) for a, w in stages))
    series = frozen_curvature.frozen(exact, power)
    by_order = [
        fields_at_start({t: c for t, c in series.items() if order(t) == k}, losses) for k in range(1, 5)
    ]
    models = [descent(quadratic_model(loss)) for loss in losses]

    def error(h):
        end = flown(models, [(h * length, weights) for length, weights in stages])
        moved = [sum(by_order[k][i] * h ** (k + 1) for k in range(4)) for i in range(2)]
        return max(abs(x - real(s + d)) for x, s, d in zip(end, START, moved, strict=True))

    return error


@given(
    st.tuples(cubics, cubics), st.lists(st.tuples(lengths, st.tuples(parts, parts)), min_size=1, max_size=3)
)
@FEW
def test_the_frozen_series_is_the_flow_of_the_quadratic_models(losses, stages):
    power, _ = printed("frozen-curvature")
    assert order_of_error(frozen_flow_error(power, losses, stages)) > 4.99  # order


@pytest.mark.parametrize(("halved", "p"), [(1, 5), (frozen_curvature.j, 3)])
def test_phi_functions_without_their_factorials_are_seen(halved, p):
    power = frozen_curvature.t**frozen_curvature.j / sp.factorial(frozen_curvature.j)
    wrong = power * sp.factorial(frozen_curvature.j) / halved if halved != 1 else power
    stages = [(1, (1, HALF)), (HALF, (0, 1))]
    assert is_order(order_of_error(frozen_flow_error(wrong, ROUGH[:2], stages)), p)  # order


def frozen_steps_error(power, losses, counts):
    """Gradient steps on the quadratic models in exact fractions, less the frozen series to order 4 in η."""
    stages = tuple((m, w) for m, w in zip(counts, (ONE, (HALF, HALF)), strict=True))
    schedule = SymbolicSchedule(tuple((m, tuple(map(rational, w))) for m, w in stages))
    models = [quadratic_model(loss) for loss in losses]
    gradients = [[polynomial(model.diff(x)) for x in PLANE] for model in models]
    vectors = frozen_curvature.frozen(schedule, power.subs(frozen_curvature.eta, 1))
    by_order = [
        fields_at_start({t: c for t, c in vectors.items() if order(t) == k}, models) for k in range(1, 5)
    ]

    def exact(terms, theta):
        return sum(c * theta[0] ** a * theta[1] ** b for (a, b), c in terms.items())

    def error(h):
        theta = START
        for m, weights in stages:
            for _ in range(m):
                slopes = [[exact(c, theta) for c in gradient] for gradient in gradients]
                moves = [sum(w * g[i] for w, g in zip(weights, slopes, strict=True)) for i in range(2)]
                theta = tuple(x - h * move for x, move in zip(theta, moves, strict=True))
        moved = [sum(by_order[k][i] * h ** (k + 1) for k in range(4)) for i in range(2)]
        return max(abs(real(x) - real(s + d)) for x, s, d in zip(theta, START, moved, strict=True))

    return error


@given(st.tuples(cubics, cubics), st.tuples(st.integers(1, 4), st.integers(1, 4)))
@FEW
def test_the_frozen_steps_are_the_steps_on_the_quadratic_models(losses, counts):
    power, _ = printed("frozen-steps")
    assert order_of_error(frozen_steps_error(power, losses, counts)) > 4.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 5), (planted, 2)])
def test_the_exponential_is_not_the_power_of_a_step(data, p):
    assert is_order(
        order_of_error(frozen_steps_error(data("frozen-steps")[0], ROUGH[:2], (3, 4))), p
    )  # order


def frozen_target_error(data, losses, target, stages):
    """The target's quadratic model where the losses' quadratic models end, less the kept trees to order 3."""
    exact = SymbolicSchedule(tuple((rational(a), tuple(map(rational, w))) for a, w in stages))
    series = frozen_curvature.kept(loss_series(exact, 3), *data)
    by_order = [
        loss_at_start({t: c for t, c in series.items() if order(t) == k}, losses, target) for k in (1, 2, 3)
    ]
    models, model = [descent(quadratic_model(loss)) for loss in losses], quadratic_model(target)

    def error(h):
        end = flown(models, [(h * length, weights) for length, weights in stages])
        seen = value(model, end) - value(model, [real(x) for x in START])
        return seen - sum(real(c * h**k) for k, c in enumerate(by_order, start=1))

    return error


@given(
    st.tuples(cubics, cubics),
    cubics,
    st.lists(st.tuples(lengths, st.tuples(parts, parts)), min_size=1, max_size=2),
)
@FEW
def test_a_quadratic_target_has_two_branches_at_the_root_and_one_elsewhere(losses, target, stages):
    error = frozen_target_error(printed("frozen-target"), losses, target, stages)
    assert order_of_error(error) > 3.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 4), (planted, 2)])
def test_a_target_without_its_curvature_is_seen(data, p):
    stages = [(1, (1, HALF)), (HALF, (0, 1))]
    error = frozen_target_error(data("frozen-target"), ROUGH[:2], TARGET, stages)
    assert is_order(order_of_error(error), p)  # order


def first_error_error(data, losses):
    left_out = fields_at_start(data, losses)
    swap = [(1, ONE), (1, TWO)]

    def error(h):
        true, model = (
            [a - b for a, b in zip(*ends(some, swap, h), strict=True)]
            for some in (losses, [quadratic_model(loss) for loss in losses])
        )
        return max(abs(a - b - real(c * h**3)) for a, b, c in zip(true, model, left_out, strict=True))

    return error


@given(st.tuples(cubics, cubics))
@FEW
def test_frozen_curvature_leaves_out_third_derivatives_first(losses):
    assert order_of_error(first_error_error(printed("frozen-first-error"), losses)) > 3.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 4), (planted, 3)])
def test_a_wrong_sign_of_a_third_derivative_is_seen(data, p):
    assert is_order(order_of_error(first_error_error(data("frozen-first-error"), ROUGH[:2])), p)  # order


def taken_anew_error(left_out, loss):
    """One part of the midpoint rule, its middle to order 2: an error of order 3 there comes in at order 5."""
    g = [loss.diff(x) for x in PLANE]
    d = dict(zip(PLANE, map(rational, START), strict=True))
    once = [sp.expand(-c).subs(d) for c in g]
    twice = [sum(c.diff(x) * y for x, y in zip(PLANE, g, strict=True)).subs(d) for c in g]
    missing = fields_at_start({frozen_curvature.third(1, 1, 1): left_out}, (loss,))

    def error(h):
        r = rational(h)
        middle = [
            Fraction(str(rational(s) + r / 2 * a + r**2 / 8 * b))
            for s, a, b in zip(START, once, twice, strict=True)
        ]
        true, model = (flown([descent(one)], [(h, (1,))]) for one in (loss, quadratic_model(loss, middle)))
        return max(abs(a - b - real(c * h**3)) for a, b, c in zip(true, model, missing, strict=True))

    return error


@given(cubics)
@FEW
def test_the_models_of_the_middle_leave_out_a_quarter_of_what_those_of_the_start_do(loss):
    left_out = printed("frozen-anew").subs(frozen_curvature.parts, 1)
    assert order_of_error(taken_anew_error(left_out, loss)) > 3.99  # order


@pytest.mark.parametrize(("factor", "p"), [(1, 4), (-1, 3)])
def test_a_wrong_sign_of_what_is_left_out_is_seen(factor, p):
    left_out = factor * printed("frozen-anew").subs(frozen_curvature.parts, 1)
    assert is_order(order_of_error(taken_anew_error(left_out, ROUGH[0])), p)  # order
