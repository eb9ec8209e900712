"""Exact affine flows against 60-digit and float64 matrix exponentials that know nothing of them."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.linalg import expm

from commute_verify.errors import CommuteError
from commute_verify.flows.affine import Quadratics, Spectrum, affine_flow

EPS = np.finfo(np.float64).eps


def rotation(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def symmetric(eigenvalues, seed=0):
    Q = rotation(len(eigenvalues), seed)
    H = (Q * np.asarray(eigenvalues)) @ Q.T
    return (H + H.T) / 2


CASES = {
    "random": symmetric([0.3, 0.9, 1.7, 2.2, 4.0]),
    "singular": symmetric([0.0, 0.0, 0.5, 1.0, 3.0]),
    "exactly singular": np.diag([0.0, 0.0, 2.0, 0.0, 1.0]),
    "indefinite": symmetric([-2.0, -0.4, 0.0, 0.6, 3.0]),
    "tiny eigenvalues": symmetric([1e-300, 1e-18, 1e-12, 1e-6, 1.0]),
    "tiny and negative": np.diag([-1e-17, 5e-324, -1e-9, 1e-8, 2.0]),
    "geometric spectrum": symmetric(0.7 ** np.arange(5)),
    "zero": np.zeros((5, 5)),
}
GRADIENT = np.array([1.0, -2.0, 0.5, 3.0, -0.25])
TIMES = [1e-9, 0.1, 1.0, 7.0, -1.5]


def sixty_digit_displacement(hessian, gradient, time):
    """Last column of exp(t [[−H, −g], [0, 0]])."""
    n = len(gradient)
    with mpmath.workdps(60):
        generator = mpmath.zeros(n + 1)
        for i in range(n):
            generator[i, n] = -mpmath.mpf(float(gradient[i])) * time
            for j in range(n):
                generator[i, j] = -mpmath.mpf(float(hessian[i, j])) * time
        exponential = mpmath.expm(generator)
        return np.array([float(exponential[i, n]) for i in range(n)])


def roundoff(hessian, gradient, time):
    """eps·κ: the gradient's length carried by e^{−tH}, times the terms that add up."""
    norm = np.linalg.norm(hessian, 2)
    lowest = min(0.0, float(np.min(np.linalg.eigvalsh(hessian)) * np.sign(time)))
    growth = np.exp(-abs(time) * lowest) if time > 0 else np.exp(abs(time) * norm)
    return EPS * len(gradient) * (1 + abs(time) * norm) * growth * abs(time) * np.linalg.norm(gradient)


def assert_is_the_flow(displacement, hessian, gradient, time):
    error = np.max(np.abs(displacement - sixty_digit_displacement(hessian, gradient, time)))
    assert error <= 4 * roundoff(hessian, gradient, time)  # roundoff: C = 4, κ as in roundoff()


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", CASES)
def test_the_flow_is_the_sixty_digit_exponential_to_roundoff(name, time):
    hessian = CASES[name]
    assert_is_the_flow(affine_flow(hessian, GRADIENT, time), hessian, GRADIENT, time)


def ascent(hessian, gradient, time):
    return -affine_flow(-hessian, gradient, time)


def transposed_eigenvectors(hessian, gradient, time):
    spectrum = Spectrum.of(hessian)
    return Spectrum(spectrum.values, spectrum.vectors.T).displacement(gradient, time)


def phi1_without_the_half(hessian, gradient, time):
    return -time * (gradient - time * hessian @ gradient)


def exponential_without_phi1(hessian, gradient, time):
    return -time * expm(-time * hessian) @ gradient


PLANTED = [ascent, transposed_eigenvectors, phi1_without_the_half, exponential_without_phi1]


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("name", ["random", "singular", "indefinite", "geometric spectrum"])
def test_the_check_rejects_a_planted_error(planted, name):
    hessian = CASES[name]
    with pytest.raises(AssertionError):
        assert_is_the_flow(planted(hessian, GRADIENT, 0.1), hessian, GRADIENT, 0.1)


