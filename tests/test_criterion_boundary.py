"""What users hand over by mistake: one sentence each, that says what was given and what to give instead."""

import json
import multiprocessing
import re
from collections import UserDict
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, get_worker_info

import commute_verify as cv
from commute_verify import AdamPreconditioner, CommuteError, OrderEffect, hvp, lie_bracket, order_effect
from commute_verify.criterion.budget import Budget
from commute_verify.criterion.hessian_products import METHODS
from tests.criterion_models import regression, squares


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def data(names="ab", count=12):
    draw = torch.Generator().manual_seed(0)
    return {name: [regression(draw, 4) for _ in range(count)] for name in names}


def estimate(model=None, domains=None, loss_fn=squares, **options):
    options = {"batches": 12, "progress": False, "method": "double-backward"} | options
    return order_effect(model or net(), loss_fn, domains or data(), **options)


@pytest.fixture(scope="module")
def effect():
    return estimate()


@pytest.fixture(scope="module")
def two_targets():
    return estimate(targets={"x": {"a": 1.0}, "y": {"b": 1.0}})


def says(words):
    """The error of one sentence or two on one line, with these words at its start."""
    return pytest.raises(CommuteError, match=rf"^{re.escape(words)}[^\n]*$")


# The model, the loss and the names.

MODEL = "; give a torch.nn.Module, as in order_effect(model, loss_fn, domains)"


@pytest.mark.parametrize(
    ("model", "loss_fn", "words"),
    [
        (None, squares, "model=None" + MODEL),
        (squares, net(), "model is a function" + MODEL),
        (net(), None, "loss_fn=None; give a function of (model, batch) that returns (summed loss, weight)"),
        (net(), net().state_dict(), "loss_fn is an OrderedDict; give a function"),
    ],
)
def test_what_is_no_model_or_no_loss_function_is_named(model, loss_fn, words):
    with says(words):
        order_effect(model, loss_fn, data(), progress=False)
    batch, vector = data()["a"][0], {}
    with says(words):
        hvp(model, loss_fn, batch, vector)
    with says(words):
        lie_bracket(model, loss_fn, batch, batch)


@pytest.mark.parametrize("params", ["0.weight", ["0.weight"], re.compile("weight")])
def test_params_that_is_no_function_is_named(params):
    with says("params is a "):
        estimate(params=params)
    with pytest.raises(CommuteError, match="give a function from a parameter's name to"):
        hvp(net(), squares, data()["a"][0], {}, params=params)


@pytest.mark.parametrize(
    ("domains", "words"),
    [
        ([1, 2], "domains is a list; give a mapping from at least two names to their batches"),
        (None, "domains=None; give a mapping"),
        ("ab", "domains='ab'; give a mapping"),
        ({"a": [1]}, "1 domain; give a mapping from at least two names"),
        ({}, "0 domains; give a mapping from at least two names"),
    ],
)
def test_domains_of_another_type_or_too_few_are_told_apart(domains, words):
    with says(words):
        order_effect(net(), squares, domains, progress=False)


@pytest.mark.parametrize("method", [None, 3, ["auto"], ("finite-difference",), np.array(METHODS)])
def test_a_method_that_is_no_text_is_refused(method):
    with says("method"):
        estimate(method=method)


@pytest.mark.parametrize(
    ("preconditioner", "cure"),
    [
        (torch.optim.Adam(net().parameters()), "from_optimizer(optimizer)"),
        (torch.optim.Adam(net().parameters()).state_dict(), "from_state_dict(state, model)"),
        (torch.ones(3), "from_optimizer(optimizer)"),
    ],
)
def test_a_preconditioner_of_another_type_names_the_way_to_one(preconditioner, cure):
    words = f"preconditioner is an? (Adam|dict|Tensor); give cv.AdamPreconditioner.{re.escape(cure)}"
    with pytest.raises(CommuteError, match=words):
        estimate(preconditioner=preconditioner)


def test_a_state_given_for_an_optimizer_and_the_reverse_name_the_other_reader():
    optimizer = torch.optim.Adam(net().parameters())
    with says("from_optimizer was given a dict; give an optimizer, or read a state with from_state_dict("):
        AdamPreconditioner.from_optimizer(optimizer.state_dict())
    with says("from_state_dict was given an Adam; give what optimizer.state_dict() returned"):
        AdamPreconditioner.from_state_dict(optimizer, net())
    with says("model=None; give a torch.nn.Module"):
        AdamPreconditioner.from_state_dict(optimizer.state_dict(), None)


