"""Adam's preconditioner, read from optimizers and from their saved states, against an independent formula."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import AdamPreconditioner, CommuteError, order_effect
from tests.criterion_models import Dense, TinyLM, dense_P, regression, squares

EPS32 = float(np.finfo(np.float32).eps)

pytestmark = pytest.mark.filterwarnings("ignore:the replicates do not differ")


def model_of(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).to(dtype)


def train(model, optimizer, steps=4):
    """Steps on seeded batches; all gradients, in step order, by name."""
    draw = torch.Generator().manual_seed(1)
    history = []
    for _ in range(steps):
        x, y = regression(draw, 5)
        dtype = next(model.parameters()).dtype
        optimizer.zero_grad()
        squares(model, (x.to(dtype), y.to(dtype)))[0].backward()
        history.append({n: p.grad.double().numpy().copy() for n, p in model.named_parameters()})
        optimizer.step()
    return history


def diagonal(gradients, lr, reference, beta=0.999, eps=1e-8, amsgrad=False):
    """(lr / reference) / (√v̂ + ε) from a list of gradients: moments as explicit weighted sums."""
    t = len(gradients)
    v = [(1 - beta) * sum(beta ** (m - 1 - n) * gradients[n] ** 2 for n in range(m)) for m in range(1, t + 1)]
    moments = np.max(v, axis=0) if amsgrad else v[-1]
    return (lr / reference) / (np.sqrt(moments / (1 - beta**t)) + eps)


def agree(found, expected, names, roundoff=1e-12):
    return all(np.abs(found[name].double().numpy() / expected[name] - 1).max() <= roundoff for name in names)


VARIANTS = {
    "Adam": (torch.optim.Adam, {}),
    "AdamW with weight decay": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "foreach": (torch.optim.AdamW, {"foreach": True}),
    "one by one": (torch.optim.AdamW, {"foreach": False}),
    "fused": (torch.optim.AdamW, {"fused": True}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "other betas and eps": (torch.optim.AdamW, {"betas": (0.8, 0.9), "eps": 1e-3}),
    "a learning rate in a tensor": (torch.optim.Adam, {"lr": torch.tensor(1e-2), "foreach": False}),
}


@pytest.mark.parametrize("saved", [False, True], ids=["optimizer", "saved state"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_diagonal_is_the_optimizers_own(variant, saved):
    kind, options = VARIANTS[variant]
    model = model_of()
    optimizer = kind(model.parameters(), **{"lr": 1e-2} | options)
    history = train(model, optimizer)
    D = (
        AdamPreconditioner.from_state_dict(copy.deepcopy(optimizer.state_dict()), model)
        if saved
        else AdamPreconditioner.from_optimizer(optimizer)
    )
    known = {
        "beta": options.get("betas", (0.9, 0.999))[1],
        "eps": options.get("eps", 1e-8),
        "amsgrad": options.get("amsgrad", False),
    }
    names = list(history[0])
    expected = {n: diagonal([g[n] for g in history], 1.0, 1.0, **known) for n in names}
    assert agree(D.on(model), expected, names)
    assert all(
        decay == options.get("weight_decay", 1e-2 * (kind is torch.optim.AdamW))
        for decay in D.weight_decay.values()
    )


@pytest.mark.parametrize(
    "planted", ["no bias correction", "other beta", "eps under the root", "no root", "last gradient alone"]
)
def test_the_independent_formula_rejects_a_planted_error(planted):
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-3)
    history = train(model, optimizer)
    D = AdamPreconditioner.from_optimizer(optimizer).on(model)
    name = "0.weight"
    g = [step[name] for step in history]
    v = 1e-3 * sum(0.999 ** (3 - n) * g[n] ** 2 for n in range(4))
    hat = v / (1 - 0.999**4)
    wrong = {
        "no bias correction": 1 / (np.sqrt(v) + 1e-3),
        "other beta": 1 / (np.sqrt(v / (1 - 0.9**4)) + 1e-3),
        "eps under the root": 1 / np.sqrt(hat + 1e-3),
        "no root": 1 / (hat + 1e-3),
        "last gradient alone": 1 / (np.abs(g[-1]) + 1e-3),
    }[planted]
    assert agree(D, {name: 1 / (np.sqrt(hat) + 1e-3)}, [name])
    assert not agree(D, {name: wrong}, [name])


def test_a_step_of_adam_without_momentum_is_minus_lr_times_D_times_the_gradient():
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.0, 0.99))
    train(model, optimizer, 3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    g = train(model, optimizer, 1)[0]
    D = AdamPreconditioner.from_optimizer(optimizer).on(model)
    for name, p in model.named_parameters():
        step = (p.detach() - before[name]).numpy()
        assert np.abs(step + 1e-2 * D[name].numpy() * g[name]).max() <= 1e-14  # roundoff


@pytest.mark.parametrize("saved", [False, True], ids=["optimizer", "saved state"])
def test_groups_keep_their_own_learning_rate_relative_to_the_first_group_s(saved):
    model = model_of()
    named = dict(model.named_parameters())
    names = ["4.weight", "0.weight", "2.weight", "0.bias", "2.bias", "4.bias"]
    groups = [
        {"params": [(n, named[n]) for n in names[:3]], "lr": 2e-2, "weight_decay": 0.1},
        {"params": [(n, named[n]) for n in names[3:]], "lr": 5e-3, "betas": (0.9, 0.9)},
    ]
    optimizer = torch.optim.AdamW(groups)
    history = train(model, optimizer)
    D = (
        AdamPreconditioner.from_state_dict(optimizer.state_dict(), model)
        if saved
        else AdamPreconditioner.from_optimizer(optimizer)
    )
    expected = {
        n: diagonal([g[n] for g in history], *((2e-2, 2e-2) if n in names[:3] else (5e-3, 2e-2, 0.9)))
        for n in names
    }
    assert agree(D.on(model), expected, names)


def test_a_saved_state_of_several_groups_asks_for_the_order_of_its_parameters():
    """The two square matrices have one shape, so that a wrong order would not show."""
    model = model_of()
    named = dict(model.named_parameters())
    first, rest = ["2.weight"], ["0.weight", "0.bias", "2.bias", "4.weight", "4.bias"]
    optimizer = torch.optim.Adam(
        [{"params": [named[n] for n in first]}, {"params": [named[n] for n in rest]}], lr=1e-2
    )
    history = train(model, optimizer)
    state = optimizer.state_dict()
    with pytest.raises(CommuteError, match="2 groups without names; give names="):
        AdamPreconditioner.from_state_dict(state, model)
    D = AdamPreconditioner.from_state_dict(state, model, names=[*first, *rest])
    expected = {n: diagonal([g[n] for g in history], 1.0, 1.0) for n in named}
    assert agree(D.on(model), expected, named)
    wrong = AdamPreconditioner.from_state_dict(
        state, model, names=["0.weight", "2.weight", "0.bias", "2.bias", "4.weight", "4.bias"]
    )
    assert not agree(wrong.on(model), expected, named)


def test_tied_weights_are_one_parameter_under_either_name():
    torch.manual_seed(0)
    model = TinyLM().double().eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model(torch.tensor([[0, 1, 2]])).square().sum().backward()
    optimizer.step()
    D = AdamPreconditioner.from_optimizer(optimizer)
    saved = AdamPreconditioner.from_state_dict(optimizer.state_dict(), model)
    assert "head.weight" not in D.on(model)
    assert all(torch.equal(D.on(model)[name], saved.on(model)[name]) for name in D.on(model))
    by_head = AdamPreconditioner({"head.weight": D.on(model)["embedding.weight"]}, {})
    assert torch.equal(by_head.on(model)["embedding.weight"], D.on(model)["embedding.weight"])


def test_frozen_parameters_that_the_optimizer_holds_are_passed_over():
    model = model_of()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    squares(model, regression(torch.Generator(), 5))[0].backward()
    optimizer.step()
    for D in (
        AdamPreconditioner.from_optimizer(optimizer),
        AdamPreconditioner.from_state_dict(optimizer.state_dict(), model),
    ):
        assert set(D.on(model)) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_later_step_does_not_change_the_preconditioner():
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    train(model, optimizer)
    D = AdamPreconditioner.from_optimizer(optimizer)
    before = {n: d.clone() for n, d in D.on(model).items()}
    train(model, optimizer, 1)
    assert all(torch.equal(D.on(model)[n], d) for n, d in before.items())


def test_moments_in_float32_give_a_preconditioner_in_float32():
    model = model_of(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    history = train(model, optimizer)
    D = AdamPreconditioner.from_optimizer(optimizer).on(model)
    expected = {n: diagonal([g[n] for g in history], 1.0, 1.0) for n in D}
    assert {d.dtype for d in D.values()} == {torch.float32}
    assert agree(D, expected, D, 50 * EPS32)


def test_P_with_groups_equals_the_dense_bracket_of_preconditioned_fields():
    model = model_of()
    groups = [{"params": list(model[:3].parameters())}, {"params": list(model[3:].parameters()), "lr": 3e-2}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, eps=1e-2)
    train(model, optimizer)
    D = AdamPreconditioner.from_optimizer(optimizer)
    draw = torch.Generator().manual_seed(2)
    batches = {name: regression(draw, 4) for name in "ab"}
    dense = Dense(model, squares)
    g, H = ([f([b]) for b in batches.values()] for f in (dense.gradient, dense.hessian))
    d, u = dense.flat(D.on(model)), (g[0] + g[1]) / 2
    effect = order_effect(
        model,
        squares,
        {n: [b] * 12 for n, b in batches.items()},
        method="double-backward",
        batches=12,
        preconditioner=D,
        progress=False,
    )
    bracket = d * (H[1] @ (d * g[0]) - H[0] @ (d * g[1]))
    assert abs(effect.P["mixture"][0, 1] - bracket @ u) <= 1e-11 * np.abs(bracket).max()  # roundoff
    outside_only = d * (H[1] @ g[0] - H[0] @ g[1])
    for planted in (-bracket, bracket / 2, outside_only, bracket / d):
        assert abs(effect.P["mixture"][0, 1] - planted @ u) > 1e-6 * np.abs(bracket).max()
    assert np.abs(dense_P(g, H, u, d)[0, 1] - bracket @ u) <= 1e-11 * np.abs(bracket).max()


def stepped(kind, **options):
    model = model_of()
    optimizer = kind(model.parameters(), lr=1e-2, **options)
    train(model, optimizer)
    return model, optimizer


def test_an_optimizer_that_took_no_step_is_refused():
    with pytest.raises(CommuteError, match="holds no second moments; take a step first"):
        AdamPreconditioner.from_optimizer(torch.optim.Adam(model_of().parameters()))
    model = model_of()
    with pytest.raises(CommuteError, match="holds no second moments; save it after a step"):
        AdamPreconditioner.from_state_dict(torch.optim.Adam(model.parameters()).state_dict(), model)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (torch.optim.SGD, {"momentum": 0.9}, "needs exp_avg_sq, step, betas and eps"),
        (torch.optim.RMSprop, {}, "needs exp_avg_sq, step, betas and eps"),
        (torch.optim.Adamax, {}, "needs exp_avg_sq, step, betas and eps"),
        (torch.optim.NAdam, {}, "as NAdam or RAdam have it, whose step is not D g; give the state of Adam"),
        (torch.optim.RAdam, {}, "as NAdam or RAdam have it, whose step is not D g; give the state of Adam"),
    ],
)
def test_an_optimizer_that_is_not_adam_is_refused_and_so_is_its_state(kind, options, words):
    model, optimizer = stepped(kind, **options)
    with pytest.raises(CommuteError, match=rf"^{kind.__name__} is no torch.optim.Adam or"):
        AdamPreconditioner.from_optimizer(optimizer)
    with pytest.raises(CommuteError, match=words):
        AdamPreconditioner.from_state_dict(optimizer.state_dict(), model)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_an_optimizer_that_maximizes_is_refused_and_so_is_its_state(kind):
    model, optimizer = stepped(kind, maximize=True)
    with pytest.raises(CommuteError, match="maximize=True, which runs along \\+D g; give one that minimizes"):
        AdamPreconditioner.from_optimizer(optimizer)
    with pytest.raises(CommuteError, match="maximize=True"):
        AdamPreconditioner.from_state_dict(optimizer.state_dict(), model)


def test_a_subclass_of_adam_is_read_with_a_warning():
    class Cautious(torch.optim.AdamW):
        pass

    model, optimizer = stepped(Cautious)
    with pytest.warns(UserWarning, match="^Cautious is a subclass of Adam and is read as Adam"):
        found = AdamPreconditioner.from_optimizer(optimizer).on(model)
    plain = AdamPreconditioner.from_state_dict(optimizer.state_dict(), model).on(model)
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    "state", [{}, {"param_groups": 3, "state": {}}, {"param_groups": [{}], "state": {}}, None]
)
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(CommuteError, match=r"give what optimizer.state_dict\(\) returned"):
        AdamPreconditioner.from_state_dict(state, model_of())


def test_a_state_of_another_model_is_refused():
    model, optimizer = stepped(torch.optim.Adam)
    state = optimizer.state_dict()
    with pytest.raises(CommuteError, match="6 parameters and 2 names"):
        AdamPreconditioner.from_state_dict(state, nn.Linear(2, 1))
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1))
    with pytest.raises(CommuteError, match="second moments of shape"):
        AdamPreconditioner.from_state_dict(state, other)
    with pytest.raises(CommuteError, match="names elsewhere, which the model has not"):
        AdamPreconditioner.from_state_dict(state, model, names=["elsewhere"] * 6)


def test_a_parameter_without_moments_is_named_and_can_be_left_out():
    model, _ = stepped(torch.optim.Adam)
    optimizer = torch.optim.Adam(model[:3].parameters(), lr=1e-2)
    train(model, optimizer)
    D = AdamPreconditioner.from_optimizer(optimizer)
    data = {name: [regression(torch.Generator(), 3)] * 12 for name in "ab"}
    with pytest.raises(CommuteError, match=r"no second moments of 4.weight, 4.bias; .*params="):
        order_effect(model, squares, data, batches=12, preconditioner=D, progress=False)
    effect = order_effect(
        model, squares, data, batches=12, preconditioner=D, progress=False, params=lambda n: n[0] != "4"
    )
    assert np.abs(effect.P["mixture"]).max() <= 1e-9  # both domains are the same


def test_a_reference_learning_rate_of_0_is_refused_only_where_another_group_moves():
    model = model_of()
    groups = [{"params": list(model[:3].parameters()), "lr": 0.0}, {"params": list(model[3:].parameters())}]
    optimizer = torch.optim.Adam(groups, lr=1e-2)
    train(model, optimizer)
    with pytest.raises(CommuteError, match="first group's learning rate is 0"):
        AdamPreconditioner.from_optimizer(optimizer)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert all(
        torch.isfinite(d).all() for d in AdamPreconditioner.from_optimizer(optimizer).on(model).values()
    )
