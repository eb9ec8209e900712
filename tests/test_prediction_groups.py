"""Optimizers that treat parameters differently: groups at rest, buffers that are empty, no step taken yet."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction import update
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.predict import predict_excess_loss

K = 4
TILT = WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.3, K)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([1.0, -0.5], dtype=torch.float64))
        self.y = nn.Parameter(torch.tensor([0.3, 0.7], dtype=torch.float64))


def loss_fn(model, batch):
    p, q = batch
    return 0.5 * ((model.x @ p) * (model.y @ q) - 1).square() + 0.1 * (model.x * model.y).sum().square(), 1.0


DATA = {
    name: [tuple(torch.tensor(v, dtype=torch.float64) for v in pair)] * (2 * K)
    for name, pair in {"a": ((1.0, 0.2), (0.5, -1.0)), "b": ((-0.3, 1.0), (1.0, 0.6))}.items()
}


def stepped(optimizer, parameters):
    """One step that has gradients of these parameters alone."""
    for p in parameters:
        p.grad = torch.full_like(p, 0.1)
    optimizer.step()
    optimizer.zero_grad()


def observed(made, schedule=TILT):
    ends = []
    for each in (schedule, schedule.averaged()):
        model, optimizer = made()
        for w in np.repeat(each.weights, each.durations.astype(int), axis=0).tolist():
            optimizer.zero_grad()
            sum(x * loss_fn(model, DATA[name][0])[0] for x, name in zip(w, DATA, strict=True)).backward()
            optimizer.step()
        ends.append([float(loss_fn(model, DATA[name][0])[0].detach()) for name in DATA])
    return np.subtract(*ends)


def off(made, predictor):
    model, optimizer = made()
    found = predict_excess_loss(model, loss_fn, DATA, TILT, optimizer=optimizer, predictor=predictor)
    seen = observed(made)
    return found, np.abs([found[name].value for name in DATA] - seen).max() / np.abs(seen).max()


def dampened():
    """Momentum that one parameter has not begun."""
    model = Two()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, dampening=0.8)
    stepped(optimizer, [model.x])
    return model, optimizer


def test_a_buffer_that_is_empty_starts_without_dampening():
    found, error = off(dampened, "trajectory")
    assert found.answered
    assert error < 1e-3  # order: what three points leave


def test_dampening_an_empty_buffer_is_caught(monkeypatch):
    monkeypatch.setattr(update, "_dampening", lambda optimizer, number: optimizer.dampening)
    assert off(dampened, "trajectory")[1] > 0.15  # planted


def resting(kind):
    """A second group whose learning rate is 0."""

    def made():
        model = Two()
        groups = [{"params": [model.x]}, {"params": [model.y], "lr": 0.0}]
        return model, {
            "SGD": lambda: torch.optim.SGD(groups, lr=0.003, weight_decay=0.1),
            "AdamW": lambda: torch.optim.AdamW(groups, lr=0.003, weight_decay=0.1),
        }[kind]()

    return made


@pytest.mark.parametrize("predictor", ["local", "local-3", "frozen-curvature"])
def test_a_group_that_rests_is_left_where_it_is(predictor):
    found, error = off(resting("SGD"), predictor)
    assert found.answered
    assert error < 0.1  # order


@pytest.mark.parametrize("predictor", ["local", "local-3", "frozen-curvature"])
def test_under_adamw_a_group_that_rests_gives_numbers(predictor):
    model, optimizer = resting("AdamW")()
    stepped(optimizer, [model.x, model.y])
    found = predict_excess_loss(model, loss_fn, DATA, TILT, optimizer=optimizer, predictor=predictor)
    assert np.isfinite([found[name].value for name in DATA]).all()


def small(scale):
    def scaled(model, batch):
        total, weight = loss_fn(model, batch)
        return scale * total, weight

    return scaled


def remembered(scale):
    model = Two()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, eps=1e-30)
    return predict_excess_loss(model, small(scale), DATA, TILT, optimizer=optimizer, predictor="memory")


def test_memory_without_a_step_behind_it_is_judged_in_adams_own_units():
    verdicts = [remembered(scale)["a"].verdict for scale in (1.0, 1e-6)]
    assert not any(verdict.valid for verdict in verdicts)  # parameters move by 0.4 of about 1
    assert verdicts[1].value == pytest.approx(verdicts[0].value, rel=1e-6)  # roundoff: the loss has no unit


def test_judged_without_second_moments_a_small_loss_would_pass(monkeypatch):
    plain = Optimizer.preconditioner
    monkeypatch.setattr(
        Optimizer, "preconditioner", lambda self, n: torch.ones_like(n) if self.adaptive else plain(self, n)
    )
    assert remembered(1e-6)["a"].answered  # planted