def test_a_batch_is_the_same_as_one_flow_at_a_time_and_as_scipys_exponential():
    rng = np.random.default_rng(1)
    hessians = np.stack([symmetric(rng.uniform(-1, 3, size=6), seed) for seed in range(12)]).reshape(
        3, 4, 6, 6
    )
    gradients, times = rng.normal(size=(3, 4, 6)), rng.uniform(0.1, 2.0, size=(3, 4))
    together = affine_flow(hessians, gradients, times)
    assert together.shape == (3, 4, 6)
    for at in np.ndindex(3, 4):
        alone = affine_flow(hessians[at], gradients[at], times[at])
        assert np.array_equal(together[at], alone)  # exact
        generator = np.zeros((7, 7))
        generator[:6, :6], generator[:6, 6] = -hessians[at], -gradients[at]
        by_scipy = expm(times[at] * generator)[:6, 6]
        growth = np.exp(times[at] * np.linalg.norm(generator, 2))
        assert np.max(np.abs(alone - by_scipy)) <= 16 * EPS * growth  # roundoff: C = 16, κ = e^{t‖G‖}


eigenvalue = st.one_of(st.just(0.0), st.floats(-2.0, 2.0), st.sampled_from([1e-18, -1e-18, 5e-324]))


@given(
    eigenvalues=st.lists(eigenvalue, min_size=1, max_size=6),
    t1=st.floats(0.0, 2.0),
    t2=st.floats(0.0, 2.0),
    seed=st.integers(0, 10),
)
@example(eigenvalues=[0.0], t1=0.0, t2=0.0, seed=0)
def test_flowing_t1_and_then_t2_is_flowing_their_sum(eigenvalues, t1, t2, seed):
    hessian = symmetric(eigenvalues, seed)
    gradient = np.random.default_rng(seed).normal(size=len(eigenvalues))
    first = affine_flow(hessian, gradient, t1)
    second = affine_flow(hessian, gradient + hessian @ first, t2)
    together = affine_flow(hessian, gradient, t1 + t2)
    # roundoff: C = 64, κ = e^{(t1+t2)‖H‖} n |g|
    scale = np.exp((t1 + t2) * np.linalg.norm(hessian, 2)) * len(gradient) * np.linalg.norm(gradient)
    assert np.max(np.abs(first + second - together)) <= 64 * EPS * scale


def ladder_slopes(error, times):
    return np.diff(np.log(error)) / np.diff(np.log(times))


@pytest.mark.parametrize(("terms", "order"), [(1, 2), (2, 3), (3, 4)])
def test_each_taylor_term_of_descent_raises_the_order_by_one_and_no_more(terms, order):
    hessian = CASES["indefinite"]
    times = 2.0 ** -np.arange(4, 9)
    taylor = [-GRADIENT, hessian @ GRADIENT / 2, -hessian @ hessian @ GRADIENT / 6]
    error = [
        np.linalg.norm(
            affine_flow(hessian, GRADIENT, t) - sum(t ** (m + 1) * taylor[m] for m in range(terms))
        )
        for t in times
    ]
    slope = ladder_slopes(error, times)[-1]
    assert order - 0.1 < slope < order + 0.1  # order: p and not p + 1, floor 1e-14 ≪ errors


@pytest.fixture
def three_domains():
    rng = np.random.default_rng(3)
    hessians = np.stack([symmetric(spectrum, 20 + k) for k, spectrum in enumerate(rng.uniform(0, 2, (3, 4)))])
    return Quadratics(hessians, rng.normal(size=(3, 4))), rng.normal(size=4)


STAGES = np.array([[1.0, 0.0, 0.0], [0.25, 0.25, 0.5], [0.0, 0.75, 0.25]])
DURATIONS = np.array([0.5, 1.5, 0.7])


def flow_by_scipy(problem, weights, durations, theta):
    for w, t in zip(weights, durations, strict=True):
        generator = np.zeros((5, 5))
        for w_k, A, b in zip(w, problem.hessians, problem.centers, strict=True):
            generator[:4, :4] -= w_k * A
            generator[:4, 4] += w_k * A @ b
        theta = (expm(t * generator) @ np.append(theta, 1.0))[:4]
    return theta


