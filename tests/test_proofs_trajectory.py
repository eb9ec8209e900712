"""First variation, costate and preconditioned bracket, as their proofs hold them, against 45-digit flows."""

from fractions import Fraction
from importlib import import_module

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from tests.exact_flows import (
    DIGITS,
    FEW,
    PLANE,
    ROUGH,
    START,
    TARGET,
    cubics,
    descent,
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

first_variation = import_module("proofs.25_first_variation")

LENGTH = Fraction(1, 200)
WEIGHTS = (HALF := Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))
COVECTOR = sp.symbols("p1 p2")
NOISE = "1e-30"  # 45 digits, divided by h²


# --- the costate, by a flow of its own: θ and p together, back from the end


def costate(losses, target, start, length, sign=1):
    """p at the start, from p = ∇L at the end and p' = sign · H_w p, run backwards beside θ."""
    mixture = sum(rational(w) * loss for w, loss in zip(WEIGHTS, losses, strict=True))
    slopes = [mixture.diff(x) for x in PLANE]
    carried = [-sign * paired(COVECTOR, [slope.diff(x) for x in PLANE]) for slope in slopes]
    end = flown([descent(loss) for loss in losses], [(length, WEIGHTS)], start)
    covector = [value(target.diff(x), end) for x in PLANE]
    field = [polynomial(f, (*PLANE, *COVECTOR)) for f in (*slopes, *carried)]
    return flown([field], [(length, [1])], digits_of((*end, *covector)))[2:]


def digits_of(point):
    """The same numbers, exactly as many digits as were computed."""
    return [Fraction(mp.nstr(c, DIGITS)) for c in point]


def paired(covector, vector):
    return sum(a * b for a, b in zip(covector, vector, strict=True))


def gradient(loss, theta):
    return [value(loss.diff(x), theta) for x in PLANE]


def variation_error(data, losses, target, k):
    """[L after w + h e_k for a time h, less L without] / h², less ⟨p, v_k⟩ by the printed signs."""
    sign, descends = data
    fields = [descent(loss) for loss in losses]

    def error(h):
        more = [w + h * (i == k) for i, w in enumerate(WEIGHTS)]
        runs = [(h, more), (LENGTH - h, WEIGHTS)], [(LENGTH, WEIGHTS)]
        bumped, plain = (value(target, flown(fields, stages)) for stages in runs)
        p = costate(losses, target, START, LENGTH, sign)
        g = gradient(losses[k], [real(x) for x in START])
        return (bumped - plain) / real(h) ** 2 - descends * paired(p, g)

    return error


@given(st.tuples(cubics, cubics, cubics), cubics, st.integers(0, 2))
@FEW
def test_a_little_more_of_a_domain_does_what_the_costate_says(losses, target, k):
    error = variation_error(printed("first-variation"), losses, target, k)
    assert order_of_error(error, NOISE) > 0.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 1), (planted, 0)])
def test_a_costate_that_is_carried_the_wrong_way_is_seen(data, p):
    error = variation_error(data("first-variation"), ROUGH, TARGET, 0)
    assert is_order(order_of_error(error, NOISE), p)  # order


def slope_error(data, losses, target):
    """The change of ⟨p, v_1 − v_2⟩ in a time h, over h, less ⟨p, the printed field⟩ at the start."""
    numbers = dict(zip(first_variation.W, map(rational, WEIGHTS), strict=True))
    field = fields_at_start({t: sp.sympify(c).subs(numbers) for t, c in data.items()}, losses)
    apart = losses[1] - losses[0]  # v_1 − v_2 = ∇(L_2 − L_1)

    def error(h):
        now = [real(x) for x in START]
        later = flown([descent(loss) for loss in losses], [(h, WEIGHTS)])
        p = costate(losses, target, START, LENGTH)
        p_later = costate(losses, target, digits_of(later), LENGTH - h)
        change = paired(p_later, gradient(apart, later)) - paired(p, gradient(apart, now))
        return change / real(h) - paired(p, map(real, field))

    return error


@given(st.tuples(cubics, cubics, cubics), cubics)
@FEW
def test_the_variation_changes_in_time_by_the_bracket_with_the_costate(losses, target):
    assert order_of_error(slope_error(printed("costate-bracket"), losses, target), NOISE) > 0.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 1), (planted, 0)])
def test_the_wrong_sign_of_that_bracket_is_seen(data, p):
    assert is_order(order_of_error(slope_error(data("costate-bracket"), ROUGH, TARGET), NOISE), p)  # order


def limit_error(data, losses, target):
    """The change of ⟨p, v_1 − v_2⟩ in the last time h of training, over h, less the printed criterion."""
    numbers = dict(zip(first_variation.W, map(rational, WEIGHTS), strict=True))
    claimed = loss_at_start({t: sp.sympify(c).subs(numbers) for t, c in data.items()}, losses, target)
    apart = losses[1] - losses[0]

    def error(h):
        end = flown([descent(loss) for loss in losses], [(h, WEIGHTS)])
        before = paired(costate(losses, target, START, h), gradient(apart, [real(x) for x in START]))
        return (paired(gradient(target, end), gradient(apart, end)) - before) / real(h) - real(claimed)

    return error


@given(st.tuples(cubics, cubics, cubics), cubics)
@FEW
def test_at_the_end_of_training_the_slope_is_the_criterion(losses, target):
    assert order_of_error(limit_error(printed("criterion-as-limit"), losses, target), NOISE) > 0.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 1), (planted, 0)])
def test_the_criterion_of_a_pair_alone_is_not_that_of_the_mixture(data, p):
    error = limit_error(data("criterion-as-limit"), ROUGH, TARGET)
    assert is_order(order_of_error(error, NOISE), p)  # order


# --- a preconditioned flow


def preconditioned_error(data, losses, target, D):
    """L(θ_12) − L(θ_base) under θ' = −D g, less ½ h² times the printed bracket on ∇L."""
    outer, inner, sign = data
    D = sp.Matrix(D)
    g = [sp.Matrix([loss.diff(x) for x in PLANE]) for loss in losses]
    H = [sp.hessian(loss, PLANE) for loss in losses]
    bracket = D**outer * (H[1] * D**inner * g[0] + sign * H[0] * D**inner * g[1])
    slopes = sp.Matrix([target.diff(x) for x in PLANE])
    half = bracket.dot(slopes).subs(dict(zip(PLANE, map(rational, START), strict=True))) / 2
    fields = [[polynomial(-c) for c in D * vector] for vector in g]

    def error(h):
        swap, base = flown(fields, [(h, (1, 0)), (h, (0, 1))]), flown(fields, [(2 * h, (HALF, HALF))])
        return value(target, swap) - value(target, base) - real(half * h**2)

    return error


matrices = st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=2, max_size=2)


@given(st.tuples(cubics, cubics), cubics, matrices)
@FEW
def test_the_preconditioned_bracket_is_the_effect_of_a_swap(losses, target, D):
    error = preconditioned_error(printed("preconditioned-bracket"), losses, target, D)
    assert order_of_error(error) > 2.99  # order


@pytest.mark.parametrize(
    ("data", "p"), [((1, 1, -1), 3), ((1, 0, -1), 2), ((0, 1, -1), 2), ((1, 1, 1), 2)], ids=str
)
def test_each_preconditioner_and_the_sign_are_needed(data, p):
    error = preconditioned_error(data, ROUGH[:2], TARGET, [[1, 2], [-1, 3]])
    assert is_order(order_of_error(error), p)  # order
