"""Noise as its proofs hold it, against exact Gaussian moments, closed moment equations and noisy steps.

A formula that is right to order p − 1 leaves an error of order p: its slope is held from both sides for fixed
losses, where each planted neighbour loses it, and from below for random ones.
"""

from fractions import Fraction
from importlib import import_module
from itertools import product

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpmath import mp, mpf

from commute_verify.symbolic.trees import criterion
from proofs import generators
from proofs.generators import COVARIANCE, CURVATURE, eta, with_bracket
from tests.exact_flows import (
    FEW,
    PLANE,
    ROUGH,
    START,
    TARGET,
    X,
    Y,
    cubics,
    descent,
    is_order,
    loss_at_start,
    order_of_error,
    planted,
    printed,
    real,
    value,
)

noise_steps = import_module("proofs.33_noise_steps")
ETA = Fraction(1, 3)


def matrix(rows):
    return mp.matrix([[real(Fraction(entry)) for entry in row] for row in rows])


# --- exact Gaussian moments on quadratics with constant Σ


class Gaussian:
    """Quadratics ½(θ − c)ᵀA(θ − c), the last the target, and constant covariances F Fᵀ."""

    def __init__(self, curvatures, centres, factors):
        self.A = [matrix((np.array(a) + np.array(a).T).tolist()) for a in curvatures]
        self.c = [matrix([[entry] for entry in c]) for c in centres]
        self.sigma = [matrix(f) * matrix(f).T for f in factors]
        self.start = matrix([[entry] for entry in START])
        self.g = [A * (self.start - c) for A, c in zip(self.A, self.c, strict=True)]

    def stage(self, m, C, A, pull, sigma, t):
        """Mean and covariance after t of dθ = (pull − Aθ) dt + √η σ dW: Van Loan's block exponentials."""
        d, whole = len(m), mp.matrix(2 * len(m) + 1)
        whole[:d, :d], whole[:d, d] = -A * t, pull * t
        moved = mp.expm(whole[: d + 1, : d + 1])
        blocks = mp.matrix(2 * d)
        blocks[:d, :d], blocks[:d, d:], blocks[d:, d:] = A * t, sigma * t, -A.T * t
        both = mp.expm(blocks)
        decay = both[d:, d:].T
        return moved[:d, :d] * m + moved[:d, d], decay * C * decay.T + decay * both[:d, d:]

    def expected(self, stages):
        """E L after stages of (time, weights, extra covariance)."""
        m, C = self.start, mp.matrix(2)
        for t, weights, extra in stages:
            A = sum((w * a for w, a in zip(weights, self.A, strict=False)), mp.matrix(2))
            pull = sum((w * a * c for w, a, c in zip(weights, self.A, self.c, strict=False)), mp.matrix(2, 1))
            sigma = sum((w * s for w, s in zip(weights, self.sigma, strict=False)), mp.matrix(2))
            m, C = self.stage(m, C, A, pull, real(ETA) * (sigma + extra), t)
        away = m - self.c[2]
        return (away.T * self.A[2] * away)[0] / 2 + trace(self.A[2] * C) / 2

    def excess(self, t, extra=None):
        """Of 1 and then 2, over the mixture."""
        none, half = mp.matrix(2), mpf(1) / 2
        swap = [(t, (1, 0), none), (t, (0, 1), none)]
        return self.expected(swap) - self.expected([(2 * t, (half, half), extra or none)])

    def commutator(self, coefficients):
        """P and the noise terms that constant covariances leave."""
        (A1, A2, AL), (S1, S2), (g1, g2, u) = self.A, self.sigma, self.g
        P = (u.T * (A2 * g1 - A1 * g2))[0]
        traces = trace(S2 * A1 * AL) - trace(S1 * A2 * AL)
        return P + real(ETA) * real(coefficients[CURVATURE]) * traces


def trace(a):
    return sum(a[i, i] for i in range(a.rows))


entries = st.builds(Fraction, st.integers(-3, 3), st.integers(1, 3))
squares = st.lists(st.lists(entries, min_size=2, max_size=2), min_size=2, max_size=2)
gaussians = st.builds(
    lambda a, c, f: (a, c, f),
    st.lists(squares, min_size=3, max_size=3),
    st.lists(st.lists(entries, min_size=2, max_size=2), min_size=3, max_size=3),
    st.lists(squares, min_size=2, max_size=2),
)
FIXED = (
    [[[2, 1], [0, 1]], [[1, -1], [0, 3]], [[1, 0], [2, 1]]],
    [[1, 0], [0, 2], [-1, 1]],
    [[[1, 0], [2, 1]], [[0, 3], [1, 1]]],
)


def swap_error(problem, coefficients):
    def error(h):
        case, t = Gaussian(*problem), real(h)
        return case.excess(t) - t**2 / 2 * case.commutator(coefficients)

    return error


