"""Frozen curvature where a flow stands for discrete steps; exact recursions in NumPy beside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction import frozen_curvature
from commute_verify.criterion.prediction.clock import Flow
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached, Stage
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.window import Window

A = {"a": np.diag([1.0, 0.3]), "b": np.array([[0.7, 0.4], [0.4, 0.7]])}
CENTRE = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
THETA, VELOCITY = np.array([0.4, -0.7]), np.array([0.5, 0.3])
RULES = ("heavy ball", "nesterov", "adam")
STARTS = ("young adam", "fresh dampening")
"""Rules whose first steps are unlike later ones: bias correction, and torch's first step undampened."""
TAKEN, FLOOR = 3, 1e8
"""Steps that the young Adam has taken, and its ε, beside which second moments are nothing."""


class Point(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(THETA))


def half_square(model, batch):
    matrix, centre = batch
    away = model.theta - centre
    return 0.5 * away @ matrix @ away, 1.0


DATA = {name: [(torch.tensor(A[name]), torch.tensor(CENTRE[name]))] for name in A}


def optimizer(rule, model, lr, mu, velocity=VELOCITY):
    """The rule with a first moment of ``velocity``, and second moments that nothing moves."""
    if "adam" not in rule:
        fresh = rule == "fresh dampening"
        made = torch.optim.SGD(
            model.parameters(),
            lr=lr,
            momentum=mu,
            nesterov=rule == "nesterov",
            dampening=mu if fresh else 0.0,
        )
        if not fresh:
            made.state[model.theta]["momentum_buffer"] = torch.tensor(velocity)
        return made
    young = rule == "young adam"
    made = torch.optim.Adam(
        model.parameters(),
        lr=lr * FLOOR if young else lr,
        betas=(mu, 1 - 1e-12),
        eps=FLOOR if young else 1e-12,
    )
    made.state[model.theta] = {
        "step": torch.tensor(TAKEN if young else 1e14, dtype=torch.float64),
        "exp_avg": torch.tensor((1 - mu) * velocity),
        "exp_avg_sq": torch.full((2,), 0.0 if young else 1.0, dtype=torch.float64),
    }
    return made


def run(rule, rows, lr, mu, velocity=VELOCITY):
    """Both losses after the steps, at the rate or rates; ``velocity`` is that of heavy ball."""
    theta, m = THETA.copy(), (1 - mu) * velocity
    rates = np.broadcast_to(lr, len(rows))
    averaged = "adam" in rule or rule == "fresh dampening"
    for number, (row, rate) in enumerate(zip(rows, rates, strict=True), start=1):
        g = sum(w * A[name] @ (theta - CENTRE[name]) for w, name in zip(row, A, strict=True))
        m = mu * m + (1 - mu) * g
        if rule == "fresh dampening" and number == 1:
            m = g
        if rule == "young adam":
            theta = theta - rate * m / (1 - mu ** (TAKEN + number))
        elif rule == "nesterov":
            theta = theta - rate * (g + mu * m / (1 - mu))
        else:
            theta = theta - rate * (m if averaged else m / (1 - mu))
    return np.array([0.5 * (theta - CENTRE[n]) @ A[n] @ (theta - CENTRE[n]) for n in A])


def swap(k, tail):
    ways = [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]
    mixed, durations = [[0.5, 0.5]] * bool(tail), [k, k] + [tail] * bool(tail)
    return [WeightSchedule(("a", "b"), durations, way + mixed) for way in ways]


def pair(rule, k, tail, lr, mu, velocity=VELOCITY, warmup=0):
    """What is predicted of a swap, and what both runs say; rates may rise over the first steps."""
    schedule, other = swap(k, tail)
    model = Point()
    steps = 2 * k + tail
    rates = lr * np.minimum(1.0, np.arange(1, steps + 1) / warmup) if warmup else np.full(steps, lr)
    given = (rates * (FLOOR if rule == "young adam" else 1.0)).tolist() if warmup else None
    found = predict_excess_loss(
        model,
        half_square,
        DATA,
        schedule,
        {name: {name: 1.0} for name in A},
        against=other,
        optimizer=optimizer(rule, model, lr, mu, velocity),
        lr=given,
        predictor="frozen-curvature",
        tolerance=1e-12,
    )
    ends = [
        run(rule, np.repeat(way.weights, way.durations.astype(int), axis=0), rates, mu, velocity)
        for way in (schedule, other)
    ]
    return found, ends[0] - ends[1]


