"""Predicted excesses against flows of random polynomials and of a small network, by the order of the error.

The derivatives come from SymPy's ``diff`` and from Torch's autograd, signatures from ``WeightSchedule``, and
what really happens from 60-digit Lie series and from an adaptive Runge–Kutta method.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch.autograd.functional import jacobian

from commute_verify.flows import gradient_flow, lie_series_flow, torch_gradients
from commute_verify.kernels import numpy_kernels, torch_kernels
from commute_verify.schedules import WeightSchedule
from tests.kernel_oracles import arguments, call

EPS = 2.0**-52
NAMES = ["excess_parameters_2", "excess_parameters_3", "excess_loss_2", "excess_loss_3"]


@dataclass(frozen=True)
class Rung:
    """One window: its length T, the arguments that kernels see, and what the flows did."""

    length: float
    seen: dict[str, Any]
    parameters: np.ndarray
    loss: float

    def observed(self, name):
        return self.loss if "loss" in name else self.parameters


def differences(schedule):
    """Signature of the schedule less that of the constant one with its totals."""
    return [a - b for a, b in zip(schedule.signature(3), schedule.averaged().signature(3), strict=True)]


def right(name, kernels=numpy_kernels):
    """A kernel as a function of the arguments of all kernels."""
    return lambda seen: call(getattr(kernels, name), seen)


def has_order(predict, name, rungs, floor):
    """Order: each slope of the error on the halving ladder is p + 1, neither p nor p + 2, above the floor."""
    errors = [np.linalg.norm(np.asarray(predict(r.seen)) - r.observed(name)) for r in rungs]
    assert errors[-1] > floor
    slopes = -np.diff(np.log2(errors))
    return bool(np.all(np.abs(slopes - (int(name[-1]) + 1)) < 0.15))


# --- planted errors: what a wrong kernel would see --------------------------------------------------------


def relabelled(d):
    """Letters 1 and 2 exchanged."""
    swapped = [1, 0, *range(2, d.shape[0])]
    return d[np.ix_(*[swapped] * d.ndim)]


def unweighted(d):
    """All words that end in the last letter lose their weight."""
    kept = d.clone() if isinstance(d, torch.Tensor) else d.copy()
    kept[..., -1] = 0.0
    return kept


def turned(d):
    """The last two letters of each word exchanged: the transpose of d2."""
    return d.swapaxes(-1, -2)


WRONG = {
    "sign": lambda d: -d,
    "half": lambda d: d / 2,
    "transpose": turned,
    "swapped letters": relabelled,
    "missing weight": unweighted,
}
PLANTED = [
    pytest.param(name, depth, error, id=f"{name}: {error} in {depth}")
    for name in NAMES
    for depth in ("d2", "d3")[: int(name[-1]) - 1]
    for error in WRONG
]


def wrong(name, depth, error, kernels=numpy_kernels):
    """The kernel with an error in the coefficients of one depth."""
    return lambda seen: right(name, kernels)(seen | {depth: WRONG[error](seen[depth])})


# --- random polynomials -----------------------------------------------------------------------------------

VARIABLES = x0, x1 = sp.symbols("x0:2")
LENGTHS = [2.0**-k for k in range(8, 12)]


@dataclass(frozen=True)
class Polynomials:
    """Losses of K domains, the target last, in x0, x1; the stages' shares and weights; a point."""

    losses: tuple
    shares: tuple
    weights: tuple
    point: tuple

    def schedule(self, length):
        names = [f"d{k}" for k in range(len(self.losses) - 1)]
        return WeightSchedule.piecewise(
            [
                (length * share / sum(self.shares), dict(zip(names, np.array(w) / sum(w), strict=True)))
                for share, w in zip(self.shares, self.weights, strict=True)
            ]
        )

    def derivatives(self, m):
        """Of the losses (K, 2, …) and of the target (2, …), m times, in float64."""
        at = dict(zip(VARIABLES, self.point, strict=True))
        dense = np.empty((len(self.losses), *[2] * m))
        for k, *axes in np.ndindex(dense.shape):
            dense[k, *axes] = sp.diff(self.losses[k], *(VARIABLES[i] for i in axes)).subs(at)
        return dense[:-1], dense[-1]

    def terms(self, expression):
        """{exponents: coefficient}, exact."""
        found = sp.Poly(expression, *VARIABLES).terms()
        return {e: Fraction(int(c.p), int(c.q)) for e, c in found if c}

    def flow(self, schedule):
        fields = [[self.terms(-sp.diff(loss, x)) for x in VARIABLES] for loss in self.losses[:-1]]
        stages = [
            (Fraction(d), [Fraction(w) for w in row])
            for d, row in zip(schedule.durations.tolist(), schedule.weights.tolist(), strict=True)
        ]
        return lie_series_flow(fields, stages, [Fraction(int(c.p), int(c.q)) for c in self.point])

    def value(self, theta):
        terms = self.terms(self.losses[-1]).items()
        return mp.fsum(
            mpf(c.numerator) / c.denominator * theta[0] ** a * theta[1] ** b for (a, b), c in terms
        )

    def rungs(self):
        losses, target = zip(*(self.derivatives(m) for m in (1, 2, 3)), strict=True)
        ladder = []
        for length in LENGTHS:
            schedule = self.schedule(length)
            with mp.workdps(60):
                end, base = self.flow(schedule), self.flow(schedule.averaged())
                parameters = np.array([float(a - b) for a, b in zip(end, base, strict=True)])
                loss = float(self.value(end) - self.value(base))
            seen = arguments(differences(schedule), *losses, *target)
            ladder.append(Rung(length, seen, parameters, loss))
        return ladder

    def floor(self):
        """Roundoff: equal totals hold to eps·T, and the first order carries that: κ = 1 + |g|(1 + |u|)."""
        g, u = self.derivatives(1)
        return 16 * EPS * LENGTHS[-1] * (1 + np.abs(g).max() * (1 + np.abs(u).max()))


