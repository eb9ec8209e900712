"""Parameters that some steps do not reach: torch skips them there, with their memory and their decay."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.surface import Surface
from tests.criterion_models import one_thread

NAMES, K = ("a", "b"), 4
SWAP = WeightSchedule.blocks({"a": K, "b": K})
TILT = WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.1, K)
LR = 0.02


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


class Heads(nn.Module):
    """A body that both domains train, and a head for each."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.body = nn.Parameter(torch.randn(3, 3, generator=draw, dtype=torch.float64))
        self.heads = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(3, generator=draw, dtype=torch.float64)) for name in NAMES}
        )


def loss_fn(model, batch):
    name, x, y = batch
    return (torch.tanh(x @ model.body) @ model.heads[name] - y).square().sum(), len(x)


def data(seed, count=2 * K):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: [
            (name, *(torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((8, 3), (8,))))
            for _ in range(count)
        ]
        for name in NAMES
    }


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=LR),
    "SGD with decay": lambda p: torch.optim.SGD(p, lr=LR, weight_decay=0.5),
    "momentum": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=LR),
}


def warmed(kind, to_none):
    """A run of a few steps on both domains, and on the window's own steps after a schedule."""
    model = Heads()
    optimizer = OPTIMIZERS[kind](model.parameters())
    warm = data(5, 3)
    for s in range(3):
        step(model, optimizer, warm, s, (0.5, 0.5), to_none)
    return model, optimizer


def step(model, optimizer, batches, s, weights, to_none):
    optimizer.zero_grad(set_to_none=to_none)
    for name, w in zip(NAMES, weights, strict=True):
        if w:
            total, weight = loss_fn(model, batches[name][s])
            (w * total / weight).backward()
    optimizer.step()


def observed(kind, schedule, to_none):
    ends = []
    for each in (schedule, schedule.averaged()):
        model, optimizer = warmed(kind, to_none)
        for s, w in enumerate(np.repeat(each.weights, each.durations.astype(int), axis=0).tolist()):
            step(model, optimizer, data(1), s, w, to_none)
        ends.append([float(loss_fn(model, data(2, 1)[name][0])[0].detach()) / 8 for name in NAMES])
    return np.subtract(*ends)


def predicted(kind, schedule, predictor="trajectory"):
    model, optimizer = warmed(kind, False)
    return predict_excess_loss(
        model,
        loss_fn,
        data(1),
        schedule,
        {name: {name: 1.0} for name in NAMES},
        optimizer=optimizer,
        held_out=data(2, 1),
        predictor=predictor,
        points=5,
    )


def off(found, seen):
    return np.abs([found[name].value for name in NAMES] - seen).max() / np.abs(seen).max()


@pytest.mark.parametrize("kind", ["SGD with decay", "momentum", "AdamW"])
def test_a_swap_of_domains_with_heads_of_their_own_is_abstained_from(kind):
    found = predicted(kind, SWAP)
    for name in NAMES:
        assert not found[name].answered
        assert "do not reach" in found[name].verdict.words
    assert "heads.a, heads.b" in found.notes[-1]
    assert "set_to_none" in found.notes[-1]
    with_zeros, skipped = observed(kind, SWAP, False), observed(kind, SWAP, True)
    assert off(found, with_zeros) < 0.1  # order: what five points leave
    assert np.abs(with_zeros - skipped).max() > 0.03 * np.abs(skipped).max()  # what it abstains for


def test_without_looking_at_what_is_reached_it_would_answer(monkeypatch):
    monkeypatch.setattr(Surface, "reached", lambda self, name: frozenset({"body", "heads.a", "heads.b"}))
    assert predicted("momentum", SWAP).answered  # planted
    assert off(predicted("momentum", SWAP), observed("momentum", SWAP, True)) > 0.1


def test_plain_sgd_leaves_alone_what_has_no_gradient_either_way():
    found = predicted("SGD", SWAP)
    assert found.answered
    assert off(found, observed("SGD", SWAP, True)) < 0.05
    assert np.array_equal(observed("SGD", SWAP, True), observed("SGD", SWAP, False))


@pytest.mark.parametrize("kind", ["momentum", "AdamW"])
def test_steps_that_train_every_domain_reach_all_and_cost_no_look(kind):
    found = predicted(kind, TILT)
    assert found.answered
    assert off(found, observed(kind, TILT, True)) < 0.05
    assert "set_to_none" not in " ".join(found.notes)


@pytest.mark.parametrize("predictor", ["memory", "frozen-curvature"])
def test_other_predictors_abstain_too(predictor):
    found = predicted("AdamW", SWAP, predictor)
    assert not found.answered
    assert "set_to_none" in found.notes[-1]