# Numbers.


@pytest.mark.parametrize(
    "weights",
    [
        {"a": np.float32(0.9), "b": np.float32(0.1)},
        {"a": np.int64(1), "b": np.int64(0)},
        {"a": Fraction(1, 3), "b": Fraction(2, 3)},
        UserDict({"b": 1}),
    ],
    ids=["float32", "int64", "Fraction", "another mapping"],
)
def test_weights_of_every_real_type_are_taken(effect, weights):
    mixed = estimate(targets={"mix": weights})
    assert mixed.mixing == {"mix": {name: float(w) for name, w in weights.items()}}
    assert OrderEffect.from_json(mixed.to_json()).mixing == mixed.mixing
    whole = {"a": 0.0} | {name: weights[name] for name in weights}
    assert set(effect.tilt(whole).values) == {"a", "b", "mixture"}


@pytest.mark.parametrize("batches", [np.int64(12), 12.0, Fraction(12)])
def test_whole_numbers_of_every_real_type_are_taken(effect, batches):
    found = estimate(batches=batches, seed=type(batches)(0))
    assert np.array_equal(found.P_replicates, effect.P_replicates)


@pytest.mark.parametrize("amount", [1e3, np.int64(1000), np.float32(1000)])
def test_a_budget_of_every_real_type_is_taken(amount):
    assert Budget(amount).passes == 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batches": 12.5}, "batches=12.5; give a whole number of at least 8"),
        ({"batches": "12"}, "batches='12'; give a whole number of at least 8"),
        ({"batches": None}, "batches=None; give a whole number of at least 8"),
        ({"batches": float("nan")}, "batches=nan; give a whole number of at least 8"),
        ({"batches": np.True_}, "batches is a bool; give a whole number of at least 8"),
        ({"seed": 1.5}, "seed=1.5; give a whole number"),
        ({"seed": None}, "seed=None; give a whole number"),
        ({"seed": 2**70}, f"seed={2**70}; give a whole number from -2**63 to 2**64 - 1"),
        ({"seed": -(2**70)}, f"seed={-(2**70)}; give a whole number from -2**63 to 2**64 - 1"),
        ({"targets": {"mix": {"a": 0.5, 3: 0.5}}}, "target 'mix' weighs 3; the domains are a, b"),
        (
            {"targets": {"mix": {"a": 0.5, "b": 0.4}}},
            "target 'mix' has weights {'a': 0.5, 'b': 0.4}, which sum",
        ),
        (
            {"targets": {"mix": {"a": "x", "b": 1j}}},
            "target 'mix' has weights {'a': 'x', 'b': 1j}; give numbers",
        ),
        ({"targets": ["mix"]}, "targets is a list; give a mapping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_numbers_that_do_not_fit_are_told_with_what_would(options, words):
    with says(words):
        estimate(**options)


@pytest.mark.parametrize("seed", [-1, 2**64 - 1, -(2**63)])
def test_a_seed_of_64_bits_is_taken(seed):
    estimate(seed=seed)


@pytest.mark.parametrize("alpha", [7, 0, 1, -0.1, None, "5%", float("nan"), True])
def test_a_level_outside_0_and_1_is_refused_everywhere(effect, alpha):
    words = f"alpha={alpha!r}; give a number between 0 and 1"
    with says(words):
        effect.prefer_first("a", "b", alpha=alpha)
    with says(words):
        effect.optimality({"a": 0.5, "b": 0.5}, alpha=alpha)
    with says(words):
        effect.unresolved(alpha)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5, 0.5], "weights is a list; give a mapping from a, b to numbers ≥ 0 that sum to 1"),
        (None, "weights=None; give a mapping from a, b"),
        ({"a": "x", "b": "y"}, "weights {'a': 'x', 'b': 'y'}; give numbers ≥ 0 that sum to 1"),
        ({"a": 1.0, 3: 0.0}, "weights miss b and name 3; name a, b"),
        ({"a": 1.0}, "weights miss b; name a, b"),
    ],
)
def test_weights_of_another_form_are_refused(effect, weights, words):
    with says(words):
        effect.tilt(weights)
    with says(words):
        effect.optimality(weights)