def next_order_leads(rungs, name, floor):
    """Σ_n e_n Tⁿ, n = 2 … 5, fitted to the flows alone: e_{p+1} shows above the floor, and above e_{p+2}."""
    scaled = np.array([rung.length for rung in rungs]) / rungs[0].length
    excess = np.array([np.atleast_1d(rung.observed(name)) for rung in rungs])
    fit = np.linalg.solve(scaled[:, None] ** np.arange(2, 6), excess)
    following = dict(zip(range(2, 6), np.linalg.norm(fit, axis=1), strict=True))
    p = int(name[-1])
    visible = following[p + 1] * scaled[-1] ** (p + 1) > 2 * floor
    return bool(visible and following[p + 2] < 0.15 * following[p + 1])


coefficients = st.integers(-3, 3).filter(bool)
monomials = st.builds(
    lambda c, a, b: c * x0**a * x1**b / 2,
    coefficients,
    st.integers(0, 2),
    st.integers(0, 2),
)
polynomials = st.lists(monomials, min_size=2, max_size=3).map(lambda terms: sp.Add(*terms))
coordinates = st.integers(-4, 4).map(lambda c: sp.Rational(c, 3))
parts = st.integers(0, 5)


@st.composite
def drawn(draw):
    K, S = draw(st.integers(2, 5)), draw(st.integers(2, 4))
    rows = st.tuples(*[parts] * K).filter(any)
    return Polynomials(
        losses=tuple(draw(polynomials) for _ in range(K + 1)),
        shares=tuple(draw(st.integers(1, 4)) for _ in range(S)),
        weights=tuple(draw(rows) for _ in range(S)),
        point=draw(st.tuples(coordinates, coordinates)),
    )


GENERIC = Polynomials(
    losses=(
        x0**2 * x1 - x1,
        x0 * x1**2 / 2 + x0,
        3 * x0**2 / 2 - x0 * x1,
        x1**2 - 2 * x0,
        x0**2 / 2 + x0 * x1,
    ),
    shares=(2, 1, 3),
    weights=((3, 0, 1, 2), (0, 4, 1, 1), (1, 2, 5, 0)),
    point=(sp.Rational(2, 3), sp.Rational(-1, 3)),
)


@given(drawn())
@example(GENERIC)
def test_predictions_miss_the_flow_of_drawn_polynomials_by_the_next_order_and_no_higher(case):
    rungs, floor = case.rungs(), case.floor()
    assume(all(next_order_leads(rungs, name, floor) for name in NAMES))
    for name in NAMES:
        assert has_order(right(name), name, rungs, floor), name


rungs_of = cache(Polynomials.rungs)


@pytest.mark.parametrize("name", NAMES)
def test_the_next_order_leads_in_the_case_that_errors_are_planted_in(name):
    assert next_order_leads(rungs_of(GENERIC), name, GENERIC.floor())


@pytest.mark.parametrize(("name", "depth", "error"), PLANTED)
def test_the_check_on_polynomials_rejects_a_planted_error(name, depth, error):
    assert not has_order(wrong(name, depth, error), name, rungs_of(GENERIC), GENERIC.floor())


@pytest.mark.parametrize("name", ["excess_parameters_3", "excess_loss_3"])
def test_the_check_rejects_an_order_that_is_better_than_claimed(name):
    """The claim of order 2, made for a prediction of order 3: p + 2."""
    assert not has_order(right(name), f"{name[:-1]}2", rungs_of(GENERIC), GENERIC.floor())


