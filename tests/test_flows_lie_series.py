"""Lie-series flows against closed forms at 60 digits, and the swap formula from both sides."""

from fractions import Fraction

import pytest
from mpmath import mp, mpf

from commute_verify.errors import CommuteError
from commute_verify.flows.lie_series import lie_series_flow

DECAY = [{(1,): -1}]
LOGISTIC = [{(1,): 1, (2,): -1}]
RICCATI = [{(0,): 1, (2,): -1}]
SQUARE = [{(2,): 1}]


@pytest.fixture(autouse=True)
def seventy_digits():
    with mp.workdps(70):
        yield


def roundoff(actual, expected, digits=55):
    """Roundoff: κ·10^−digits with κ = 1 + max|θ|."""
    scale = 1 + max(abs(mpf(e)) for e in expected)
    return max(abs(a - e) for a, e in zip(actual, expected, strict=True)) < scale * mpf(10) ** -digits


def linear(rows):
    """The field θ ↦ A θ as plain data."""
    unit = [tuple(int(i == j) for j in range(len(rows))) for i in range(len(rows))]
    return [{unit[j]: a for j, a in enumerate(row)} for row in rows]


def expm(rows, time):
    return mp.expm(mp.matrix([[mpf(a) * time for a in row] for row in rows]))


# neither symmetric nor commuting
A = [[-1, 2], [0, -3]]
B = [[1, 0], [-1, 2]]
START = [Fraction(1, 3), -2]


def two_stages():
    """expm(2/5 (A + 3 B)/4) expm(3/10 A) θ0."""
    mixed = [[mpf(a + 3 * b) / 4 for a, b in zip(ra, rb, strict=True)] for ra, rb in zip(A, B, strict=True)]
    theta = expm(mixed, mpf(2) / 5) * expm(A, mpf(3) / 10) * mp.matrix([mpf(1) / 3, -2])
    return list(theta)


# --- closed forms


def test_scalar_decay_is_the_exponential():
    [theta] = lie_series_flow([DECAY], [(3, ["1/2"])], ["0.7"])
    assert roundoff([theta], [mpf(7) / 10 * mp.exp(mpf(-3) / 2)])


def test_linear_stages_are_matrix_exponentials_in_time_order():
    theta = lie_series_flow([linear(A), linear(B)], [("3/10", [1, 0]), ("2/5", ["1/4", "3/4"])], START)
    assert roundoff(theta, two_stages())


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ([linear(A), linear(B)], [("2/5", ["1/4", "3/4"]), ("3/10", [1, 0])]),  # swapped stages
        ([linear(A), linear(B)], [("3/10", [1, 0]), ("2/5", [1, 1])]),  # missing weight
        (
            [linear([[-a for a in row] for row in A]), linear(B)],
            [("3/10", [1, 0]), ("2/5", ["1/4", "3/4"])],
        ),  # sign
        (
            [linear(list(zip(*A, strict=True))), linear(B)],
            [("3/10", [1, 0]), ("2/5", ["1/4", "3/4"])],
        ),  # transpose
    ],
)
def test_linear_stages_with_a_planted_error_are_not_the_matrix_exponentials(fields, stages):
    assert not roundoff(lie_series_flow(fields, stages, START), two_stages(), digits=3)


def test_logistic_growth_is_the_logistic_function():
    [theta] = lie_series_flow([LOGISTIC], [(2, [1])], ["1/5"])
    growth = mp.exp(2) / 5
    assert roundoff([theta], [growth / (growth + mpf(4) / 5)])


def test_riccati_is_the_hyperbolic_tangent():
    [theta] = lie_series_flow([RICCATI], [(1, [1]), ("1/2", [1])], [0])
    assert roundoff([theta], [mp.tanh(mpf(3) / 2)])


def test_squared_growth_is_followed_close_to_its_blow_up():
    [theta] = lie_series_flow([SQUARE], [("99/100", [1])], [1])
    assert roundoff([theta], [100])


def test_products_of_coordinates_of_unequal_powers_are_followed():
    # x' = x, y' = 3 x² y − x³: x = a eᵗ and d(y e^{−3x²/2})/dt = −x³ e^{−3x²/2}
    field = [{(1, 0): 1}, {(2, 1): 3, (3, 0): -1}]
    [x, y] = lie_series_flow([field], [("1/2", [1])], ["1/2", 1])
    end = mp.exp(mpf(1) / 2) / 2
    source = mp.quad(lambda s: s**2 * mp.exp(-3 * s**2 / 2), [mpf(1) / 2, end])
    expected = mp.exp(3 * end**2 / 2) * (mp.exp(mpf(-3) / 8) - source)
    assert roundoff([x, y], [end, expected])


def test_a_rotation_that_depends_on_the_radius_keeps_it():
    field = [{(2, 1): -1, (0, 3): -1}, {(3, 0): 1, (1, 2): 1}]
    [x, y] = lie_series_flow([field], [(2, [1])], ["3/5", "4/5"])
    turn = mp.expjpi(2 / mp.pi) * mp.mpc(mpf(3) / 5, mpf(4) / 5)
    assert roundoff([x, y], [turn.real, turn.imag])