@given(gaussians)
@FEW
def test_the_excess_of_gaussian_moments_is_that_of_the_bracket_and_the_noise_terms(problem):
    assert order_of_error(swap_error(problem, printed("noise-terms"))) > 2.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 3), (planted, 2)])
def test_half_of_the_noise_term_is_not_enough(data, p):
    assert is_order(order_of_error(swap_error(FIXED, data("noise-terms"))), p)  # order


def test_exchanged_covariances_would_be_seen():
    curvatures, centres, factors = FIXED
    turned = Gaussian(curvatures, centres, factors[::-1])

    def error(h):
        found = Gaussian(curvatures, centres, factors).excess(real(h))
        return found - real(h) ** 2 / 2 * turned.commutator(printed("noise-terms"))

    assert is_order(order_of_error(error), 2)  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 2), (planted, 1)])
def test_domains_drawn_for_each_example_offset_both_orders_by_the_mixtures_own_noise(data, p):
    factor, examples, weight = data("noise-domain-sampling"), 3, sp.Rational(1, 2)
    claimed = real(factor.subs({noise_steps.B: examples, noise_steps.w: weight}))
    for turn in (1, -1):

        def error(h, turn=turn):
            curvatures, centres, factors = FIXED
            case = Gaussian(
                [*curvatures[:2][::turn], curvatures[2]], [*centres[:2][::turn], centres[2]], factors[::turn]
            )
            d, t = case.g[0] - case.g[1], real(h)
            offset = -real(ETA) * t * claimed * (d.T * case.A[2] * d)[0]
            return case.excess(t, d * d.T / (4 * examples)) - offset

        assert is_order(order_of_error(error), p)  # order


@given(
    st.tuples(*[arrays(np.float64, (5, 3), elements=st.floats(-2, 2, width=16)) for _ in range(2)]),
    st.integers(1, 9),
)
def test_the_covariance_of_drawn_domains_is_that_of_the_pooled_examples(gradients, tenths):
    """Of all examples with their probabilities, by NumPy; of B examples it is 1/B of that."""
    share = tenths / 10
    pooled = np.cov(np.concatenate(gradients).T, aweights=np.repeat([share / 5, (1 - share) / 5], 5), ddof=0)
    parts = [np.cov(g.T, ddof=0) for g in gradients]
    d = gradients[0].mean(axis=0) - gradients[1].mean(axis=0)
    for B in (1, 7):
        factor = float(printed("noise-domain-sampling").subs({noise_steps.B: B, noise_steps.w: share}))
        found = (share * parts[0] + (1 - share) * parts[1]) / B + factor * np.outer(d, d)
        assert np.abs(found - pooled / B).max() <= 1e-13  # roundoff


# --- covariances that depend on θ: quadratics with a linear column have closed equations for their moments

BASIS = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
LINEAR_COLUMNS = (X**2 + X * Y + Y, X * Y - 2 * Y**2 + 2 * X)
QUADRATICS = (X**2 + X * Y - Y, 3 * Y**2 / 2 - X * Y + 2 * X, X**2 - X * Y + Y**2 + X)


def moment_matrix(loss, column):
    """The matrix of v·∇ + (η/2) s sᵀ:∇² on polynomials of degree 2, column by column."""
    s, columns = [sp.diff(column, z) for z in PLANE], []
    for a, b in BASIS:
        f = X**a * Y**b
        second = sum(s[i] * s[j] * sp.diff(f, PLANE[i], PLANE[j]) for i, j in product((0, 1), repeat=2))
        moved = sp.expand(
            sp.Rational(ETA.numerator, ETA.denominator) / 2 * second
            - sum(sp.diff(loss, z) * sp.diff(f, z) for z in PLANE)
        )
        columns.append([sp.Poly(moved, X, Y).coeff_monomial(X**p * Y**q) for p, q in BASIS])
    return mp.matrix([[real(entry) for entry in row] for row in zip(*columns, strict=True)])


def moments_error(coefficients, losses, columns):
    one, two = (moment_matrix(*pair) for pair in zip(losses[:2], columns, strict=True))
    target = mp.matrix([real(sp.Poly(losses[2], X, Y).coeff_monomial(X**p * Y**q)) for p, q in BASIS])
    here = mp.matrix([[real(START[0]) ** a * real(START[1]) ** b for a, b in BASIS]])
    claimed = {
        t: sp.sympify(c).subs(eta, sp.Rational(ETA.numerator, ETA.denominator))
        for t, c in with_bracket(coefficients).items()
    }
    commutator = real(loss_at_start(claimed, (*losses[:2], *columns), losses[2]))

    def error(h):
        t = real(h)
        swap, both = mp.expm(one * t) * mp.expm(two * t), mp.expm((one + two) * t)
        return (here * (swap - both) * target)[0] - t**2 / 2 * commutator

    return error


