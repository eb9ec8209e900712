"""Weight decay, and learning rates of groups, as the local rungs and frozen curvature take them."""

import copy

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import nn

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.predict import predict_excess_loss

N, NAMES = 6, ("a", "b")
SCHEDULE = WeightSchedule.piecewise([(3.0, {"a": 0.9, "b": 0.1}), (4.0, {"a": 0.2, "b": 0.8})])


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(7)
        self.head = nn.Parameter(torch.tensor(draw.normal(size=N // 2)))
        self.rest = nn.Parameter(torch.tensor(draw.normal(size=N // 2)))


def half_square(model, batch):
    A, b = batch
    d = torch.cat([model.head, model.rest]) - b
    return 0.5 * d @ A @ d, 1.0


def problem():
    draw = np.random.default_rng(1)
    roots = draw.normal(size=(2, N, N)) / np.sqrt(N)
    return np.array([root @ root.T for root in roots]), draw.normal(size=(2, N))


def data():
    A, b = problem()
    return {name: [(torch.tensor(A[k]), torch.tensor(b[k]))] * 7 for k, name in enumerate(NAMES)}


def groups(model):
    return [{"params": [model.head]}, {"params": [model.rest], "lr": 0.15, "weight_decay": 0.2}]


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.4),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, dampening=0.25, weight_decay=0.4),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.4),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.4),
}


def warmed(kind):
    model = Halves()
    optimizer = OPTIMIZERS[kind](groups(model))
    for _ in range(3):
        optimizer.zero_grad()
        sum(half_square(model, found[0])[0] for found in data().values()).backward()
        optimizer.step()
    return model, optimizer


def drift(kind, model, optimizer):
    """D and λ (n,), per flow time of the first group, from what torch's documentation says of each rule."""
    share = np.repeat([1.0, 3.0], N // 2)
    decay = np.repeat([0.4, 0.2], N // 2)
    if kind == "SGD":
        return share, share * decay
    if kind == "momentum":
        return 1.5 * share, 1.5 * share * decay
    v = np.concatenate([optimizer.state[p]["exp_avg_sq"].numpy() for p in (model.head, model.rest)])
    D = share / (np.sqrt(v / (1 - 0.999**3)) + 1e-8)
    return D, D * decay if kind == "Adam" else share * decay


def flowed(kind, lr):
    """Excess losses of a and b by dense exponentials of θ' = −D Σ w A (θ − b) − λθ."""
    model, optimizer = warmed(kind)
    D, shrink = drift(kind, model, optimizer)
    A, b = problem()
    ends = []
    for schedule in (SCHEDULE, SCHEDULE.averaged()):
        x = np.append(torch.cat([model.head, model.rest]).detach().numpy(), 1.0)
        for duration, w in zip(schedule.durations, schedule.weights, strict=True):
            matrix = np.zeros((N + 1, N + 1))
            matrix[:N, :N] = -D[:, None] * np.einsum("k,kij->ij", w, A) - np.diag(shrink)
            matrix[:N, N] = D * np.einsum("k,kij,kj->i", w, A, b)
            x = expm(lr * duration * matrix) @ x
        ends.append(x[:N])
    return np.array([[0.5 * (x - c) @ M @ (x - c) for M, c in zip(A, b, strict=True)] for x in ends])


def assert_flowed(kind, lr=0.1):
    model, optimizer = warmed(kind)
    found = asked(model, optimizer, "frozen-curvature", lr=lr, dynamics="flow", tolerance=1e-13)
    one, other = flowed(kind, lr)
    assert np.abs(found - (one - other)).max() <= 1e-8 * np.abs(one - other).max()


def asked(model, optimizer, predictor, **options):
    found = predict_excess_loss(
        model, half_square, data(), SCHEDULE, optimizer=optimizer, predictor=predictor, **options
    )
    return np.array([found[name].value for name in NAMES])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_decay_and_rates_of_groups_are_flowed_exactly(kind):
    assert_flowed(kind)


@pytest.mark.parametrize(
    "planted", [lambda self, D: self.decay, lambda self, D: self.relative * self.decay, lambda self, D: 0.0]
)
@pytest.mark.parametrize("kind", ["momentum", "Adam"])
def test_a_decay_of_other_strength_is_caught(kind, planted, monkeypatch):
    monkeypatch.setattr(Optimizer, "shrinkage", planted)
    with pytest.raises(AssertionError):
        assert_flowed(kind)


def test_decoupled_decay_without_the_rates_of_its_groups_is_caught(monkeypatch):
    monkeypatch.setattr(Optimizer, "shrinkage", lambda self, D: self.decay)
    with pytest.raises(AssertionError):
        assert_flowed("AdamW")


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_order_2_agrees_to_second_order(kind):
    errors = []
    for lr in (1e-4, 2e-4):
        options = {"lr": lr, "dynamics": "flow"}
        pair = [
            asked(*warmed(kind), "local", **options),
            asked(*warmed(kind), "frozen-curvature", tolerance=1e-13, **options),
        ]
        errors.append(np.abs(pair[0] - pair[1]))
    assert np.all(np.abs(np.log2(errors[1] / errors[0]) - 3) < 0.4)


def test_the_discrete_steps_of_sgd_with_decay_are_those_of_torch():
    model, optimizer = warmed("SGD")
    found = asked(model, optimizer, "frozen-curvature", tolerance=1e-13)
    ends = []
    for schedule in (SCHEDULE, SCHEDULE.averaged()):
        twin = Halves()
        its = OPTIMIZERS["SGD"](groups(twin))
        twin.load_state_dict(copy.deepcopy(model.state_dict()))
        for w in np.repeat(schedule.weights, schedule.durations.astype(int), axis=0):
            its.zero_grad()
            sum(
                float(x) * half_square(twin, data()[name][0])[0] for x, name in zip(w, NAMES, strict=True)
            ).backward()
            its.step()
        ends.append([float(half_square(twin, data()[name][0])[0].detach()) for name in NAMES])
    one, other = np.array(ends)
    assert np.abs(found - (one - other)).max() <= 1e-8 * np.abs(one - other).max()


def test_auto_takes_sgd_with_decay():
    model, optimizer = warmed("SGD")
    found = predict_excess_loss(model, half_square, data(), SCHEDULE, optimizer=optimizer)
    assert found.answered


def test_parameters_without_second_moments_are_told():
    model = Halves()
    optimizer = OPTIMIZERS["AdamW"](groups(model))
    model.head.square().sum().backward()
    optimizer.step()
    with pytest.raises(CommuteError, match=r"no step for some of the parameters.*params="):
        asked(model, optimizer, "local")