def test_a_schedule_is_flown_stage_by_stage_in_time_order(three_domains):
    problem, theta = three_domains
    end = problem.flow(STAGES, DURATIONS, theta)

    def distance(weights, durations):
        return np.max(np.abs(end - flow_by_scipy(problem, weights, durations, theta)))

    limit = 64 * EPS * np.exp(2 * DURATIONS.sum())  # roundoff: C = 64, κ = e^{T‖G‖}, ‖A‖ ≤ 2
    assert distance(STAGES, DURATIONS) <= limit
    assert distance(STAGES[::-1], DURATIONS[::-1]) > limit
    assert distance(STAGES * [1.0, 1.0, 0.0], DURATIONS) > limit


def test_losses_gradients_and_mixture_are_those_of_sixty_digit_arithmetic(three_domains):
    problem, theta = three_domains
    w = np.array([0.5, 0.2, 0.3])
    hessian, gradient = problem.mixture(w, theta)
    for k in range(3):
        with mpmath.workdps(60):
            offset = mpmath.matrix((theta - problem.centers[k]).tolist())
            A = mpmath.matrix(problem.hessians[k].tolist())
            loss, slope = (offset.T * A * offset)[0] / 2, A * offset
        assert abs(problem.losses(theta)[k] - float(loss)) <= 16 * EPS * 8  # roundoff: C = 16, |L| < 8
        error = np.abs(problem.gradients(theta)[k] - np.array([float(x) for x in slope]))
        assert np.max(error) <= 16 * EPS * 8  # roundoff: C = 16, |g| < 8
    assert np.max(np.abs(gradient - w @ problem.gradients(theta))) <= 16 * EPS * 8  # roundoff
    assert np.max(np.abs(hessian - np.einsum("k,kij->ij", w, problem.hessians))) <= 16 * EPS * 8  # roundoff


def test_the_excess_keeps_the_digits_that_a_difference_of_losses_loses(three_domains):
    problem, theta = three_domains
    step = 1e-9 * np.array([1.0, -2.0, 0.5, 1.0])
    for k in range(3):
        with mpmath.workdps(60):
            A = mpmath.matrix(problem.hessians[k].tolist())
            b, x, d = (mpmath.matrix(v.tolist()) for v in (problem.centers[k], theta, step))
            before, after = ((y - b).T * A * (y - b) / 2 for y in (x, x + d))
            exact = float(after[0] - before[0])
        limit = 16 * EPS * 8 * np.linalg.norm(step)  # roundoff: C = 16, κ = |g||d|
        assert abs(problem.excess(theta, step)[k] - exact) <= limit
        assert abs(problem.losses(theta + step)[k] - problem.losses(theta)[k] - exact) > limit


