"""Parameters that some steps do not reach: torch skips them there, with their memory and their decay."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction.predict import first_variation, predict_excess_loss
from commute_verify.criterion.prediction.skipping import Reach
from commute_verify.criterion.prediction.surface import Surface

NAMES, K = ("a", "b"), 4
SWAP = WeightSchedule.blocks({"a": K, "b": K})
TILT = WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.1, K)
LR = 0.02


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


THIRD = WeightSchedule.tilt({"a": 0.5, "b": 0.5, "c": 0.0}, "a", "b", 0.2, 2 * K)
"""A head of c is trained by no step: torch leaves it alone, a gradient of 0 would decay it."""


class Three(Heads):
    def __init__(self):
        super().__init__()
        self.heads["c"] = nn.Parameter(torch.ones(3, dtype=torch.float64))


def untrained():
    """What is predicted of every domain, and the excess of c by a run that decays at a rate of 0.5."""
    batches = data(1, 4 * K)
    batches["c"] = [("c", *rest) for _, *rest in batches["a"]]
    lr, ends = 0.05, []
    for each in (THIRD, THIRD.averaged()):
        model = Three()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=0.5)
        for s, w in enumerate(np.repeat(each.weights, each.durations.astype(int), axis=0).tolist()):
            step(model, optimizer, batches, s, w[:2], True)
        ends.append(np.mean([float(loss_fn(model, batch)[0].detach()) / 8 for batch in batches["c"]]))
    model = Three()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=0.5)
    found = predict_excess_loss(model, loss_fn, batches, THIRD, optimizer=optimizer, predictor="trajectory")
    return found, ends[0] - ends[1]


def test_a_target_whose_own_head_no_step_trains_is_abstained_from_alone():
    found, seen = untrained()
    assert found["a"].answered
    assert found["b"].answered
    assert not found["c"].answered
    assert "heads.c" in found.notes[-1]
    assert abs(found["c"].value / seen - 1) > 0.15  # what it abstains for


def test_without_looking_at_what_targets_reach_it_would_answer(monkeypatch):
    monkeypatch.setattr(Reach, "skipped", lambda self, rows, target: [])
    found, seen = untrained()
    assert found["c"].answered  # planted
    assert abs(found["c"].value / seen - 1) > 0.15


def varied(kind):
    """A tilt to the border of the simplex and its mirror, from one sweep; replicates hardly differ."""
    model, optimizer = warmed(kind, True)
    noise = np.linspace(-0.01, 0.01, 6 * K)
    batches = {name: [(name, x, y + e) for e in noise] for name, ((_, x, y),) in data(1, 1).items()}
    base = {"a": 0.15, "b": 0.85}
    swept = first_variation(
        model, loss_fn, batches, WeightSchedule.constant(base, 2 * K), optimizer=optimizer, replicates=3
    )
    return swept.predict(*(WeightSchedule.tilt(base, "a", "b", delta, K) for delta in (0.15, -0.15)))


@pytest.mark.parametrize("kind", ["momentum", "AdamW"])
def test_one_sweep_abstains_where_a_tilt_leaves_a_head_out(kind):
    for found in varied(kind).values():
        assert not found.answered
        assert "do not reach" in found.verdict.words


def test_one_sweep_would_answer_such_a_tilt(monkeypatch):
    monkeypatch.setattr(Reach, "skipped", lambda self, rows, target: [])
    assert any(found.answered for found in varied("momentum").values())  # planted
    monkeypatch.undo()
    assert any(found.answered for found in varied("SGD").values())