def vanishes(predict, name, case):
    """Roundoff: prediction and flows below the floor at the shortest window, C and κ as in ``floor``."""
    rung = rungs_of(case)[-1]
    return all(np.linalg.norm(v) <= case.floor() for v in (predict(rung.seen), rung.observed(name)))


COMMUTING = {
    "equal losses": replace(GENERIC, losses=(x0**2 * x1 - x1,) * 4 + (x0 * x1,)),
    "losses of separate parameters": replace(
        GENERIC, losses=(x0**2 / 2 + x0, -3 * x0**2 - 3 * x0 * 2, x1**3 - x1, 2 * x1**3 - 2 * x1, x0 * x1)
    ),
    "one mixture throughout": replace(GENERIC, weights=((1, 2, 3, 4),) * 3),
    "one domain alone": replace(GENERIC, weights=((0, 1, 0, 0), (0, 2, 0, 0), (0, 3, 0, 0))),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", COMMUTING.values(), ids=COMMUTING)
def test_fields_that_commute_have_no_excess_predicted_or_observed(case, name):
    assert vanishes(right(name), name, case)


@pytest.mark.parametrize("name", NAMES)
def test_the_check_that_nothing_happens_rejects_what_does(name):
    assert not vanishes(right(name), name, GENERIC)
    assert not vanishes(wrong(name, "d2", "missing weight"), name, COMMUTING["losses of separate parameters"])


# --- a small network --------------------------------------------------------------------------------------

INPUTS, HIDDEN = 4, 4
WINDOWS = [2.0**-k for k in range(5, 9)]
NETWORK_FLOOR = 2e-12
"""Roundoff: 10 (atol + rtol |θ|), at the tolerances asked of the flows below and |θ| < 10."""


def network(theta, inputs):
    """Σ_h b_h tanh(a_h·x + c_h) + d, with 25 parameters."""
    a, c, b, d = theta.split([HIDDEN * INPUTS, HIDDEN, HIDDEN, 1])
    return torch.tanh(inputs @ a.reshape(HIDDEN, INPUTS).T + c) @ b + d


def domain_loss(seed):
    """Mean squared error on 8 examples of one domain."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, INPUTS, generator=generator, dtype=torch.float64)
    answers = torch.sin(inputs @ torch.randn(INPUTS, generator=generator, dtype=torch.float64))
    return lambda theta: ((network(theta, inputs) - answers) ** 2).mean()


@cache
def network_rungs(seed):
    """A random schedule of three domains on four stages, and a fourth domain's loss as the target.

    With the seeds 3 and 4, alone of 1 … 6, the next order leads by far for every kernel, which is asserted.
    """
    rng = np.random.default_rng(seed)
    losses = [domain_loss(10 * seed + k) for k in range(4)]
    theta = torch.from_numpy(0.7 * rng.normal(size=HIDDEN * (INPUTS + 2) + 1))
    shares, weights = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(3), size=4)
    D1, D2, D3 = (torch.stack(d) for d in zip(*(dense(loss, theta) for loss in losses), strict=True))
    gradients = torch_gradients(losses[:3])
    ladder = []
    for length in WINDOWS:
        schedule = WeightSchedule(("a", "b", "c"), length * shares, weights)
        end, base = (
            torch.from_numpy(gradient_flow(gradients, s, theta.numpy(), rtol=1e-13, atol=1e-15))
            for s in (schedule, schedule.averaged())
        )
        seen = arguments(
            differences(schedule), *(d.numpy() for d in (D1[:3], D2[:3], D3[:3], D1[3], D2[3], D3[3]))
        )
        tensors = {key: torch.as_tensor(value) for key, value in seen.items()}
        ladder.append(Rung(length, tensors, (end - base).numpy(), float(losses[3](end) - losses[3](base))))
    return ladder


def dense(loss, theta):
    """First, second and third derivatives (n,), (n, n), (n, n, n), by autograd alone."""
    first = partial(jacobian, loss, create_graph=True)
    second = partial(jacobian, first, create_graph=True, vectorize=True)
    return first(theta).detach(), second(theta).detach(), jacobian(second, theta, vectorize=True)


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_miss_the_flow_of_a_network_by_the_next_order_and_no_higher(name, seed):
    rungs = network_rungs(seed)
    assert next_order_leads(rungs, name, NETWORK_FLOOR)
    assert has_order(right(name, torch_kernels), name, rungs, NETWORK_FLOOR)


@pytest.mark.parametrize(("name", "depth", "error"), PLANTED)
def test_the_check_on_a_network_rejects_a_planted_error(name, depth, error):
    planted = wrong(name, depth, error, torch_kernels)
    assert not has_order(planted, name, network_rungs(3), NETWORK_FLOOR)
