"""Frozen curvature against exact affine flows, dense steps and the flow of a small GPT-2."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.prediction import clock, frozen, krylov
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.flows.affine import Quadratics
from experiments.transformer_flow.flows import displacement, excess
from experiments.transformer_flow.ladder import SWAP, curvature
from experiments.transformer_flow.problem import EACH, MIXTURE, trained
from experiments.transformer_flow.settings import Settings
from tests.criterion_models import EPS

N = 24


class Point(nn.Module):
    """The parameters alone; a batch is a matrix and a center."""

    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(theta))


def half_square(model, batch):
    A, b = batch
    d = model.theta - b
    return 0.5 * d @ A @ d, 1.0


def quadratics(seed=0, domains=3, lowest=-4.0):
    """Random quadratics whose eigenvalues spread over e^lowest … e^2."""
    draw = np.random.default_rng(seed)
    A = []
    for _ in range(domains):
        basis, _ = np.linalg.qr(draw.normal(size=(N, N)))
        A.append((basis * np.exp(draw.uniform(lowest, 2, size=N))) @ basis.T)
    A = np.array(A)
    A = (A + A.swapaxes(1, 2)) / 2
    return Quadratics(A, draw.normal(size=(domains, N))), draw.normal(size=N)


def batches(problem):
    pairs = zip(problem.hessians, problem.centers, strict=True)
    return {
        name: [(torch.from_numpy(A.copy()), torch.from_numpy(b.copy()))]
        for name, (A, b) in zip("abc", pairs, strict=False)
    }


THREE = WeightSchedule.piecewise(
    [
        (1.0, {"a": 1.0, "b": 0.0, "c": 0.0}),
        (2.0, {"a": 0.1, "b": 0.6, "c": 0.3}),
        (0.5, {"a": 0.0, "b": 0.0, "c": 1.0}),
    ]
)
TARGETS = {"a": {"a": 1.0}, "some": {"b": 0.25, "c": 0.75}}
MIXING = np.array([[1, 0, 0], [0, 0.25, 0.75]])


def predicted(problem, theta, schedule, eta, **options):
    model = Point(theta)
    options = {"dynamics": "flow", "tolerance": 1e-12, "optimizer": eta} | options
    return predict_excess_loss(
        model, half_square, batches(problem), schedule, TARGETS, predictor="frozen-curvature", **options
    )


def flowed(problem, theta, schedule, lr):
    """The exact excess of each target, from displacements."""
    ends = [problem.flow(s.weights, lr * s.durations, theta) for s in (schedule, schedule.averaged())]
    return MIXING @ problem.excess(ends[1], ends[0] - ends[1])


def values(prediction):
    return np.array([prediction[name].value for name in prediction])


def assert_close(found, expected, relative=1e-8):
    """Roundoff: 1e-8 of the excess, where Lanczos stops at 1e-12 of the displacement."""
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max(), (found, expected)


@pytest.mark.parametrize("target_model", ["quadratic", "evaluated"])
@pytest.mark.parametrize("lr", [0.001, 0.1, 1.0, 30.0])
def test_quadratics_are_flowed_exactly_however_long_the_window(lr, target_model):
    problem, theta = quadratics()
    found = predicted(problem, theta, THREE, lr, target_model=target_model)
    assert_close(values(found), flowed(problem, theta, THREE, lr))
    assert found.answered


def test_a_stage_that_forgets_where_it_starts_is_caught(monkeypatch):
    problem, theta = quadratics()
    run = frozen.QuadraticModel.run

    def forgetful(self, stages, reached, visit=None):
        start = frozen.Reached(torch.zeros_like(reached.displacement))
        parts = [run(self, [stage], start) for stage in stages] or [reached]
        return parts[0]._replace(displacement=sum(part.displacement for part in parts))

    monkeypatch.setattr(frozen.QuadraticModel, "run", forgetful)
    with pytest.raises(AssertionError):
        assert_close(values(predicted(problem, theta, THREE, 0.1)), flowed(problem, theta, THREE, 0.1))


def test_an_ascending_flow_is_caught(monkeypatch):
    problem, theta = quadratics()
    risen = clock.Flow.filter
    monkeypatch.setattr(clock.Flow, "filter", lambda self, values: -risen(self, -values))
    with pytest.raises(AssertionError):
        assert_close(values(predicted(problem, theta, THREE, 0.1)), flowed(problem, theta, THREE, 0.1))


def stepped(problem, theta, weights, rates, D=None, decay=0.0):
    x = theta
    for w, rate in zip(weights, rates, strict=True):
        g = w @ problem.gradients(x)
        x = (1 - rate * decay) * x - rate * (g if D is None else D * g)
    return x


IN_STEPS = WeightSchedule(THREE.domains, THREE.durations * 12, THREE.weights)


def steps_excess(problem, theta, rates, **options):
    weights = np.repeat(IN_STEPS.weights, IN_STEPS.durations.astype(int), axis=0)
    mean = np.tile(IN_STEPS.averaged().weights, (len(weights), 1))
    ends = [stepped(problem, theta, w, rates, **options) for w in (weights, mean)]
    return MIXING @ problem.excess(ends[1], ends[0] - ends[1])


@pytest.mark.parametrize("near_two", [0.01, 0.9, 1.9])
def test_discrete_steps_are_exact_up_to_the_edge_of_stability(near_two):
    problem, theta = quadratics()
    lr = near_two / max(np.linalg.eigvalsh(A)[-1] for A in problem.hessians)
    found = predicted(problem, theta, IN_STEPS, lr, dynamics="auto")
    expected = steps_excess(problem, theta, np.full(42, lr))
    assert_close(values(found), expected)
    flow = values(predicted(problem, theta, IN_STEPS, lr))
    assert np.abs(flow - expected).max() > 1e-3 * np.abs(expected).max()


def test_a_learning_rate_that_varies_is_taken_step_by_step():
    problem, theta = quadratics()
    rates = 0.1 * (1 + np.cos(np.arange(42) / 13))
    found = predicted(problem, theta, IN_STEPS, 0.1, dynamics="steps", lr=rates.tolist())
    assert_close(values(found), steps_excess(problem, theta, rates))


def adamw(model, problem, decay, steps=3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=decay)
    for number in range(steps):
        optimizer.zero_grad()
        sum(half_square(model, b[0])[0] for b in batches(problem).values()).mul(1 + number).backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_preconditioner_and_decoupled_decay_are_flowed_exactly(decay):
    problem, theta = quadratics()
    model = Point(theta)
    optimizer = adamw(model, problem, decay)
    theta = model.theta.detach().numpy().copy()
    state = optimizer.state[model.theta]
    D = (1 / ((state["exp_avg_sq"] / (1 - 0.999**3)).sqrt() + 1e-8)).numpy()
    found = predicted_on(model, problem, IN_STEPS, optimizer, tolerance=1e-12, dynamics="flow")
    # The exact flow by a thousand times finer Euler steps, extrapolated twice.
    fine = [steps_excess_of(problem, theta, 1e-2, D=D, decay=decay, cut=cut) for cut in (200, 400, 800)]
    once = [2 * b - a for a, b in pairwise(fine)]
    expected = (4 * once[1] - once[0]) / 3
    assert_close(values(found), expected, relative=1e-5)  # order: what extrapolation leaves


def steps_excess_of(problem, theta, lr, D, decay, cut):
    weights = np.repeat(IN_STEPS.weights, (IN_STEPS.durations * cut).astype(int), axis=0)
    mean = np.tile(IN_STEPS.averaged().weights, (len(weights), 1))
    rates = np.full(len(weights), lr / cut)
    ends = [stepped(problem, theta, w, rates, D=D, decay=decay) for w in (weights, mean)]
    return MIXING @ problem.excess(ends[1], ends[0] - ends[1])


def predicted_on(model, problem, schedule, optimizer, **options):
    return predict_excess_loss(
        model,
        half_square,
        batches(problem),
        schedule,
        TARGETS,
        predictor="frozen-curvature",
        optimizer=optimizer,
        **options,
    )


@pytest.mark.parametrize("time", [clock.Flow(30.0), clock.Flow(30.0, 4.0), clock.Steps(np.full(150, 0.2))])
def test_the_bound_holds_at_every_number_of_products_and_is_no_more_than_ten_times_the_error(time):
    problem, theta = quadratics()
    A, g = torch.from_numpy(problem.hessians[0]), torch.from_numpy(problem.gradients(theta)[0])
    values, vectors = np.linalg.eigh(problem.hessians[0])
    exact = -vectors @ (time.filter(values) * (vectors.T @ g.numpy()))
    ratios = []
    for m in range(2, 20):
        found = krylov.descend(lambda v: A @ v, g, time, tolerance=1e-30, max_products=m)
        error = np.linalg.norm(found.displacement.numpy() - exact)
        ratios.append(found.error / error)
    assert min(ratios) >= 1
    assert np.median(ratios) < 10


def test_a_bound_that_leaves_out_the_residual_is_caught(monkeypatch):
    monkeypatch.setattr(clock.Flow, "error", lambda self, values, shares, lowest, highest: 1e-12)
    with pytest.raises(AssertionError):
        test_the_bound_holds_at_every_number_of_products_and_is_no_more_than_ten_times_the_error(
            clock.Flow(30.0)
        )


def test_a_window_of_a_hundred_over_lambda_max_takes_at_most_25_products_a_space():
    problem, theta = quadratics(lowest=-9.0)
    lam = max(np.linalg.eigvalsh(A)[-1] for A in problem.hessians)
    swap = WeightSchedule.blocks({"a": 1.0, "b": 1.0, "c": 1.0})
    found = predicted(problem, theta, swap, 100 / lam, tolerance=1e-3)
    numbers = re.findall(r"\d+", found.notes[0].split(";")[0])
    assert max(map(int, numbers)) <= 25
    assert found.answered


def test_the_model_the_gradients_and_the_random_state_are_left_alone():
    problem, theta = quadratics()
    model, before = Point(theta), torch.get_rng_state()
    model.theta.grad = torch.ones_like(model.theta)
    predicted_on(model, problem, IN_STEPS, 0.01)
    assert torch.equal(model.theta.detach(), torch.from_numpy(theta))
    assert torch.equal(model.theta.grad, torch.ones_like(model.theta))
    assert torch.equal(torch.get_rng_state(), before)


def test_replicates_give_the_standard_error_of_their_mean():
    problem, theta = quadratics()
    others, _ = quadratics(seed=5)
    every = {name: [*batches(problem)[name], *batches(others)[name]] for name in "abc"}
    options = {"optimizer": 0.01, "predictor": "frozen-curvature"}
    both = predict_excess_loss(Point(theta), half_square, every, IN_STEPS, TARGETS, replicates=2, **options)
    each = [values(predicted_on(Point(theta), p, IN_STEPS, 0.01)) for p in (problem, others)]
    assert_close(values(both), np.mean(each, axis=0), relative=100 * EPS)
    assert both["a"].stderr == pytest.approx(abs(each[0][0] - each[1][0]) / 2, rel=1e-9)
    assert np.isnan(predicted_on(Point(theta), problem, IN_STEPS, 0.01)["a"].stderr)


def test_negative_curvature_is_told_and_abstained_from_when_the_window_is_long():
    problem, theta = quadratics()
    bent = Quadratics(problem.hessians - 0.5 * np.eye(N), problem.centers)
    short = predicted(bent, theta, THREE, 0.1)
    assert short.answered
    assert_close(values(short), flowed(bent, theta, THREE, 0.1))
    long = predicted(bent, theta, THREE, 4.0)
    assert not long.answered
    assert "negative curvature" in long["a"].verdict.words
    assert any("negative curvature" in note for note in long.notes)
    with pytest.raises(CommuteError, match="overflows"):
        predicted(bent, theta, THREE, 4000.0)


def test_too_few_products_abstain_and_say_why():
    problem, theta = quadratics()
    found = predicted(problem, theta, THREE, 30.0, max_products=2)
    assert not found.answered
    assert "bound" in found["a"].verdict.quantity


def test_an_invariant_space_ends_early():
    problem, theta = quadratics()
    flat = Quadratics(np.tile(2 * np.eye(N), (3, 1, 1)), problem.centers)
    found = predicted(flat, theta, THREE, 1.0)
    assert_close(values(found), flowed(flat, theta, THREE, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": WeightSchedule.blocks({"a": 1.0, "b": 1.0})}, "misses or does not know c"),
        ({"optimizer": -1.0}, "learning rate"),
        ({"optimizer": "adam"}, "not supported"),
        ({"lr": [0.1, 0.2]}, "learning rates for"),
        ({"dynamics": "leaps"}, "dynamics"),
        ({"target_model": "cubic"}, "target_model"),
        ({"predictor": "oracle"}, "predictor"),
        ({"replicates": 2}, "holds 1 batches"),
        ({"tolerance": 2.0}, "tolerance"),
        ({"held_out": {"a": [0]}}, "held_out"),
        ({"method": "forward"}, "method"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_bad_input_is_one_clear_error(change, message):
    problem, theta = quadratics()
    options = {"schedule": IN_STEPS, "optimizer": 0.1, "predictor": "frozen-curvature"} | change
    schedule = options.pop("schedule")
    with pytest.raises(CommuteError, match=message):
        predict_excess_loss(Point(theta), half_square, batches(problem), schedule, TARGETS, **options)


def test_a_loss_that_is_not_finite_is_named_with_its_domain_and_batch():
    problem, theta = quadratics()
    data = batches(problem)
    data["b"][0][0][0, 0] = float("nan")
    with pytest.raises(CommuteError, match="domain 'b', batch 1"):
        predict_excess_loss(Point(theta), half_square, data, IN_STEPS, optimizer=0.1)


def small_gpt2(steps=40):
    settings = replace(Settings.smoke(), steps=steps)
    problem = trained(settings)
    model, theta = problem.model, torch.from_numpy(problem.theta)
    parts = theta.split([p.numel() for p in model.parameters()])
    with torch.no_grad():
        for p, part in zip(model.parameters(), parts, strict=True):
            p.copy_(part.view(p.shape)).requires_grad_()
    return problem, model, {"1": [problem.tokens[0]], "2": [problem.tokens[1]]}


def nats(model, tokens):
    logits = model(tokens).logits[:, :-1]
    flat = tokens[:, 1:].flatten()
    return F.cross_entropy(logits.flatten(0, 1), flat, reduction="sum"), flat.numel()


@pytest.mark.parametrize(("reach", "within"), [(0.1, 0.02), (4.0, 0.1)])
def test_a_small_gpt2_is_predicted_within_ten_percent_where_local_predictions_are_far_off(reach, within):
    problem, model, data = small_gpt2()
    dt = reach / curvature(problem, MIXTURE, 0).value
    local = criterion_of(problem)
    base = displacement(problem, SWAP.schedule("12", dt).averaged(), 1e-7)
    ratios, local_ratios = [], []
    for training, sign in (("12", 1), ("21", -1)):
        schedule = SWAP.schedule(training, dt)
        gap = displacement(problem, schedule, 1e-7) - base
        observed = excess(problem, base, gap, 4)
        found = predict_excess_loss(
            model,
            nats,
            data,
            schedule,
            {"1": {"1": 1.0}, "2": {"2": 1.0}},
            optimizer=1.0,
            predictor="frozen-curvature",
            dynamics="flow",
        )
        assert found.answered
        ratios += list(values(found) / observed)
        local_ratios += list(sign * dt**2 / 2 * local / observed)
    assert np.median(np.abs(np.log(ratios))) < np.log(1 + within)  # statistical: one model, two swaps
    if reach > 1:
        assert np.min(np.abs(np.log(np.abs(local_ratios)))) > np.log(2)


def criterion_of(problem):
    """P(L_1, L_2; L_t) for both targets."""
    g = [problem.gradient(each, problem.theta) for each in EACH]
    H = [problem.hessian_product(each) for each in EACH]
    bracket = H[1](torch.from_numpy(g[0])) - H[0](torch.from_numpy(g[1]))
    return np.array([bracket.numpy() @ u for u in g])


def test_a_descent_that_leaves_the_numbers_of_its_dtype_diverges_and_says_so():
    with pytest.raises(CommuteError, match="the descent overflows"):
        krylov.descend(lambda v: -v, torch.ones(2), clock.Flow(100.0), tolerance=1e-3, max_products=5)
    found = krylov.descend(
        lambda v: -v, torch.ones(2).double(), clock.Flow(100.0), tolerance=1e-3, max_products=5
    )
    assert bool(found.displacement.isfinite().all())
    for start in (torch.tensor([1.0, math.inf]), torch.full((2,), 3e38)):
        with pytest.raises(DivergenceError, match="starts from a gradient of length inf"):
            krylov.descend(lambda v: v, start, clock.Flow(1.0), tolerance=1e-3, max_products=5)


def test_a_stage_that_leaves_nothing_but_rounding_diverges_and_auto_abstains():
    """After the first stage the displacement is a float32, and the gradient there none."""
    bent = Quadratics(-np.array([1.0, 30.0, 1.0])[:, None, None] * np.eye(N), np.zeros((3, N)))
    model = Point(np.full(N, 0.1)).float()
    data = {name: [tuple(t.float() for t in pair) for pair in each] for name, each in batches(bent).items()}
    swap = WeightSchedule.blocks({"a": 88.0, "b": 1.0, "c": 1.0})
    asked = {"optimizer": 1.0, "dynamics": "flow"}
    for freezings in (0, 8):
        with pytest.raises(DivergenceError, match=r"from -1 to 0 .* nothing but rounding is left"):
            predict_excess_loss(
                model,
                half_square,
                data,
                swap,
                TARGETS,
                predictor="frozen-curvature",
                freezings=freezings,
                **asked,
            )
    assert not predict_excess_loss(model, half_square, data, swap, TARGETS, **asked).answered


def edged(model, batch):
    """A square, whose loss stays finite below −1 while its gradient is no number there."""
    above = model.theta + 1
    return (model.theta - batch).square().sum() / 2 + (above * (above > 0)).sqrt().sum(), 1.0


def test_a_gradient_that_is_no_number_is_abstained_from_on_the_way_and_bad_input_at_the_start():
    def asked(theta):
        return predict_excess_loss(
            Point(np.full(2, theta)),
            edged,
            {"a": [torch.tensor([-9.0, -5.0])], "b": [torch.tensor([-5.0, -9.0])]},
            WeightSchedule.blocks({"a": 4.0, "b": 4.0}),
            optimizer=0.5,
            predictor="frozen-curvature",
        )

    found = asked(0.0)
    assert not any(found[target].answered for target in found)
    with pytest.raises(CommuteError, match="a gradient that is not finite"):
        asked(-2.0)
