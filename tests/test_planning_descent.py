"""Descent on schedules: the projection against SciPy, exact flows, and each step's promise on record."""

import numpy as np
import pytest
from scipy.optimize import minimize

from commute_verify import CommuteError, WeightSchedule
from commute_verify.planning import descend, descent, plan_tilt
from commute_verify.planning.projection import project
from tests.planning_oracles import NAMES, criterion, effect_of, flow, loss, quadratics


def problem(K=3, stages=6, span=1.5, seed=0):
    """A constant start, its loss by exact flows, and the first variation by central differences of them."""
    A, b, theta = quadratics(np.random.default_rng(seed), K)
    start = WeightSchedule(NAMES[:K], np.full(stages, span / stages), np.full((stages, K), 1 / K))

    def ends(weights, durations):
        return loss(A, b, 0, flow(A, b, weights, durations, theta))

    def variation(schedule):
        found, h = np.zeros(schedule.weights.shape), 1e-5
        for at in np.ndindex(found.shape):
            moved = np.zeros_like(found)
            moved[at] = h
            both = (ends(schedule.weights + sign * moved, schedule.durations) for sign in (1, -1))
            found[at] = np.subtract(*both) / (2 * h * schedule.durations[at[0]])
        return found

    return start, lambda schedule: ends(schedule.weights, schedule.durations), variation, (A, b, theta)


