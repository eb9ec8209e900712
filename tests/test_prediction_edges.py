"""Inputs at the edge: rounded durations, wider held-out losses, dropout, rounding, broken states."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import commute_verify as cv
from commute_verify.criterion import undisturbed
from commute_verify.criterion.prediction import costate, local, skipping, variation, window

HALF = {"a": 0.5, "b": 0.5}
OFF = 5 * (1 + 2**-52)
"""Five steps, one unit of rounding too long."""


def squared(model, batch):
    x, y = batch
    return (model(x) - y).square().sum(), len(x)


def data(count=12, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = ((8, 3), (8, 2))
    return {
        name: [
            tuple(torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes)
            for _ in range(count)
        ]
        for name in HALF
    }


def seeded(make):
    torch.manual_seed(0)
    return make().double()


def linear():
    return seeded(lambda: nn.Linear(3, 2))


def values(found):
    return [found[name].value for name in found]


def blocks(duration):
    return cv.WeightSchedule.blocks({"b": duration, "a": duration})


def by_duration(duration, **options):
    return cv.predict_excess_loss(linear(), squared, data(), blocks(duration), optimizer=0.1, **options)


@pytest.mark.parametrize("predictor", ["local", "frozen-curvature", "trajectory"])
def test_a_duration_that_is_whole_but_for_rounding_is_whole(predictor):
    assert values(by_duration(OFF, predictor=predictor)) == values(by_duration(5, predictor=predictor))


def test_a_duration_that_rounding_makes_a_flow_is_caught(monkeypatch):
    whole = values(by_duration(5, predictor="frozen-curvature"))
    monkeypatch.setattr(window, "in_steps", lambda durations: durations)
    assert values(by_duration(OFF, predictor="frozen-curvature")) != whole


def test_the_first_variation_takes_durations_that_are_whole_but_for_rounding(monkeypatch):
    constant = cv.WeightSchedule.constant(HALF, 10)
    found = cv.first_variation(linear(), squared, data(), constant, optimizer=0.1)
    assert found.excess(blocks(OFF)) == found.excess(blocks(5))
    monkeypatch.setattr(variation, "in_steps", lambda durations: durations)
    with pytest.raises(cv.CommuteError, match="whole steps"):
        found.excess(blocks(OFF))


class Held(nn.Module):
    """A head that only held-out batches, of three parts, go through."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.other = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x, tested):
        hidden = torch.tanh(self.body(x))
        return self.head(hidden) + (self.other(hidden) if tested else 0)


def held_loss(model, batch):
    x, y, *tested = batch
    return (model(x, bool(tested)) - y).square().sum(), len(x)


def held_further():
    """A tilt whose targets reach a head that training skips, with decay and memory of its own."""
    model = seeded(Held)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.5)
    tested = {name: [(*batch, 1) for batch in batches] for name, batches in data(2).items()}
    loss, _ = held_loss(model, tested["a"][0])
    loss.backward()
    optimizer.step()
    tilt = cv.WeightSchedule.tilt(HALF, "a", "b", 0.15, 4)
    return cv.predict_excess_loss(
        model, held_loss, data(), tilt, optimizer=optimizer, held_out=tested, predictor="trajectory"
    )


def test_held_out_losses_that_reach_what_training_skips_are_not_answered():
    found = held_further()
    assert not any(one.answered for one in found.excess.values())
    assert any("other.weight" in note and "skips" in note for note in found.notes)


def test_targets_taken_for_what_is_trained_on_are_caught(monkeypatch):
    right = skipping.reach

    def own(question):
        return right(type(question)(**{**vars(question), "held_out": question.fields}))

    monkeypatch.setattr("commute_verify.criterion.prediction.left_out.reach", own)
    assert any(one.answered for one in held_further().excess.values())


def under_dropout(order):
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 2)))
    swap = cv.WeightSchedule.blocks(dict.fromkeys(order, 2))
    return cv.predict_excess_loss(
        model.train(), squared, data(), swap, optimizer=0.02, held_out=data(2, 1), predictor="trajectory"
    )


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_under_dropout_both_ends_are_tested_under_the_same_masks(order):
    assert all(one.answered for one in under_dropout(order).excess.values())


