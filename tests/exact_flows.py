"""45-digit flows of cubic losses in the plane, and the order of a formula's error against them."""

from fractions import Fraction

import sympy as sp
from hypothesis import settings
from mpmath import mp, mpf

from commute_verify.flows import lie_series_flow
from commute_verify.symbolic.differentials import evaluate_field, evaluate_loss
from commute_verify.symbolic.fields import Coordinates
from proofs import claims
from tests.exact_strategies import expressions

DIGITS, RUNGS, FLOOR = 45, (Fraction(1, 10**5), Fraction(1, 10**6)), "1e-40"
PLANE = X, Y = sp.symbols("x y")
SPACE = Coordinates(PLANE)
START = (Fraction(1, 2), -Fraction(1, 3))
ROUGH = (X**3 / 3 + X * Y + Y, X**2 * Y - Y**2 / 2 + 2 * X, X * Y**2 + X**2 / 2 - Y)
TARGET = X**2 * Y + Y**3 / 3 - 2 * X + X * Y
HALF, ONE, TWO = Fraction(1, 2), (1, 0), (0, 1)
FEW = settings(max_examples=6)
cubics = expressions(PLANE, degree=3, most=3)


def printed(claim_id):
    return claims()[claim_id].printed


def planted(claim_id):
    return claims()[claim_id].planted


def rational(x):
    return sp.Rational(x.numerator, x.denominator)


def real(x):
    return mpf(rational(x).p) / rational(x).q


def order_of_error(error, floor=FLOOR):
    """The order of an error in its small argument, from two rungs; infinite below the roundoff ``floor``."""
    with mp.workdps(DIGITS):
        large, small = (abs(error(h)) for h in RUNGS)
        return mp.inf if small < mpf(floor) else mp.log(large / small) / mp.log(real(RUNGS[0] / RUNGS[1]))


def is_order(slope, p):
    return abs(slope - p) < 0.01


def polynomial(expression, variables=PLANE):
    return {powers: Fraction(c.p, c.q) for powers, c in sp.Poly(expression, *variables).terms()}


def descent(loss):
    return [polynomial(-loss.diff(x)) for x in PLANE]


def flown(fields, stages, start=START):
    return lie_series_flow(fields, stages, start, digits=DIGITS)


def value(loss, theta):
    """A polynomial at a point of 45 digits."""
    return sum((real(c) * theta[0] ** a * theta[1] ** b for (a, b), c in polynomial(loss).items()), mpf(0))


def at_start(element):
    return element.as_expr().subs(dict(zip(PLANE, map(rational, START), strict=True)))


def loss_at_start(series, losses, target):
    return at_start(evaluate_loss(series, SPACE, [SPACE(loss) for loss in losses], SPACE(target)))


def fields_at_start(series, losses):
    return [at_start(c) for c in evaluate_field(series, SPACE, [SPACE(loss) for loss in losses])]


def ends(losses, stages, h):
    """θ after the stages, each h times as long, and after the constant schedule with the same totals."""
    fields = [descent(loss) for loss in losses]
    totals = [sum(length * weights[k] for length, weights in stages) for k in range(len(losses))]
    return flown(fields, [(h * length, weights) for length, weights in stages]), flown(fields, [(h, totals)])


def excess(target, losses, stages, h):
    end, base = ends(losses, stages, h)
    return value(target, end) - value(target, base)