def assert_nearest(seed):
    rng = np.random.default_rng(seed)
    S, K = 4, 3
    durations, start = rng.uniform(0.5, 2, S), rng.dirichlet(np.ones(K), S)
    low, high = np.maximum(start - 0.2, 0), np.minimum(start + 0.2, 1)
    wanted, totals = start + rng.normal(size=(S, K)), durations @ start
    found = project(wanted, durations, totals, low, high)
    distance = lambda w: (durations[:, None] * (w.reshape(S, K) - wanted) ** 2).sum()  # noqa: E731
    oracle = minimize(
        distance,
        start.ravel(),
        method="SLSQP",
        bounds=list(zip(low.ravel(), high.ravel(), strict=True)),
        constraints=[
            {"type": "eq", "fun": lambda w: w.reshape(S, K).sum(axis=1) - 1},
            {"type": "eq", "fun": lambda w: (durations @ w.reshape(S, K) - totals)[:-1]},
        ],
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert np.abs(found.sum(axis=1) - 1).max() <= 1e-14
    assert np.abs(durations @ found - totals).max() <= 1e-10
    assert ((low - 1e-12 <= found) & (found <= high + 1e-12)).all()
    assert abs(distance(found.ravel()) - oracle.fun) <= 1e-6 * oracle.fun  # SLSQP's own accuracy


@pytest.mark.parametrize("seed", range(5))
def test_the_projection_is_the_nearest_schedule(seed):
    assert_nearest(seed)


def test_a_planted_weight_in_the_projection_is_caught(monkeypatch):
    kept = project
    monkeypatch.setitem(globals(), "project", lambda wanted, *rest: kept(0.5 * wanted, *rest))
    with pytest.raises(AssertionError):
        assert_nearest(0)


def test_totals_that_bounds_forbid_are_refused():
    with pytest.raises(CommuteError, match=r"total 1 of 1\.8 is not within the \[0\.8, 1\.2\]"):
        project(
            np.full((2, 2), 0.5), np.ones(2), np.array([1.8, 0.2]), np.full((2, 2), 0.4), np.full((2, 2), 0.6)
        )


def test_the_record_holds_what_each_step_promised_and_what_the_exact_flow_did():
    start, end, variation, _ = problem()
    found = descend(start, end, variation, max_tilt=0.2, steps=12)
    assert abs(found.start_loss - end(start)) <= 1e-15
    assert abs(found.loss - end(found.schedule)) <= 1e-12
    assert abs(found.gain + sum(step.observed for step in found.steps if step.accepted)) <= 1e-12
    assert found.gain > 0
    first = found.steps[0]
    assert abs(first.observed / first.predicted - 1) < 0.1  # order: first order in a move of at most 0.1
    assert all(step.predicted < 0 for step in found.steps)
    assert np.abs(found.schedule.durations @ found.schedule.weights - 0.5).max() <= 1e-9
    assert np.abs(found.schedule.weights - start.weights).max() <= 0.2 + 1e-9


def test_the_error_of_a_promise_is_of_second_order_in_the_move():
    start, end, variation, _ = problem()
    moves = (0.08, 0.04, 0.02)
    steps = [descend(start, end, variation, steps=1, first_move=move).steps[0] for move in moves]
    errors = [abs(step.observed - step.predicted) for step in steps]
    slopes = np.diff(np.log(errors)) / np.diff(np.log(moves))
    assert ((slopes > 1.8) & (slopes < 2.2)).all()  # order: 2 and not 1, nor 3


def test_a_wrong_sign_of_the_variation_gains_nothing_and_is_on_record():
    start, end, variation, _ = problem()
    found = descend(start, end, lambda schedule: -variation(schedule), steps=4)
    assert found.gain == 0
    assert found.schedule == start
    assert [step.accepted for step in found.steps] == [False] * 4
    assert all(step.observed > 0 > step.predicted for step in found.steps)
    assert "taken back" in str(found)


def test_on_a_short_run_descent_finds_the_planned_tilt():
    start, end, variation, (A, b, theta) = problem(span=0.01, stages=8)
    plan = plan_tilt(
        effect_of(criterion(A, b, 0, theta)[None], 0.0), dict.fromkeys(start.domains, 1 / 3), 8, 0.1
    )
    found = descend(start, end, variation, max_tilt=0.1, tolerance=1e-9, steps=40)
    planned = np.repeat(plan.tilted.weights, plan.tilted.durations.astype(int), axis=0)
    assert np.abs(found.schedule.weights - planned).max() < 1e-3


def test_limits_are_kept_and_a_start_outside_of_them_is_named():
    start, end, variation, _ = problem()
    found = descend(start, end, variation, limits={"ru": (0.3, 0.4)}, steps=6)
    at = found.schedule.domains.index("ru")
    assert (found.schedule.weights[:, at] >= 0.3 - 1e-9).all()
    assert (found.schedule.weights[:, at] <= 0.4 + 1e-9).all()
    with pytest.raises(
        CommuteError, match=r"0.333333 of ru on stage 0 is not within its limits \[0.5, 0.9\]"
    ):
        descend(start, end, variation, limits={"ru": (0.5, 0.9)})


def test_a_flat_loss_stops_at_once():
    start, _, _, _ = problem()
    found = descend(start, lambda schedule: 1.0, lambda schedule: np.ones(schedule.weights.shape))
    assert found.steps == ()
    assert found.schedule == start
    assert found.stopped == "no step within the bounds promises more"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_variation": lambda schedule: np.zeros(3)}, r"first variation of shape \(3,\)"),
        ({"loss": lambda schedule: float("nan")}, "the loss of a schedule is nan"),
        ({"max_tilt": -1.0}, "max_tilt is -1"),
        ({"limits": {"mars": (0.0, 1.0)}}, "limits for mars"),
    ],
)
def test_bad_input_is_named(change, message):
    start, end, variation, _ = problem()
    with pytest.raises(CommuteError, match=message):
        descend(**{"schedule": start, "loss": end, "first_variation": variation} | change)


def test_a_step_is_taken_back_until_it_keeps_a_quarter_of_its_promise(monkeypatch):
    start = WeightSchedule(("en", "ru"), np.ones(2), np.full((2, 2), 0.5))
    steep = lambda schedule: float((schedule.weights[0, 0] - 0.45) ** 2)  # noqa: E731
    slope = lambda schedule: [[2 * (schedule.weights[0, 0] - 0.45), 0.0], [0.0, 0.0]]  # noqa: E731
    found = descend(start, steep, slope, first_move=1.0, steps=30, tolerance=1e-6)
    assert not found.steps[0].accepted
    assert found.steps[1].moved < found.steps[0].moved
    assert abs(found.schedule.weights[0, 0] - 0.45) < 1e-2
    assert descent.Descent.gain.fget(found) > 0