def test_a_gpu_that_is_not_in_use_is_not_seeded(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    under_dropout("ab")
    assert len(seeds) == 1  # that of the test's own model
    monkeypatch.setattr(costate, "reseed", torch.manual_seed)  # planted
    under_dropout("ab")
    assert len(seeds) > 2


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_a_gpu_in_use_is_seeded_for_every_batch_and_left_as_it_was(monkeypatch, kind):
    seeds, restored = [], []
    gpu = getattr(torch, kind)
    monkeypatch.setattr(gpu, "get_rng_state_all", lambda: ["as it was"])
    monkeypatch.setattr(gpu, "set_rng_state_all", restored.append)
    monkeypatch.setattr(gpu, "manual_seed_all", seeds.append)
    monkeypatch.setattr(gpu, "is_initialized", lambda: True)
    under_dropout("ab")
    assert len(set(seeds)) > 4  # each of the steps' batches, and the targets'
    assert restored == [["as it was"]]


def test_masks_that_go_on_from_the_last_domain_trained_are_caught(monkeypatch):
    right = costate.Training._targets

    def going_on(self, at, held_out, mixing):
        monkeypatch.setattr(costate, "reseed", lambda seed: None)
        found = right(self, at, held_out, mixing)
        monkeypatch.setattr(costate, "reseed", undisturbed.reseed)
        return found

    monkeypatch.setattr(costate.Training, "_targets", going_on)
    assert not all(one.answered for one in under_dropout("ba").excess.values())


def of_linear_losses(predictor="local"):
    batches = {name: [(torch.ones(1, 3).double() * k, torch.zeros(1, 2))] for k, name in enumerate("abc", 1)}
    thirds = dict(zip("abc", (0.1, 0.2, 0.7), strict=True))
    tilt = cv.WeightSchedule.tilt(thirds, "a", "c", 0.07, 0.3)
    return cv.predict_excess_loss(
        linear(),
        lambda model, batch: (model(batch[0]).sum(), 1),
        batches,
        tilt,
        optimizer=0.1,
        predictor=predictor,
    )


def test_the_local_predictor_does_not_answer_rounding():
    found = of_linear_losses()
    assert not any(one.answered for one in found.excess.values())
    assert {one.verdict.quantity for one in found.excess.values()} == {"rounding over the excess"}


def test_rounding_that_is_taken_for_an_excess_is_caught(monkeypatch):
    monkeypatch.setattr(local, "NOISE", np.inf)
    found = of_linear_losses()
    assert any(one.answered and one.value for one in found.excess.values())


@pytest.mark.parametrize("predictor", ["local", "frozen-curvature", "memory", "trajectory", "auto"])
@pytest.mark.parametrize(("rule", "key"), [("AdamW", "exp_avg_sq"), ("SGD", "momentum_buffer")])
def test_a_state_that_is_not_finite_is_named(predictor, rule, key):
    model = linear()
    more = {"momentum": 0.9} if rule == "SGD" else {}
    optimizer = getattr(torch.optim, rule)(model.parameters(), lr=0.01, **more)
    squared(model, data()["a"][0])[0].backward()
    optimizer.step()
    broken = copy.deepcopy(optimizer.state_dict())
    optimizer.state[model.weight][key][0, 0] = float("nan")
    tilt = cv.WeightSchedule.tilt(HALF, "a", "b", 0.1, 2)

    def ask():
        return cv.predict_excess_loss(model, squared, data(), tilt, optimizer=optimizer, predictor=predictor)

    with pytest.raises(cv.CommuteError, match=f"the optimizer's {key} of weight is not finite"):
        ask()
    optimizer.load_state_dict(broken)
    ask()


def test_the_series_is_summed_where_the_gradients_are():
    assert local._beside(torch.empty(2, device="meta"), np.eye(2)).device.type == "meta"


def test_learning_rates_that_ask_for_gradients_are_refused():
    rates = torch.full((4,), 0.1, requires_grad=True)
    with pytest.raises(cv.CommuteError, match="one number, or one per step"):
        cv.predict_excess_loss(linear(), squared, data(), blocks(2), optimizer=0.1, lr=rates)


def test_a_sparse_gradient_is_named():
    model = nn.Embedding(4, 2, sparse=True)
    tokens = {name: [torch.tensor([k])] for k, name in enumerate(HALF)}
    swap = cv.WeightSchedule.blocks({"a": 1, "b": 1})
    with pytest.raises(cv.CommuteError, match="sparse=False"):
        cv.predict_excess_loss(model, lambda m, x: (m(x).square().sum(), 1), tokens, swap, optimizer=0.1)