def test_two_targets_ask_for_the_name_of_one(two_targets):
    with says("2 targets, none called mixture; name one with target=: x, y"):
        two_targets.prefer_first("a", "b")
    with says("no target 'mixture'; the targets are x, y"):
        two_targets.prefer_first("a", "b", "mixture")


SCHEDULE = cv.WeightSchedule.blocks({"a": 2, "b": 2})


@pytest.mark.parametrize(
    ("lr", "words"),
    [
        (-1e-3, "lr=-0.001; give one finite number of at least 0, or one per step (4)"),
        (float("nan"), "lr=nan; give one finite number of at least 0"),
        (None, "lr=None; give one number, or one per step (4)"),
        ("0.1", "lr='0.1'; give one number, or one per step (4)"),
        ({0: 0.1}, "lr is a dict; give one number, or one per step (4)"),
        ([0.1, 0.1, -0.1, 0.1], "lr=-0.1 at step 3; give finite numbers of at least 0"),
        ([0.1] * 3, "lr of 3 numbers for 4 steps; give one number, or one per step"),
        ([[0.1] * 4], "lr of shape (1, 4) for 4 steps; give one number, or one per step"),
        ([[0.1], [0.1, 0.2]], "lr is a list; give one number, or one per step (4)"),
    ],
)
def test_a_learning_rate_that_does_not_fit_is_shown(effect, lr, words):
    with says(words):
        effect.excess_loss(SCHEDULE, lr)


@pytest.mark.parametrize("lr", [Fraction(1, 10), np.float32(0.1), torch.tensor(0.1), [Fraction(1, 10)] * 4])
def test_a_learning_rate_of_every_real_type_is_taken(effect, lr):
    found = effect.excess_loss(SCHEDULE, lr)["mixture"].value
    assert abs(found / effect.excess_loss(SCHEDULE, 0.1)["mixture"].value - 1) <= 1e-7  # float32's rounding


@pytest.mark.parametrize("schedule", ["x", None, {"a": 1.0}, 3])
def test_what_is_no_schedule_is_named(effect, schedule):
    with pytest.raises(
        CommuteError, match=r"^schedule(=| is a).*; give a WeightSchedule, with durations in steps"
    ):
        effect.excess_loss(schedule, 1e-3)


# JSON.


def changed(effect, **fields):
    return json.dumps(json.loads(effect.to_json()) | fields)


def test_another_version_and_another_format_are_told_apart(effect):
    with says(
        "an order effect of version 2, and this package reads version 1; read it with the release that"
    ):
        OrderEffect.from_json(changed(effect, version=2))
    with says("format 'commute_verify.weight_schedule' is no order effect's; give what to_json wrote"):
        OrderEffect.from_json(SCHEDULE.to_json())
    with says("no order effect (a list); give what to_json wrote"):
        OrderEffect.from_json("[]")


@pytest.mark.parametrize(
    "weights", [{"a": -5, "b": 99}, {"a": 0.5, "b": 0.4}, {}, {"a": 1e400, "b": 1.0}], ids=str
)
def test_targets_that_are_no_mixture_are_refused_when_read(effect, weights):
    mixing = {name: {"a": 1.0} for name in effect.targets} | {"b": weights}
    with says("target 'b' has weights"):
        OrderEffect.from_json(changed(effect, mixing=mixing))


def test_an_effect_keeps_its_targets_when_its_caller_changes_theirs(effect):
    mixing = {name: dict(weights) for name, weights in effect.mixing.items()}
    held = OrderEffect(
        effect.domains, mixing, effect.P_replicates, effect.slope_replicates, effect.cost, effect.method
    )
    mixing["a"]["b"] = 7.0
    del mixing["b"]
    assert held.mixing == effect.mixing


# Vectors.


