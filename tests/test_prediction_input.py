"""What predictions get: numbers of any type, rates before a warmup, loaders, dropout; and bad input."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import commute_verify as cv
from commute_verify.criterion import lanczos
from commute_verify.criterion.basis import Basis

HALF, STEPS = {"a": 0.5, "b": 0.5}, 4
TILT = cv.WeightSchedule.tilt(HALF, "a", "b", 0.1, STEPS // 2)
RUNGS = ("local", "local-3", "frozen-curvature", "memory")


def network(dropout=0.0):
    torch.manual_seed(3)
    layers = nn.Embedding(8, 4), nn.Dropout(dropout), nn.Tanh(), nn.Linear(4, 8)
    return nn.Sequential(*layers).double()


def next_token_loss(model, tokens):
    return cross_entropy(model(tokens[:, :-1]).mT, tokens[:, 1:], reduction="sum"), tokens[:, 1:].numel()


def tokens(count=STEPS, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: [torch.randint(*between, (3, 5), generator=draw) for _ in range(count)]
        for name, between in (("a", (0, 6)), ("b", (2, 8)))
    }


def ask(model=None, optimizer=0.01, loss_fn=next_token_loss, data=None, **options):
    return cv.predict_excess_loss(
        network() if model is None else model,
        loss_fn,
        data or tokens(),
        TILT,
        optimizer=optimizer,
        **options,
    )


def values(found):
    return [found[name].value for name in found]


def test_rates_to_come_are_taken_before_a_warmup_has_begun():
    def of(*groups, schedule=False):
        model = network()
        optimizer = torch.optim.AdamW(
            [
                {"params": list(part.parameters()), "lr": lr}
                for part, lr in zip((model[0], model[3]), groups, strict=True)
            ]
        )
        if schedule:
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
        return ask(model, optimizer, lr=[0.01 * s for s in range(STEPS)], predictor="trajectory")

    assert values(of(0.1, 0.2, schedule=True)) == values(of(0.1, 0.2))
    assert values(of(0.0, 0.0)) == values(of(0.1, 0.1)) != values(of(0.1, 0.2))
    with pytest.raises(cv.CommuteError, match="learns first"):
        of(0.0, 0.1)
    model = network()
    with pytest.raises(cv.CommuteError, match="rates to come with lr="):
        ask(model, torch.optim.AdamW(model.parameters(), lr=0.0))


def test_the_basis_of_frozen_curvature_lies_where_it_is_asked_to(monkeypatch):
    devices = set()

    class Seen(Basis):
        def __init__(self, start, device=None):
            devices.add(device)
            super().__init__(start, device)

    monkeypatch.setattr(lanczos, "Basis", Seen)
    by_default = ask(predictor="frozen-curvature")
    assert devices == {None}
    devices.clear()
    on_the_cpu = ask(predictor="frozen-curvature", basis_device="cpu")
    assert devices == {torch.device("cpu")}
    assert values(on_the_cpu) == values(by_default)


@pytest.mark.parametrize(
    "given", ["meta", "nowhere", "hpu", "privateuseone", 2.5, 10**30, "cuda:77", torch.device("cuda:77")]
)
def test_a_device_that_is_not_there_is_told(given):
    name = str(given) if isinstance(given, torch.device) else given
    with pytest.raises(cv.CommuteError, match=re.escape(f"basis_device={name!r}: no device here; give one")):
        ask(predictor="frozen-curvature", basis_device=given)


def test_exchange_is_nothing_to_predictors_of_broken_durations():
    halves = cv.WeightSchedule.tilt(HALF, "a", "b", 0.1, 2.5)

    def of(**options):
        return values(
            cv.predict_excess_loss(
                network(), next_token_loss, tokens(), halves, optimizer=1e-4, predictor="local", **options
            )
        )

    assert of(exchange=2) == of()


def test_the_gradients_that_a_difference_step_is_found_by_are_counted(monkeypatch):
    right, seen = torch.autograd.grad, []

    def counted(*given, **more):
        seen.append(given)
        return right(*given, **more)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    found = ask(predictor="local", method="finite-difference")
    assert found.cost.gradients - len(seen) in (0, 1)  # a look at the loss alone, once


def test_numbers_of_any_type_are_taken():
    plain = ask(predictor="trajectory", points=2, replicates=2, data=tokens(2 * STEPS), clip_norm=9)
    other = ask(
        predictor="trajectory",
        points=np.int64(2),
        replicates=np.int32(2),
        data=tokens(2 * STEPS),
        clip_norm=np.float32(9),
        optimizer=np.float64(0.01),
        tolerance=np.float32(1e-4),
        max_products=np.int64(100),
        seed=np.int64(0),
    )
    assert values(plain) == values(other)


def test_loaders_of_what_targets_are_taken_from_are_left_as_they_were():
    draw = torch.Generator().manual_seed(1)
    loaders = {
        name: DataLoader(torch.cat(found), batch_size=3, shuffle=True, generator=draw)
        for name, found in tokens().items()
    }
    before = draw.get_state()
    ask(held_out=loaders, predictor="local")
    assert torch.equal(draw.get_state(), before)
    cv.first_variation(network(), next_token_loss, tokens(), TILT, optimizer=0.01, held_out=loaders)
    assert torch.equal(draw.get_state(), before)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_model_whose_losses_change_from_call_to_call_is_refused_where_calls_are_compared(rung):
    with pytest.raises(cv.CommuteError, match=r"two losses.*model.eval\(\)"):
        ask(network(dropout=0.4), predictor=rung)
    assert ask(network(dropout=0.4).eval(), predictor=rung)


def test_auto_follows_a_run_with_dropout_along_its_trajectory():
    found = ask(network(dropout=0.4))
    assert {found[name].predictor for name in found} == {"trajectory"}
    assert found.answered
    with pytest.raises(cv.CommuteError, match="model with dropout"):
        ask(network(dropout=0.4), data=tokens(1))


class Blown(torch.autograd.Function):
    """The value as it is, with a gradient that is no number."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * float("inf")