@pytest.mark.parametrize(
    ("hessian", "gradient", "time", "message"),
    [
        (np.ones((2, 3)), np.ones(3), 1.0, r"hessian of shape \(2, 3\): expected"),
        (1.0, np.ones(1), 1.0, r"hessian of shape \(\): expected"),
        ([[1.0, 0.0], [0.0]], np.ones(2), 1.0, "ragged hessian"),
        ([[1j]], np.ones(1), 1.0, "hessian of dtype complex128: expected real numbers"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2), 1.0, "hessian not symmetric"),
        (np.array([[np.nan]]), np.ones(1), 1.0, "hessian not finite"),
        (np.eye(2), np.ones(3), 1.0, r"gradient of shape \(3,\) for 2 parameters"),
        (np.eye(2), np.float64(1.0), 1.0, "gradient of shape"),
        (np.eye(2), [np.nan, 1.0], 1.0, "gradient not finite"),
        (np.eye(2), np.ones(2), np.nan, "time not finite"),
        (np.eye(2), np.ones(2), "1", "time of dtype"),
        (np.eye(2), np.ones((3, 2)), np.ones(2), "'gradient': .3,., 'time': .2,.. do not broadcast"),
        (np.array([[-800.0]]), np.ones(1), 1.0, "the flow overflows"),
        (np.eye(1) * 100, np.ones(1), 1e308, "the flow overflows"),
        (np.zeros((1, 1)), [1e308], 10.0, "the flow overflows"),
    ],
)
def test_bad_input_is_refused_with_one_clear_error(hessian, gradient, time, message):
    with pytest.raises(CommuteError, match=message):
        affine_flow(hessian, gradient, time)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Quadratics(np.zeros((2, 3, 3)), np.zeros((2, 4))), "do not fit"),
        (lambda: Quadratics(np.zeros((3, 3)), np.zeros(3)), "do not fit"),
        (lambda: Quadratics(None, np.zeros((1, 1))), "hessians of dtype object"),
        (lambda: Quadratics([[[1.0]]], [[np.inf]]), "centers not finite"),
        (lambda: Quadratics([[[1.0, 2.0], [0.0, 1.0]]], [[0.0, 0.0]]), "hessians not symmetric"),
        (lambda: Spectrum(np.zeros(3), np.zeros((4, 4))), "do not fit"),
        (lambda: Spectrum(1.0, [[1.0]]), "do not fit"),
        (lambda: Spectrum([np.nan], [[1.0]]), "values not finite"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_when_the_object_is_built(build, message):
    with pytest.raises(CommuteError, match=message):
        build()


LISTS = Quadratics([[[1, 0], [0, 2]], [[3, 1], [1, 3]]], [[0, 0], [1, 1]])
ONE, POINT = [[1.0, 0.0]], [1.0, 2.0]


def test_lists_are_arrays():
    arrays = Quadratics(LISTS.hessians.copy(), LISTS.centers.copy())
    same = arrays.flow(np.array(ONE), np.array([1.0]), np.array(POINT))
    assert np.array_equal(LISTS.flow(ONE, [1.0], POINT), same)  # exact
    assert LISTS.hessians.dtype == LISTS.centers.dtype == np.float64


@pytest.mark.parametrize(
    ("weights", "durations", "theta", "message"),
    [
        (
            ONE,
            [1.0, 5.0],
            POINT,
            r"weights of shape \(1, 2\) and durations of shape \(2,\) are not of the same",
        ),
        (ONE * 2, [1.0], POINT, r"durations of shape \(1,\) are not of the same stages"),
        (ONE, 1.0, POINT, "not of the same stages"),
        (ONE[0], [1.0], POINT, "not of the same stages"),
        ([[1.0, 0.0, 0.0]], [1.0], POINT, r"weights of shape \(1, 3\) for 2 domains"),
        ([[1.0]], [1.0], POINT, r"weights of shape \(1, 1\) for 2 domains"),
        (ONE, [1.0], [1.0], r"theta of shape \(1,\) for 2 parameters"),
        (ONE, [1.0], 1.0, r"theta of shape \(\) for 2 parameters"),
        (ONE, [1.0], [1.0, 2.0, 3.0], r"theta of shape \(3,\) for 2 parameters"),
        ([[np.nan, 1.0]], [1.0], POINT, "weights not finite"),
        ([[1.0, 0.0], [1.0]], [1.0, 1.0], POINT, "ragged weights"),
        (ONE, [np.inf], POINT, "durations not finite"),
        (ONE, [1.0], [np.nan, 1.0], "theta not finite"),
        (None, [1.0], POINT, "weights of dtype object"),
        ([ONE] * 2, [[1.0]] * 3, POINT, "'weights': .2,., 'durations': .3,., .* do not broadcast"),
    ],
)
def test_a_flow_whose_stages_domains_or_parameters_do_not_fit_is_refused(weights, durations, theta, message):
    with pytest.raises(CommuteError, match=message):
        LISTS.flow(weights, durations, theta)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: LISTS.losses([1.0]), "theta of shape"),
        (lambda: LISTS.gradients([np.nan, 1.0]), "theta not finite"),
        (lambda: LISTS.excess(POINT, [1.0]), "displacement of shape"),
        (lambda: LISTS.excess(np.ones((2, 2)), np.ones((3, 2))), "do not broadcast"),
        (lambda: LISTS.mixture([1.0], POINT), r"weights of shape \(1,\) for 2 domains"),
        (lambda: LISTS.mixture(np.ones((2, 2)), np.ones((3, 2))), "do not broadcast"),
    ],
)
def test_every_method_refuses_points_and_weights_that_do_not_fit(ask, message):
    with pytest.raises(CommuteError, match=message):
        ask()