def test_no_field_is_no_motion():
    assert lie_series_flow([LOGISTIC, DECAY], [(1, [0, 0])], ["1/4"]) == [mpf(1) / 4]  # exact


def test_fewer_digits_give_fewer_digits():
    expected = [mp.exp(-3)]
    short = lie_series_flow([DECAY], [(3, [1])], [1], digits=20)
    assert roundoff(short, expected, digits=19)
    assert not roundoff(short, expected)


def test_the_caller_s_precision_does_not_matter():
    with mp.workdps(15):
        coarse = lie_series_flow([LOGISTIC], [(1, [1])], ["1/3"])
    assert coarse == lie_series_flow([LOGISTIC], [(1, [1])], ["1/3"])  # exact


# --- the order of a swap, on fields that are no gradients

P = [{(2, 0): 1, (0, 1): -2, (1, 1): 1}, {(1, 0): 3, (0, 2): -1}]
Q = [{(1, 0): -1, (0, 2): 2}, {(1, 1): 1, (2, 0): -2, (0, 0): 1}]
POINT = [mpf(1) / 2, mpf(1) / 3]


def half_bracket():
    """½ [P, Q] = ½ (DQ·P − DP·Q) at (1/2, 1/3), differentiated by hand; P comes first."""
    x, y = POINT
    p, q = (x**2 - 2 * y + x * y, 3 * x - y**2), (-x + 2 * y**2, x * y - 2 * x**2 + 1)
    dp = ((2 * x + y, -2 + x), (mpf(3), -2 * y))
    dq = ((mpf(-1), 4 * y), (y - 4 * x, x))
    return [(dq[i][0] * p[0] + dq[i][1] * p[1] - dp[i][0] * q[0] - dp[i][1] * q[1]) / 2 for i in range(2)]


def swap_slope(coefficient, first=P, second=Q):
    """Last slope of log |θ_12 − θ_base − c t² ½[P, Q]| on t = 2^−11 … 2^−14."""
    half = half_bracket()
    errors = []
    for power in range(11, 15):
        t = Fraction(1, 2**power)
        start = [Fraction(1, 2), Fraction(1, 3)]
        swap = lie_series_flow([first, second], [(t, [1, 0]), (t, [0, 1])], start)
        base = lie_series_flow([first, second], [(2 * t, ["1/2", "1/2"])], start)
        scale = coefficient * mpf(2) ** (-2 * power)
        errors.append(max(abs(s - b - scale * h) for s, b, h in zip(swap, base, half, strict=True)))
    return mp.log(errors[-2] / errors[-1], 2)


def is_order(slope, p):
    """Order: the last slope of the ladder is p, and neither p − 1 nor p + 1."""
    return abs(slope - p) < 0.1


def test_a_swap_is_half_t_squared_of_the_bracket_to_order_three_and_not_four():
    assert is_order(swap_slope(1), 3)


@pytest.mark.parametrize("coefficient", [-1, 2, 0, mpf("1.01")])
def test_another_sign_or_factor_of_the_bracket_collapses_the_slope(coefficient):
    assert is_order(swap_slope(coefficient), 2)


def test_the_other_order_of_training_collapses_the_slope():
    assert is_order(swap_slope(1, first=Q, second=P), 2)


# --- bad input


@pytest.mark.parametrize(
    ("fields", "stages", "start", "message"),
    [
        ([DECAY], [(0.5, [1])], [1], "duration of stage 0 is 0.5: give an exact number"),
        ([DECAY], [(1, [0.5])], [1], "weight of stage 0 is 0.5"),
        ([DECAY], [(1, [1])], [0.1], "theta0 is 0.1"),
        ([[{(1,): 0.5}]], [(1, [1])], [1], "coefficient of field 0 is 0.5"),
        ([[{(1,): "x"}]], [(1, [1])], [1], "coefficient of field 0 is 'x'"),
        ([[{(1,): "1/0"}]], [(1, [1])], [1], "coefficient of field 0 is '1/0'"),
        ([DECAY], [(0, [1])], [1], "stage 0 has duration 0"),
        ([DECAY], [(1, [1]), (-1, [1])], [1], "stage 1 has duration -1"),
        ([DECAY], [(1, [1, 0])], [1], "stage 0 has 2 weights"),
        ([DECAY], [(1, [1])], [1, 2], "field 0 has 1 coordinates: theta0 has 2"),
        ([[{(1, 0): 1}]], [(1, [1])], [1], r"field 0 has exponents \(1, 0\)"),
        ([[{(-1,): 1}]], [(1, [1])], [1], r"field 0 has exponents \(-1,\)"),
        ([], [(1, [])], [1], "0 fields"),
        ([DECAY], [(1, [1])], [], "0 coordinates"),
        ([SQUARE], [("1/2", [1]), (1, [1])], [1], "flow of stage 1 runs away"),
    ],
)
def test_bad_input_is_refused_with_one_clear_error(fields, stages, start, message):
    with pytest.raises(CommuteError, match=message):
        lie_series_flow(fields, stages, start)


def test_zero_digits_are_refused():
    with pytest.raises(CommuteError, match="digits 0"):
        lie_series_flow([DECAY], [(1, [1])], [1], digits=0)