def vector(fill=1.0):
    return {name: torch.full_like(p, fill).detach() for name, p in net().named_parameters()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_is_refused_by_every_method(method, bad):
    v = vector()
    v["2.weight"][0, 1] = bad
    with says("the vector is not finite at 2.weight; give finite numbers"):
        hvp(net(), squares, data()["a"][0], v, method=method)


def test_a_vector_that_its_parameters_cannot_hold_is_refused():
    x, y = data()["a"][0]
    with says("the vector is not finite at 0.weight"):
        hvp(net().float(), squares, (x.float(), y.float()), vector(1e300))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.ones(13), "vector is a Tensor; give a mapping from parameters' names to tensors"),
        (None, "vector=None; give a mapping"),
        (
            dict.fromkeys(vector(), 1.0),
            "the vector at 0.weight is a float; give tensors of the parameters' shapes",
        ),
        (vector() | {3: torch.ones(1)}, "a vector that does not fit the parameters at 3; give"),
        (
            vector() | {"0.bias": torch.ones(3, dtype=torch.int64)},
            "the vector at 0.bias is in torch.int64; give",
        ),
    ],
    ids=["a tensor", "None", "floats", "a number for a name", "whole numbers"],
)
def test_a_vector_of_another_form_is_refused(given, words):
    with says(words):
        hvp(net(), squares, data()["a"][0], given)


# Inference mode and parametrized weights.

CURE = "torch.inference_mode(), or clone"


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_model_made_in_inference_mode_is_told_from_its_batches(method):
    with torch.inference_mode():
        made, batches = net(), data()
    with pytest.raises(
        CommuteError, match=r"^parameter 0.weight was made in inference mode; .*outside"
    ) as told:
        estimate(made, method=method)
    assert CURE in str(told.value)
    with pytest.raises(CommuteError, match=r"^domain 'a', batch 1: .*inference mode.*outside") as told:
        estimate(domains=batches, method=method)
    assert CURE in str(told.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_call_inside_inference_mode_gives_what_it_gives_outside(method):
    model, batch, v = net(), data()["a"][0], vector()
    outside = hvp(model, squares, batch, v, method=method)
    with torch.inference_mode():
        inside = hvp(model, squares, batch, v, method=method)
    assert all(torch.equal(inside[name], outside[name]) for name in outside)


def test_a_model_in_float64_is_not_advised_to_be_in_float64():
    model = nn.Sequential(weight_norm(nn.Linear(2, 3)), nn.Tanh(), nn.Linear(3, 1)).double()
    told = []
    for method in METHODS:
        try:
            estimate(model, method=method)
        except CommuteError as error:
            told.append(str(error))
    assert told
    assert all(". Give another" in words and ".. " not in words and "float64" not in words for words in told)


# Workers of loaders.


class Workers(torch.utils.data.Dataset):
    def __init__(self, fails=False):
        self.fails = fails

    def __len__(self):
        return 48

    def __getitem__(self, index):
        assert get_worker_info() is not None
        if self.fails and index >= 16:
            raise RuntimeError("cannot read this")
        draw = torch.Generator().manual_seed(index)
        x, y = regression(draw, 1)
        return x[0], y[0]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("fails", ["", "in the loss", "in a worker", "in another domain"])
def test_workers_of_loaders_end_with_the_estimate_even_while_its_error_is_held(fails, persistent):
    before = set(multiprocessing.active_children())
    options = {"batch_size": 4, "num_workers": 1, "persistent_workers": persistent}
    domains = {name: DataLoader(Workers(fails == "in a worker"), **options) for name in "ab"}
    if fails == "in another domain":
        domains["c"] = 3
    calls = []

    def loss_fn(model, batch):
        calls.append(1)
        if fails == "in the loss" and len(calls) > 20:
            raise ValueError("no")
        return squares(model, batch)

    held = None
    try:
        estimate(domains=domains, loss_fn=loss_fn)
    except Exception as error:
        held = error
    assert (held is None) == (not fails)
    assert set(multiprocessing.active_children()) == before


def test_a_generator_behind_a_domain_is_closed():
    closed = []

    class Lazy:
        def __init__(self, name):
            self.name = name

        def __iter__(self):
            try:
                yield from data(count=100)["a"]
            finally:
                closed.append(self.name)

    held = None
    try:
        estimate(domains={"a": Lazy("a"), "b": Lazy("b")}, loss_fn=lambda m, b: None)
    except CommuteError as error:
        held = error
    assert held is not None
    assert sorted(closed) == ["a", "b"]