quadratics = st.builds(
    lambda c: sum(a * X**p * Y**q for a, (p, q) in zip(c, BASIS[1:], strict=True)),
    st.lists(st.integers(-3, 3), min_size=5, max_size=5),
)


@given(st.tuples(quadratics, quadratics, quadratics), st.tuples(quadratics, quadratics))
@FEW
def test_the_excess_of_moments_under_noise_that_depends_on_the_parameters(losses, columns):
    assert order_of_error(moments_error(printed("noise-terms"), losses, columns)) > 2.99  # order


@pytest.mark.parametrize("changed", [{COVARIANCE: sp.Rational(1, 2)}, {generators.BEND: 0}, {}])
def test_a_changed_coefficient_of_a_covariance_derivative_is_seen(changed):
    coefficients = {**printed("noise-terms"), **changed}
    slope = order_of_error(moments_error(coefficients, QUADRATICS, LINEAR_COLUMNS))
    assert is_order(slope, 2 if changed else 3)  # order


# --- real steps


def steps_error(series, losses, columns, target, count):
    """E L₁₂ − E L₂₁ over all signs of every step's noise, less the series."""
    slopes, kicks = ([descent(part) for part in parts] for parts in (losses, columns))
    by_power = {
        k: loss_at_start(
            {t: sp.sympify(c).subs(noise_steps.n, count).coeff(eta, k) for t, c in series.items()},
            (*losses, *columns),
            target,
        )
        for k in (2, 3)
    }

    def polynomial(terms, theta):
        return sum((real(c) * theta[0] ** a * theta[1] ** b for (a, b), c in terms.items()), mpf(0))

    def expected(order, h):
        domains = [k for k in order for _ in range(count)]
        ends = []
        for signs in product((1, -1), repeat=len(domains)):
            theta = [real(z) for z in START]
            for k, sign in zip(domains, signs, strict=True):
                moves = [
                    polynomial(a, theta) + sign * polynomial(b, theta)
                    for a, b in zip(slopes[k], kicks[k], strict=True)
                ]
                theta = [z + real(h) * move for z, move in zip(theta, moves, strict=True)]
            ends.append(value(target, theta))
        return sum(ends) / len(ends)

    def error(h):
        observed = expected((0, 1), h) - expected((1, 0), h)
        return observed - sum(real(c) * real(h) ** k for k, c in by_power.items())

    return error


COLUMNS = (X**2 * Y + X**2 + Y / 2, X * Y**2 - X**2 / 2 + X)


@given(st.tuples(cubics, cubics), st.tuples(cubics, cubics), cubics)
@FEW
def test_the_expected_difference_of_two_orders_of_noisy_steps(losses, columns, target):
    series = noise_steps.claimed(printed("noise-steps"))
    assert order_of_error(steps_error(series, losses, columns, target, 1)) > 3.99  # order


@pytest.mark.parametrize(
    ("change", "p"),
    [
        (lambda noise, drift: (noise, drift), 4),
        (lambda noise, drift: ({**noise, generators.THIRD: 1}, drift), 3),
        (lambda noise, drift: ({**noise, COVARIANCE: sp.Rational(1, 2)}, drift), 3),
        (lambda noise, drift: ({**noise, CURVATURE: sp.Rational(1, 2)}, drift), 3),
        (lambda noise, drift: (noise, -drift), 3),
    ],
)
def test_each_changed_coefficient_of_noisy_steps_is_seen(change, p):
    series = noise_steps.claimed(change(*printed("noise-steps")))
    slope = order_of_error(steps_error(series, ROUGH[:2], COLUMNS, TARGET, 2))
    assert is_order(slope, p)  # order


def drift_error(factor):
    """E L after three noisy steps on a quadratic by recursion, less that of the flow with the drift added."""

    def error(h):
        case = Gaussian(*FIXED)
        A, c, S, AL = case.A[0], case.c[0], case.sigma[0], case.A[2]
        step, m, C = real(h), case.start, mp.matrix(2)
        for _ in range(3):
            shrink = mp.eye(2) - step * A
            m, C = c + shrink * (m - c), shrink * C * shrink.T + step**2 * S
        pulled = A - real(factor) * step * A * A
        mean, covariance = case.stage(case.start, mp.matrix(2), pulled, pulled * c, step * S, 3 * step)

        def loss(m, C):
            return ((m - case.c[2]).T * AL * (m - case.c[2]))[0] / 2 + trace(AL * C) / 2

        return loss(m, C) - loss(mean, covariance)

    return error


@pytest.mark.parametrize(("data", "p"), [(printed, 3), (planted, 2)])
def test_a_step_adds_half_a_step_of_curvature_to_the_drift(data, p):
    assert is_order(order_of_error(drift_error(data("noise-drift"))), p)  # order


def test_without_noise_the_words_leave_the_bracket():
    assert with_bracket({}) == criterion(1, 2)
