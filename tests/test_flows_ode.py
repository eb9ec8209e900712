"""ODE flows against closed forms, matrix exponentials and 60-digit Lie series."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from commute_verify.errors import CommuteError
from commute_verify.flows.lie_series import lie_series_flow
from commute_verify.flows.ode import gradient_flow, torch_gradients
from commute_verify.schedules import WeightSchedule

RTOL = 1e-12


def roundoff(actual, expected, growth=1.0):
    """Roundoff: C·rtol·κ with C = 100 for the number of steps, κ = growth·(1 + max|θ|)."""
    return np.abs(actual - np.asarray(expected)).max() <= 100 * RTOL * growth * (1 + np.abs(expected).max())


# two quadratics ½ (θ − b)ᵀ A (θ − b) that do not commute
A = np.array([[[3.0, 1.0], [1.0, 0.5]], [[0.25, -0.5], [-0.5, 2.0]]])
B = np.array([[1.0, -1.0], [0.5, 2.0]])
START = np.array([-1.5, 0.75])
SCHEDULE = WeightSchedule.piecewise(
    [(0.5, {"a": 1.0, "b": 0.0}), (0.25, {"a": 0.25, "b": 0.75}), (1.0, {"a": 0.0, "b": 1.0})]
)


def quadratic_gradients(theta):
    return np.einsum("kij,kj->ki", A, theta - B)


def affine_flow_by_expm(durations, weights):
    """expm of the 3 × 3 affine generator, stage after stage."""
    point = np.append(START, 1.0)
    for duration, w in zip(durations, weights, strict=True):
        generator = np.zeros((3, 3))
        generator[:2, :2] = -np.einsum("k,kij->ij", w, A)
        generator[:2, 2] = np.einsum("k,kij,kj->i", w, A, B)
        point = expm(duration * generator) @ point
    return point[:2]


EXPECTED = affine_flow_by_expm(SCHEDULE.durations, SCHEDULE.weights)


def test_scalar_quadratic_decays_exponentially():
    schedule = WeightSchedule.constant({"a": 0.25, "b": 0.75}, 2.0)
    theta = gradient_flow(lambda x: np.array([x, 3 * x]), schedule, np.array([2.0]))
    assert roundoff(theta, [2 * np.exp(-5.0)])


def test_the_logistic_equation_has_the_logistic_solution():
    theta = gradient_flow(
        lambda x: np.array([x**2 - x]), WeightSchedule.constant({"a": 1.0}, 3.0), np.array([0.1])
    )
    assert roundoff(theta, [1 / (1 + 9 * np.exp(-3.0))])


def test_quadratic_stages_are_matrix_exponentials_in_time_order():
    assert roundoff(gradient_flow(quadratic_gradients, SCHEDULE, START), EXPECTED)


@pytest.mark.parametrize(
    ("gradients", "schedule"),
    [
        (lambda x: -quadratic_gradients(x), SCHEDULE),  # ascent
        (quadratic_gradients, SCHEDULE.reversed()),  # swapped stages
        (lambda x: quadratic_gradients(x)[::-1], SCHEDULE),  # swapped domains
        (quadratic_gradients, SCHEDULE.averaged()),  # missing weights
    ],
)
def test_quadratic_stages_with_a_planted_error_are_not_the_matrix_exponentials(gradients, schedule):
    assert np.abs(gradient_flow(gradients, schedule, START) - EXPECTED).max() > 1e-3
    assert not roundoff(gradient_flow(gradients, schedule, START), EXPECTED)


def test_equal_losses_do_not_feel_the_schedule():
    theta = gradient_flow(lambda x: np.array([x**3, x**3]), SCHEDULE, np.array([1.0]))
    assert roundoff(theta, [(1 + 2 * 1.75) ** -0.5])


def test_a_looser_tolerance_is_a_looser_flow():
    loose = gradient_flow(quadratic_gradients, SCHEDULE, START, rtol=1e-5, atol=1e-5)
    assert not roundoff(loose, EXPECTED)
    assert np.abs(loose - EXPECTED).max() < 1e-3


# --- against the 60-digit flow: losses x⁴/4 + x y²/2 + y²/2, x² y + 3 y²/2, and (x − y)²/2 + x

POLYNOMIAL_FIELDS = [
    [{(3, 0): -1, (0, 2): Fraction(-1, 2)}, {(1, 1): -1, (0, 1): -1}],
    [{(1, 1): -2}, {(2, 0): -1, (0, 1): -3}],
    [{(1, 0): -1, (0, 1): 1, (0, 0): -1}, {(1, 0): 1, (0, 1): -1}],
]
STAGES = [("1/4", ["1/2", "1/4", "1/4"]), ("1/2", [0, 1, 0]), ("1/8", [0, "1/8", "7/8"])]
THREE = WeightSchedule(
    ("a", "b", "c"),
    np.array([0.25, 0.5, 0.125]),
    np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.0, 0.125, 0.875]]),
)
LOSSES = [
    lambda p: p[0] ** 4 / 4 + p[0] * p[1] ** 2 / 2 + p[1] ** 2 / 2,
    lambda p: p[0] ** 2 * p[1] + 3 * p[1] ** 2 / 2,
    lambda p: (p[0] - p[1]) ** 2 / 2 + p[0],
]


@pytest.fixture(scope="module")
def sixty_digits():
    return np.array([float(v) for v in lie_series_flow(POLYNOMIAL_FIELDS, STAGES, ["3/4", "-1/2"])])


def polynomial_gradients(theta):
    x, y = theta
    return np.array([[x**3 + y**2 / 2, x * y + y], [2 * x * y, x**2 + 3 * y], [x - y + 1, y - x]])


@pytest.mark.parametrize("gradients", [polynomial_gradients, torch_gradients(LOSSES)])
def test_polynomial_losses_flow_as_their_lie_series(gradients, sixty_digits):
    assert roundoff(gradient_flow(gradients, THREE, np.array([0.75, -0.5])), sixty_digits)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0]])
def test_exchanged_losses_do_not_flow_as_the_lie_series(order, sixty_digits):
    planted = torch_gradients([LOSSES[k] for k in order])
    assert not roundoff(gradient_flow(planted, THREE, np.array([0.75, -0.5])), sixty_digits)


# --- gradients by autograd


def test_torch_gradients_are_rows_of_float64_in_the_order_of_the_losses():
    theta = np.array([0.3, -1.7])
    rows = torch_gradients(LOSSES)(theta)
    assert rows.dtype == np.float64
    # roundoff: C·eps·κ, κ = 10 bounds the terms
    assert np.abs(rows - polynomial_gradients(theta)).max() <= 8 * np.finfo(np.float64).eps * 10


def test_torch_gradients_leave_theta_alone():
    theta = np.array([1.0, 2.0])
    torch_gradients([lambda p: (p * 2).sum()])(theta)
    assert theta.tolist() == [1.0, 2.0]  # exact


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p: p, "loss 1 returns"),
        (lambda p: 1.0, "loss 1 returns 1.0"),
        (lambda p: p.float().sum(), "scalar tensor in float64"),
        (lambda p: p.sum() * 1j, "loss 1 returns"),
        (lambda p: p.detach().sum(), "loss 1 does not depend on theta"),
        (
            lambda p: torch.ones((), dtype=torch.float64, requires_grad=True) * 2,
            "loss 1 does not depend on theta",
        ),
    ],
)
def test_a_torch_loss_of_another_kind_is_refused_by_its_index(loss, message):
    with pytest.raises(CommuteError, match=message):
        torch_gradients([lambda p: p.sum(), loss])(np.ones(2))


# --- bad input

ONE = WeightSchedule.constant({"a": 1.0}, 1.0)


@pytest.mark.parametrize(
    ("gradients", "theta0", "message"),
    [
        (lambda x: np.array([x, x]), [1.0], r"have shape \(2, 1\): expected \(1, 1\)"),
        (lambda x: x, [1.0], r"have shape \(1,\)"),
        (
            lambda x: np.array([x * np.nan]),
            [1.0],
            r"gradients of \['a'\] at the start of stage 0 are not finite",
        ),
        (lambda x: np.array([x]), [[1.0]], "give a vector"),
        (lambda x: np.array([x]), [], "give a vector"),
        (lambda x: np.array([x]), [np.inf], "finite real numbers"),
        (lambda x: np.array([x]), ["1"], "finite real numbers"),
        (lambda x: np.array([x]), [1j], "finite real numbers"),
        (lambda x: np.array([-(x**2)]), [2.0], "the flow of stage 0 stops at 0.5 of 1"),
    ],
)
def test_bad_input_is_refused_with_one_clear_error(gradients, theta0, message):
    with pytest.raises(CommuteError, match=message):
        gradient_flow(gradients, ONE, theta0)


def test_a_flow_that_runs_away_names_its_stage():
    stages = ONE.then(ONE)
    with pytest.raises(CommuteError, match=r"the flow of stage 1 stops at 0\.5"):
        gradient_flow(lambda x: np.array([-(x**2)]), stages, np.array([1 / 1.5]))


def test_a_loss_that_ends_inside_a_stage_names_the_stage():
    def square_root(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.array([np.where(x > 0, 1 / np.sqrt(x), np.nan)])

    with pytest.raises(CommuteError, match="the flow of stage 0 stops at"):
        gradient_flow(square_root, ONE, np.array([0.5]))


@pytest.mark.parametrize("tolerances", [{"rtol": 1e-15}, {"rtol": np.nan}, {"atol": -1.0}])
def test_a_tolerance_that_cannot_be_held_is_refused(tolerances):
    with pytest.raises(CommuteError, match="give rtol ≥ 100 eps"):
        gradient_flow(lambda x: np.array([x]), ONE, np.array([1.0]), **tolerances)