def recursion(nesterov, mu, steep):
    """(x, v) after a step on ½ x², whose settled rate is ``steep``."""
    rate = steep * (1 - mu)
    if nesterov:
        return np.array([[1 - rate * (1 + mu), -rate * mu**2], [1.0, mu]])
    return np.array([[1 - rate, -rate * mu], [1.0, mu]])


@given(st.floats(0.0, 0.9), st.booleans())
def test_a_settled_step_leaves_what_the_bend_says_to_third_order(mu, nesterov):
    rule = Optimizer("sgd", 1.0, momentum=mu, nesterov=nesterov)
    errors, plain = [], []
    for steep in np.array([1.0, 0.5]) * 0.01 * (1 - mu) ** 2:
        left = np.log(np.abs(np.linalg.eigvals(recursion(nesterov, mu, steep))).max())
        errors.append(abs(left + steep + rule.bend * steep**2))
        plain.append(abs(left + steep + (rule.bend + 0.2) * steep**2))  # planted: another bend
    assert errors[0] / errors[1] > 6  # of third order: 8
    assert plain[0] / plain[1] < 6


@given(st.floats(0.1, 0.9), st.booleans(), st.floats(-2.0, 2.0))
def test_what_settles_starts_late_by_the_lag(mu, nesterov, moment):
    assume(abs(moment - 1) > 0.2)
    rule = Optimizer("sgd", 1.0, momentum=mu, nesterov=nesterov)
    errors, wrong = [], []
    for steep in np.array([1.0, 0.5]) * 0.01 * (1 - mu) ** 2:
        values, vectors = np.linalg.eig(recursion(nesterov, mu, steep))
        slow = int(np.abs(values).argmax())
        x, v = 1.0, moment / (1 - mu)
        amplitude = np.linalg.solve(vectors, [x, v])[slow] * vectors[0, slow]
        errors.append(abs(amplitude - (x - steep * rule.lag * (moment - x))))
        wrong.append(abs(amplitude - (x - steep * (rule.lag + 1) * (moment - x))))  # planted: a step more
    assert errors[1] < 0.3 * errors[0] + 1e-15  # of second order: a quarter
    assert wrong[1] > 0.4 * wrong[0]


@pytest.mark.parametrize("rule", RULES + STARTS)
@pytest.mark.parametrize("tail", [False, True])
def test_what_is_left_out_is_of_second_order_in_the_learning_rate(rule, tail):
    assert order(rule, tail) > 1.7


@pytest.mark.parametrize("rule", RULES)
def test_so_it_is_while_the_rate_warms_up(rule):
    assert order(rule, True, warmup=6) > 1.7


@pytest.mark.parametrize("forgotten", ["bend", "lag"])
@pytest.mark.parametrize("rule", RULES)
def test_without_either_part_it_would_be_of_first_order(rule, forgotten, monkeypatch):
    lag = Optimizer.lag.fget
    monkeypatch.setattr(Optimizer, "bend", property(lambda self: 0.5 + lag(self)))
    monkeypatch.setattr(Optimizer, forgotten, property(lambda self: 1e-9))
    assert order(rule, True) < 1.5


@pytest.mark.parametrize("rule", STARTS)
def test_a_moment_that_forgets_how_it_started_is_caught(rule, monkeypatch):
    def plain(self, g):
        if self.first is None:
            return torch.zeros_like(g)
        return self.first if self.adaptive else self.first * (1 - self.momentum) / (1 - self.dampening)

    monkeypatch.setattr(Optimizer, "moment", plain)
    assert order(rule, True) < 1.5


def test_stages_late_by_the_first_rate_alone_are_caught_in_a_warmup(monkeypatch):
    monkeypatch.setattr(Window, "_rate", lambda self, at: float(self.rates[int(at)]))
    assert order("heavy ball", True, warmup=6) < 1.5


def test_a_stage_is_late_where_it_starts_and_not_where_a_part_of_the_window_does():
    window = replace(Window.of("ab", swap(4, 0)[0], None, 0.1), lag=3.0, bend=3.5)
    assert [stage.late for stage in window.stages(window.schedule, "flow")] == pytest.approx([0.3, 0.3])
    parts = [window.stages(window.schedule, "flow", span) for span in ((0, 2), (2, 4), (4, 8))]
    assert [stage.late for part in parts for stage in part] == pytest.approx([0.3, 0.0, 0.3])


