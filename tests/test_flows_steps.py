"""Gradient steps against their own closed form, their order towards the flow, and the swap of two blocks."""

import numpy as np
import pytest

from commute_verify.errors import CommuteError
from commute_verify.flows.steps import gradient_steps
from commute_verify.schedules import WeightSchedule

# two quadratics ½ (θ − b)ᵀ A (θ − b) that do not commute, with dyadic numbers
A = np.array([[[1.0, 0.5], [0.5, 0.5]], [[0.25, -0.5], [-0.5, 2.0]]])
B = np.array([[1.0, -1.0], [0.5, 2.0]])
START = np.array([-1.5, 0.75])


def quadratic_gradients(theta):
    return np.einsum("kij,kj->ki", A, theta - B)


def logistic(x):
    return np.array([x**2 - x])


def order_of(step_rule):
    """Last slope of log error against the logistic solution at T = 2, on n = 64, 128, …, 512 steps."""
    exact = 1 / (1 + 4 * np.exp(-2.0))
    errors = [abs(step_rule(n)[0] - exact) for n in (64, 128, 256, 512)]
    return np.log2(errors[-2] / errors[-1])


def is_order(slope, p):
    """Order: the slope is p, and neither p − 1 nor p + 1; every error is far above eps·n."""
    return abs(slope - p) < 0.1


def euler(n):
    return gradient_steps(logistic, WeightSchedule.constant({"a": 1.0}, n), np.array([0.2]), 2.0 / n)


def test_steps_converge_to_the_flow_at_order_one_and_not_two():
    assert is_order(order_of(euler), 1)


def ascent(n):
    return gradient_steps(
        lambda x: -logistic(x), WeightSchedule.constant({"a": 1.0}, n), np.array([0.2]), 2.0 / n
    )


def one_step_short(n):
    return gradient_steps(logistic, WeightSchedule.constant({"a": 1.0}, n // 2), np.array([0.2]), 2.0 / n)


def midpoint(n):
    def gradients(x):
        return logistic(x - logistic(x)[0] / n)

    return gradient_steps(gradients, WeightSchedule.constant({"a": 1.0}, n), np.array([0.2]), 2.0 / n)


@pytest.mark.parametrize(("planted", "order"), [(ascent, 0), (one_step_short, 0), (midpoint, 2)])
def test_the_order_tells_another_rule_from_gradient_steps(planted, order):
    assert is_order(order_of(planted), order)


def test_steps_on_a_scalar_quadratic_are_powers():
    schedule = WeightSchedule.constant({"a": 0.5, "b": 0.5}, 5)
    theta = gradient_steps(lambda x: np.array([x, 3 * x]), schedule, np.array([1.0]), 0.25)
    assert theta.tolist() == [0.5**5]  # exact


def test_each_step_takes_its_own_learning_rate_and_weights():
    schedule = WeightSchedule.piecewise([(1, {"a": 1.0, "b": 0.0}), (2, {"a": 0.0, "b": 1.0})])
    theta = gradient_steps(lambda x: np.array([x, x - 1]), schedule, np.array([1.0]), [0.5, 0.25, 0.0])
    assert theta.tolist() == [0.5 - 0.25 * (0.5 - 1)]  # exact


def by_hand(order, eta):
    """Two steps of each block, written out."""
    theta = START
    for k in order:
        theta = theta - eta * (A[k] @ (theta - B[k]))
    return theta


AHEAD = WeightSchedule.blocks({"a": 2, "b": 2})


def follows(schedule, gradients=quadratic_gradients):
    """Exact: a few dyadic steps are not rounded."""
    return gradient_steps(gradients, schedule, START, 0.5).tolist() == by_hand([0, 0, 1, 1], 0.5).tolist()


def test_blocks_are_stepped_in_time_order():
    assert follows(AHEAD)


@pytest.mark.parametrize(
    ("schedule", "gradients"),
    [
        (AHEAD.reversed(), quadratic_gradients),  # swapped stages
        (AHEAD.averaged(), quadratic_gradients),  # missing weights
        (AHEAD, lambda x: -quadratic_gradients(x)),  # ascent
        (AHEAD, lambda x: quadratic_gradients(x)[::-1]),  # swapped domains
    ],
)
def test_blocks_with_a_planted_error_are_not_the_steps_by_hand(schedule, gradients):
    assert not follows(schedule, gradients)


def swap_slope(n, bracket, step_term):
    """Slope in η of θ_12 − θ_base − ½ n² η² (H2 g1 − H1 g2)·bracket + ¼ n η² (H1 − H2)(g1 − g2)·step_term."""
    g1, g2 = quadratic_gradients(START)
    excess = n**2 / 2 * bracket * (A[1] @ g1 - A[0] @ g2) - n / 4 * step_term * (A[0] - A[1]) @ (g1 - g2)
    swap = WeightSchedule.blocks({"a": n, "b": n})
    errors = []
    for power in (8, 9, 10, 11):
        eta = 2.0**-power
        ends = [gradient_steps(quadratic_gradients, s, START, eta) for s in (swap, swap.averaged())]
        errors.append(np.abs(ends[0] - ends[1] - eta**2 * excess).max())
    return np.log2(errors[-2] / errors[-1])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_swapped_steps_are_the_bracket_and_a_term_of_single_steps_to_order_three(n):
    assert is_order(swap_slope(n, 1, 1), 3)


@pytest.mark.parametrize(("bracket", "step_term"), [(-1, 1), (2, 1), (1, 0), (1, -1), (1, 2)])
def test_another_sign_or_factor_of_either_term_collapses_the_slope(bracket, step_term):
    assert is_order(swap_slope(2, bracket, step_term), 2)


@pytest.mark.parametrize(
    ("duration", "rate", "message"),
    [
        (2.5, 0.1, "give whole numbers of steps"),
        (2, [0.1], "one for each of 2 steps"),
        (2, [[0.1, 0.1]], "one for each of 2 steps"),
        (2, "0.1", "one for each of 2 steps"),
        (2, -0.1, "give finite rates ≥ 0"),
        (2, [0.1, np.nan], "give finite rates ≥ 0"),
        (2, np.inf, "give finite rates ≥ 0"),
    ],
)
def test_bad_durations_and_learning_rates_are_refused(duration, rate, message):
    schedule = WeightSchedule.constant({"a": 1.0}, duration)
    with pytest.raises(CommuteError, match=message):
        gradient_steps(logistic, schedule, np.array([1.0]), rate)


def test_a_gradient_that_is_not_finite_names_the_step_and_the_domain():
    with pytest.raises(CommuteError, match=r"gradients of \['b'\] of step 1 are not finite"):
        gradient_steps(lambda x: np.array([x, np.where(x == 0.5, np.nan, x)]), AHEAD, np.array([1.0]), 0.5)


def test_steps_that_leave_every_bound_name_the_step():
    with pytest.raises(CommuteError, match=r"theta after step 1 is .* give a smaller learning_rate"):
        gradient_steps(
            lambda x: np.array([x]), WeightSchedule.constant({"a": 1.0}, 3), np.array([1.0]), 1e200
        )


def test_theta0_is_left_alone():
    start = np.array([1.0])
    gradient_steps(logistic, WeightSchedule.constant({"a": 1.0}, 3), start, 0.5)
    assert start.tolist() == [1.0]  # exact
