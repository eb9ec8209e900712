"""Local predictors and memory: orders of their errors, real optimizer runs, and abstentions."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.lanczos import AsymmetryError
from commute_verify.criterion.prediction import coordinates, iterated, local, memory
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.flows import gradient_flow

N, NAMES = 6, ("a", "b", "c")
MIXING = np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
TARGETS = {"a": {"a": 1.0}, "some": {"b": 0.25, "c": 0.75}}


class Point(nn.Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))


def bent(model, batch):
    """A smooth loss with derivatives of all orders: Σ log cosh(A θ − b), and a pull."""
    A, b = batch
    return torch.log(torch.cosh(A @ model.theta - b)).sum() + 0.1 * (model.theta**3).sum() / 3, 2.0


def linear(model, batch):
    return batch @ model.theta, 1.0


def data(seed=0):
    draw = np.random.default_rng(seed)
    return {
        name: [(torch.tensor(draw.normal(size=(5, N))), torch.tensor(draw.normal(size=5)))] for name in NAMES
    }


THETA = np.random.default_rng(7).normal(size=N)
SCHEDULE = WeightSchedule.piecewise(
    [
        (2.0, {"a": 1.0, "b": 0.0, "c": 0.0}),
        (3.0, {"a": 0.1, "b": 0.6, "c": 0.3}),
        (1.0, {"a": 0.0, "b": 0.2, "c": 0.8}),
    ]
)


def gradients(batches, theta):
    """(K, n) by autograd, a loss at a time."""
    rows = []
    for name in NAMES:
        point = Point(theta)
        total, weight = bent(point, batches[name][0])
        rows.append(torch.autograd.grad(total / weight, point.theta)[0].numpy())
    return np.array(rows)


def excess_between(batches, one, other):
    """Losses at one less those at the other, by a line integral that keeps its digits."""
    points, shares = np.polynomial.legendre.leggauss(8)
    found = sum(
        share / 2 * gradients(batches, other + (x + 1) / 2 * (one - other)) @ (one - other)
        for x, share in zip(points, shares, strict=True)
    )
    return MIXING @ found


def in_steps(batches, schedule, eta):
    x = THETA
    for w in np.repeat(schedule.weights, schedule.durations.astype(int), axis=0):
        x = x - eta * (w @ gradients(batches, x))
    return x


def in_flow(batches, schedule, eta):
    scaled = WeightSchedule(schedule.domains, schedule.durations * eta, schedule.weights)
    return gradient_flow(lambda x: gradients(batches, x), scaled, THETA, rtol=1e-12, atol=1e-15)


def predicted(eta, predictor, dynamics, schedule=SCHEDULE, **options):
    found = predict_excess_loss(
        Point(THETA),
        bent,
        data(),
        schedule,
        TARGETS,
        optimizer=eta,
        predictor=predictor,
        dynamics=dynamics,
        **options,
    )
    return np.array([found[name].value for name in found])


LADDER = (0.0005, 0.001, 0.002)


def slopes(predictor, dynamics, **options):
    """Slope of log |error| of every target on a ladder of learning rates."""
    run = in_steps if dynamics == "steps" else in_flow
    errors = []
    for eta in LADDER:
        ends = [run(data(), s, eta) for s in (SCHEDULE, SCHEDULE.averaged())]
        seen = excess_between(data(), *ends)
        errors.append(np.abs(predicted(eta, predictor, dynamics, **options) - seen))
    return np.log(errors[-1] / errors[0]) / np.log(LADDER[-1] / LADDER[0])


def assert_order(found, p):
    """Order: p, and neither p − 1 nor p + 1."""
    assert np.all(np.abs(found - p) < 0.4), found


@pytest.mark.parametrize(
    ("predictor", "dynamics", "order"), [("local", "steps", 3), ("local", "flow", 3), ("local-3", "flow", 4)]
)
def test_the_error_of_a_local_predictor_has_the_order_of_the_first_term_left_out(predictor, dynamics, order):
    assert_order(slopes(predictor, dynamics), order)


def test_a_step_that_sees_itself_is_caught(monkeypatch):
    right = iterated.signature
    monkeypatch.setattr(iterated, "signature", lambda x, discrete: right(x, discrete=False))
    with pytest.raises(AssertionError):
        assert_order(slopes("local", "steps"), 3)


def test_a_third_derivative_that_is_left_out_is_caught(monkeypatch):
    monkeypatch.setattr(local.Coordinates, "third", lambda self, surface, k, v, along: torch.zeros_like(v))
    with pytest.raises(AssertionError):
        assert_order(slopes("local-3", "flow"), 4)


def warmed(decay=0.2, lr=1e-3):
    model = Point(THETA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    for number in range(4):
        optimizer.zero_grad()
        sum((1 + number * k) * bent(model, data()[name][0])[0] for k, name in enumerate(NAMES)).backward()
        optimizer.step()
    return model, optimizer


def test_with_a_preconditioner_and_decay_local_and_frozen_curvature_agree_to_second_order():
    model, optimizer = warmed()
    errors = []
    for lr in (2e-5, 4e-5, 8e-5):
        pair = [
            predict_excess_loss(
                model,
                bent,
                data(),
                SCHEDULE,
                TARGETS,
                optimizer=optimizer,
                lr=lr,
                predictor=rung,
                target_model="quadratic",
                tolerance=1e-13,
                dynamics="flow",
            )
            for rung in ("local", "frozen-curvature")
        ]
        errors.append(np.abs([pair[0][name].value - pair[1][name].value for name in TARGETS]))
    assert_order(np.log(errors[-1] / errors[0]) / np.log(4), 3)


def ramps(seed=3, steps=1):
    """Linear losses, each step with another slope: no curvature, so that memory is all there is."""
    draw = np.random.default_rng(seed)
    return {name: [torch.tensor(draw.normal(size=N)) for _ in range(steps)] for name in NAMES}


def run_linear(model, optimizer, batches, weights, rate):
    twin, its = copy.deepcopy((model, optimizer))
    for group in its.param_groups:
        group["lr"] = rate
    for s, w in enumerate(weights):
        its.zero_grad()
        sum(
            float(x) * linear(twin, batches[name][s % len(batches[name])])[0]
            for name, x in zip(NAMES, w, strict=True)
        ).backward()
        its.step()
    return twin.theta.detach().numpy()


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.7),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.7, 0.9), weight_decay=0.1),
}


def remembered(kind, schedule, steps=1):
    """What memory is predicted to do, and what real runs on linear losses do."""
    model = Point(THETA)
    optimizer = OPTIMIZERS[kind](model.parameters())
    batches = ramps(steps=steps)
    for _ in range(3):
        optimizer.zero_grad()
        linear(model, batches["a"][0])[0].backward()
        optimizer.step()
    found = predict_excess_loss(
        model, linear, batches, schedule, TARGETS, optimizer=optimizer, predictor="memory"
    )
    ends = [
        run_linear(model, optimizer, batches, np.repeat(s.weights, s.durations.astype(int), axis=0), 0.01)
        for s in (schedule, schedule.averaged())
    ]
    g = np.array([np.mean([b.numpy() for b in batches[name]], axis=0) for name in NAMES])
    return np.array([found[name].value for name in found]), MIXING @ g @ (ends[0] - ends[1])


THIRD = dict.fromkeys(NAMES, 1 / 3)
SWAP = WeightSchedule.blocks(dict.fromkeys(NAMES, 4.0))


def with_tail(steps):
    return SWAP.then(WeightSchedule(NAMES, np.array([float(steps)]), np.full((1, 3), 1 / 3)))


@pytest.mark.parametrize("steps", [1, 60])
@pytest.mark.parametrize("tail", [0, 40])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_on_linear_losses_memory_is_all_there_is(kind, tail, steps):
    found, seen = remembered(kind, with_tail(tail) if tail else SWAP, steps)
    assert np.abs(found - seen).max() <= 1e-9 * np.abs(seen).max() + 1e-14  # roundoff of θ


def test_a_common_tail_takes_away_momentum_and_leaves_second_moments():
    shares = {}
    for kind in OPTIMIZERS:
        without, _ = remembered(kind, SWAP)
        after, _ = remembered(kind, with_tail(60))
        shares[kind] = np.abs(after).max() / np.abs(without).max()
    assert shares["momentum"] < 1e-6
    assert shares["AdamW"] > 1e-2


def test_memory_without_buffers_is_caught(monkeypatch):
    right = memory.advance

    def forgetful(optimizer, state, g, lr, number):
        fresh = state._replace(first=torch.zeros_like(state.first))
        return right(optimizer, fresh, g, lr, number)

    monkeypatch.setattr(memory, "advance", forgetful)
    found, seen = remembered("momentum", SWAP)
    assert np.abs(found - seen).max() > 0.1 * np.abs(seen).max()


def asked(eta, schedule=SCHEDULE, batches=None, **options):
    return predict_excess_loss(
        Point(THETA), bent, batches or data(), schedule, TARGETS, optimizer=eta, **options
    )


def test_curvature_that_noise_hides_is_abstained_from(monkeypatch):
    def noisy(*given):
        raise AsymmetryError("the operator is not symmetric")

    assert asked(1e-3, predictor="local").answered
    monkeypatch.setattr(coordinates, "grown", noisy)
    found = asked(1e-3, predictor="local")
    assert not found.answered
    assert np.isnan(found["a"].verdict.value)


def test_a_prediction_that_leaves_a_large_memory_out_abstains():
    model, optimizer = warmed()
    found = predict_excess_loss(
        model, bent, data(), SCHEDULE, TARGETS, optimizer=optimizer, lr=1e-5, predictor="local"
    )
    assert not found.answered
    assert "remembers" in found["a"].verdict.words


def test_order_3_takes_no_derivatives_of_domains_that_neither_schedule_trains(monkeypatch):
    monkeypatch.setattr(local, "_along", lambda *given: np.zeros(len(TARGETS)))  # order 3 does not look there
    batches = {**data(), "d": data(1)["a"], "e": data(2)["b"]}
    idle = {"d": 0.0, "e": 0.0}
    wider = WeightSchedule(
        (*NAMES, *idle), SCHEDULE.durations, np.pad(SCHEDULE.weights, [(0, 0), (0, len(idle))])
    )
    found = asked(0.05, predictor="local-3")
    other = asked(0.05, wider, batches, predictor="local-3")
    assert [other[name].value for name in other] == [found[name].value for name in found]
    third = [
        one.cost.products - asked(0.05, *given, predictor="local").cost.products
        for one, *given in ((found,), (other, wider, batches))
    ]
    assert third[0] == third[1]


def test_order_3_of_a_schedule_against_itself_is_nothing():
    found = asked(0.05, predictor="local-3", against=SCHEDULE)
    assert [found[name].value for name in found] == [0.0, 0.0]


def test_a_sign_that_replicates_do_not_resolve_is_not_answered():
    draw = np.random.default_rng(5)
    noisy = {
        name: [(a + torch.tensor(3 * draw.normal(size=a.shape)), b) for a, b in found * 6]
        for name, found in data().items()
    }
    found = asked(1e-6, batches=noisy, replicates=6, predictor="local")
    assert not found.answered
    assert any("p-value" in found[name].verdict.quantity for name in found)


@pytest.mark.parametrize("predictor", ["local", "trajectory"])
def test_the_cost_in_training_steps_counts_every_replicate(predictor):
    batches = {name: found * 6 for name, found in data().items()}
    twice = {name: found * 2 for name, found in batches.items()}
    one = asked(1e-3, batches=batches, predictor=predictor).cost
    two = asked(1e-3, batches=twice, predictor=predictor, replicates=2).cost
    assert two.gradient_equivalents == 2 * one.gradient_equivalents
    assert two.training_steps == 2 * one.training_steps
    assert one.training_steps == pytest.approx(one.gradient_equivalents / len(NAMES))  # roundoff


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor": "local-4"}, "predictor"),
        ({"points": 0}, "points"),
        ({"schedule": WeightSchedule.blocks({"a": 1.0, "z": 1.0})}, "misses or does not know"),
        ({"against": SCHEDULE.then(SCHEDULE)}, "same length"),
        ({"targets": {"t": {"z": 1.0}}}, "weighs z"),
        ({"targets": {"t": {"a": 0.4}}}, "sum to 1"),
    ],
)
def test_bad_input_is_one_clear_error(options, message):
    options = {"schedule": SCHEDULE, "targets": TARGETS, "optimizer": 0.1} | options
    schedule, targets = options.pop("schedule"), options.pop("targets")
    with pytest.raises(CommuteError, match=message):
        predict_excess_loss(Point(THETA), bent, data(), schedule, targets, **options)


def test_a_schedule_that_leaves_the_simplex_cannot_be_built():
    with pytest.raises(CommuteError, match="leaves the simplex"):
        WeightSchedule.tilt(THIRD, "a", "b", 0.4, 2.0)