@pytest.mark.parametrize("step", [0, 1])
def test_a_gradient_that_is_no_number_is_bad_input_at_the_start_and_abstained_from_on_the_way(step):
    model = network()
    start = model[3].bias.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def blown(twin, batch):
        loss, weight = next_token_loss(twin, batch)
        return (Blown.apply(loss) if torch.equal(twin[3].bias, start) == (step == 0) else loss), weight

    if step == 0:
        with pytest.raises(
            cv.CommuteError, match="domain 'a', batch 1: the gradient is not finite at step 0"
        ):
            ask(model, optimizer, blown)
    else:
        found = ask(model, optimizer, blown)
        assert not found.answered
        assert (
            "the run diverges: the loss or its gradient is not finite after 1 steps"
            in found["a"].verdict.words
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m"}, "torch.nn.Module"),
        ({"seed": 2**70}, "seed="),
        ({"seed": -1}, "from 0"),
        ({"replicates": True}, "replicates"),
        ({"replicates": None}, "replicates"),
        ({"tolerance": 1}, "tolerance"),
        ({"targets": {}}, "no targets"),
        ({"states": "/no/such/folder"}, "no folder"),
        ({"states": 3}, "no folder"),
        ({"predictor": ["local"]}, "predictor="),
        ({"lr": "1e-2"}, "lr='1e-2'; give"),
        ({"held_out": {name: iter(each) for name, each in tokens().items()}}, "in held_out is an iterator"),
        ({"held_out": dict.fromkeys(tokens(), "text")}, "in held_out is str, which holds no batches"),
    ],
)
def test_bad_input_is_one_clear_error(options, message):
    with pytest.raises(cv.CommuteError, match=message):
        ask(**options)


@pytest.mark.parametrize(
    ("constant", "said"),
    [("lr", "lr is nan"), ("weight_decay", "weight_decay is nan"), ("eps", "eps is nan")],
)
def test_an_optimizer_with_a_constant_that_is_no_number_is_refused(constant, said):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    optimizer.param_groups[0][constant] = float("nan")
    with pytest.raises(cv.CommuteError, match=f"the optimizer's {said}; give a finite one"):
        ask(model, optimizer)


def test_too_few_batches_for_what_auto_needs_are_counted():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    with pytest.raises(cv.CommuteError, match="for each of 4 steps, and domain 'a' has 2; give these"):
        ask(model, optimizer, data=tokens(2))
    with pytest.raises(cv.CommuteError, match="domain 'a' has 2 in each of 3 replicates; give these"):
        ask(model, optimizer, data=tokens(6), replicates=3)


def test_a_run_that_diverges_is_told_from_a_batch_that_is_broken_and_has_its_price():
    def steep(model, batch):
        loss, weight = next_token_loss(model, batch)
        return loss + (1e3 * model[3].bias).pow(8).sum(), weight

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    found = ask(model, optimizer, steep)
    words = r"the run diverges: .* after \d steps of the window; lower the learning rate"
    assert not found.answered
    assert re.search(words, found["a"].verdict.words)
    assert found.cost.training_steps > 0
    with pytest.raises(cv.CommuteError, match=words):
        ask(model, optimizer, steep, predictor="trajectory")


@pytest.mark.parametrize("rung", RUNGS)
def test_a_batch_whose_loss_is_no_number_is_named(rung):
    data = tokens()

    def broken(model, batch):
        loss, weight = next_token_loss(model, batch)
        return (loss * float("nan") if batch is data["b"][2] else loss), weight

    with pytest.raises(cv.CommuteError, match="domain 'b', batch 3: the loss is nan"):
        ask(loss_fn=broken, data=data, predictor=rung)


def test_a_first_variation_asked_for_what_is_no_schedule_says_so():
    found = cv.first_variation(network(), next_token_loss, tokens(), TILT.averaged(), optimizer=0.01)
    for asked in (lambda: found.excess(3), lambda: found.predict(TILT, "mirror")):
        with pytest.raises(cv.CommuteError, match="give a WeightSchedule"):
            asked()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_token_beyond_the_vocabulary_is_named_with_its_domain_and_batch(batch):
    data = tokens(2 * STEPS)
    data["b"][batch - 1][0, 0] = 8
    for predictor in ("local", "frozen-curvature", "trajectory"):
        with pytest.raises(cv.CommuteError, match=rf"domain 'b', batch {batch}: .*out of range"):
            ask(data=data, predictor=predictor)
    with pytest.raises(cv.CommuteError, match=rf"domain 'b', batch {batch}: .*out of range"):
        cv.order_effect(network(), next_token_loss, data, batches=2 * STEPS)