def test_an_error_made_before_a_late_start_is_carried_by_it():
    """The moment that was left holds the error too, by the curvature of the stage before."""
    before, here = np.diag([1.0, 0.3]), np.diag([1e-3, 1e-3])
    model, matrices = Point(), {"a": before, "b": here}
    data = {name: [(torch.tensor(matrices[name]), torch.zeros(2).double())] for name in "ab"}
    surface = Surface(Objective.of(model, half_square), data)
    quadratic = QuadraticModel(surface, surface.gradients(), tolerance=1e-13)
    late = 4.5
    stage = Stage(np.array([0.0, 1.0]), Flow(1e-9), late)
    off = torch.tensor([1e-3, 0.0]).double()

    def end(displacement, error):
        moment = torch.tensor(before).double() @ (model.theta.detach() + displacement)
        return quadratic.run([stage], Reached(displacement, error, highest=1.0, moment=moment))

    right, wrong = end(torch.zeros(2).double(), 0.0), end(off, 1e-3)
    apart = float((wrong.displacement - right.displacement).norm())
    assert apart > 3 * 1e-3  # planted: an error that stays what it is would be 1e-3
    assert apart <= wrong.error


def order(rule, tail, warmup=0):
    """From steps of a quarter of the length, over the same flow time."""
    errors = []
    for cut in (1, 4):
        lr = 0.02 / cut * (0.4 if rule in ("heavy ball", "nesterov") else 1.0)
        found, seen = pair(rule, 40 * cut, 30 * cut * tail, lr, 0.6, warmup=warmup)
        errors.append(np.abs([found[n].value - s for n, s in zip(A, seen, strict=True)]).max())
    return np.log(errors[0] / errors[1]) / np.log(4)


def answers(rule):
    """Observed over predicted of everything that is answered, from rest and from a moment."""
    ratios = []
    for lr in (0.05, 0.1, 0.3):
        for mu in (0.3, 0.7):
            k, rate = int(10 / (1 - mu)) + 2, lr / (1 - mu) if rule == "adam" else lr
            for tail in (0, k, 60):
                for velocity in (np.zeros(2), VELOCITY):
                    found, seen = pair(rule, k, tail, rate, mu, velocity)
                    ratios += [s / found[n].value for n, s in zip(A, seen, strict=True) if found[n].answered]
    return np.array(ratios)


@pytest.mark.parametrize("rule", RULES)
def test_answers_under_momentum_are_right_with_a_tail_and_without(rule):
    found = answers(rule)
    assert len(found) >= 10
    assert np.abs(found - 1).max() < 0.3


@pytest.mark.parametrize("rule", RULES)
def test_a_flow_that_nothing_is_held_against_would_have_wrong_signs(rule, monkeypatch):
    monkeypatch.setattr(frozen_curvature, "DISCRETE", np.inf)
    for part in ("bend", "lag"):
        monkeypatch.setattr(Optimizer, part, property(lambda self: 1e-9))
    assert answers(rule).min() < 0


@pytest.mark.parametrize("lr", [1.2, 1.7, 1.95, 3.0])
def test_broken_steps_of_plain_sgd_are_not_answered_where_steps_overshoot(lr, monkeypatch):
    def asked(duration):
        broken = WeightSchedule.blocks({"a": duration, "b": duration})
        return predict_excess_loss(
            Point(), half_square, DATA, broken, optimizer=lr, predictor="frozen-curvature"
        )

    found = asked(20.5)
    assert not any(found[name].answered for name in found)
    assert found["a"].verdict.quantity == "learning rate · λ_max"
    monkeypatch.setattr(Optimizer, "bears", property(lambda self: np.inf))  # planted: any rate will do
    assert any(asked(20.5)[name].answered for name in found)


def test_a_bent_flow_solves_the_modified_equation():
    values, flow = np.array([-0.3, 0.0, 0.5, 4.0]), Flow(2.0, 0.3)
    x, cut = np.zeros(4), 20000
    kappa = flow.bend / flow.time
    for _ in range(cut):
        half = x - flow.time / cut / 2 * (1 + kappa * values) * (1 + values * x)
        x = x - flow.time / cut * (1 + kappa * values) * (1 + values * half)
    assert np.allclose(-x, flow.filter(values), rtol=1e-6)
    assert not np.allclose(-x, Flow(2.0).filter(values), rtol=1e-3)  # planted: no bend


def test_a_flow_that_cannot_be_held_against_the_straight_one_is_not_answered(monkeypatch):
    whole = frozen_curvature.near_enough

    def failing(question, *given):
        if not question.window.bend:
            raise CommuteError("planted")
        return whole(question, *given)

    asked = "heavy ball", 40, 0, 0.01, 0.6
    assert pair(*asked)[0]["a"].answered
    monkeypatch.setattr(frozen_curvature, "near_enough", failing)
    told = pair(*asked)[0]["a"].verdict
    assert (told.valid, told.quantity) == (False, frozen_curvature.STEPS)
