"""The start-up probe: what is random, or has no right second derivative, is refused with the cure."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from commute_verify import CommuteError, hvp, order_effect
from commute_verify.criterion import trial
from commute_verify.criterion.hessian_products import METHODS, hessian_vector_products
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.probe import probe
from commute_verify.criterion.trial import Verdict
from tests.criterion_models import CASES, regression, squares, tiny_lm

EXACT = METHODS[:2]
PASSED = Verdict(0.0, 0.0, None, 0.0)
module = sys.modules["commute_verify.criterion.probe"]


def domains(count=12, rows=4):
    draw = torch.Generator().manual_seed(0)
    return {name: [regression(draw, rows) for _ in range(count)] for name in "ab"}


def estimate(model, loss_fn=squares, method="auto", data=None):
    return order_effect(model, loss_fn, data or domains(), batches=12, method=method, progress=False)


def net(*middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), *middle, nn.Tanh(), nn.Linear(3, 1)).double()


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("middle", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(3)])
def test_train_mode_is_refused_and_eval_mode_is_not(middle, method):
    model = net(middle())
    with pytest.raises(CommuteError, match=r"domain 'a', batch 1: .*call model.eval\(\)"):
        estimate(model, method=method)
    estimate(model.eval(), method=method)


def test_dropout_that_no_eval_mode_stops_is_refused():
    class AlwaysDropping(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, training=True)

    with pytest.raises(CommuteError, match="the same batch gives two answers"):
        estimate(net(AlwaysDropping()).eval())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda loss, weight: (loss * (1 + torch.rand(())), weight),
        lambda loss, weight: (loss + torch.rand(()), weight),
        lambda loss, weight: (loss, weight + float(torch.rand(()))),
    ],
    ids=["random factor", "random offset", "random weight"],
)
def test_a_random_loss_or_weight_is_refused(spoil):
    with pytest.raises(CommuteError, match="keep randomness out of loss_fn"):
        estimate(net(), lambda model, batch: spoil(*squares(model, batch)))


class Cube(torch.autograd.Function):
    """x³ with a right derivative, whose own derivative autograd gets wrong, as x is no saved tensor to it."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.x**2 * grad


class WrongGradient(torch.autograd.Function):
    """x³ with a derivative of x², the gradient of nothing once it is mixed with others."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return (2 * x + x.roll(1, -1)) * grad


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


def test_a_custom_function_whose_second_derivative_is_wrong_is_refused():
    with pytest.raises(CommuteError, match="double-backward is wrong on this model"):
        estimate(net(Apply(Cube)), method="double-backward")


def test_where_only_differences_are_right_auto_takes_them_and_says_why():
    effect = estimate(net(Apply(Cube)))
    assert effect.method == "finite-difference"
    assert any(note.startswith("double-backward is out: double-backward is wrong") for note in effect.notes)
    assert any("step" in note and "relative error" in note for note in effect.notes)


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_a_custom_function_whose_first_derivative_is_wrong_is_refused_by_every_method(method):
    with pytest.raises(CommuteError):
        estimate(net(Apply(WrongGradient)), method=method)


class Attention(nn.Module):
    """One head of F.scaled_dot_product_attention over the rows of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inside = nn.Linear(2, 24)
        self.outside = nn.Linear(8, 1)

    def forward(self, x):
        q, k, v = self.inside(x).view(1, 1, -1, 24).chunk(3, dim=-1)
        return self.outside(F.scaled_dot_product_attention(q, k, v, is_causal=True))[0, 0]


def fused(model, batch):
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return squares(model, batch)


def plain(model, batch):
    with sdpa_kernel(SDPBackend.MATH):
        return squares(model, batch)


@pytest.mark.parametrize("method", EXACT)
def test_fused_attention_with_an_exact_method_is_refused_with_the_ways_out(method):
    with pytest.raises(CommuteError) as refusal:
        estimate(Attention().double(), fused, method)
    for way in ('attn_implementation="eager"', "SDPBackend.MATH", 'method="finite-difference"'):
        assert way in str(refusal.value)


@pytest.mark.parametrize("method", EXACT)
def test_fused_attention_in_one_product_is_refused_too(method):
    model, batch = Attention().double(), regression(torch.Generator(), 4)
    vector = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    with pytest.raises(CommuteError, match="second derivative of attention"):
        hvp(model, fused, batch, vector, method=method)


def test_with_fused_attention_auto_takes_differences_and_agrees_with_the_plain_kernel():
    found = estimate(Attention().double(), fused)
    expected = estimate(Attention().double(), plain, "double-backward")
    assert found.method == "finite-difference"
    difference = abs(found.P_replicates - expected.P_replicates).max()
    assert difference <= 1e-6 * abs(expected.P_replicates).max()  # roundoff of differences: C·eps^(2/3)


@pytest.mark.parametrize("before", [False, True])
def test_reentrant_checkpointing_is_refused(before):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2).double() if before else nn.Identity()
            self.net = net()

        def forward(self, x):
            return checkpoint(self.net, self.first(x.detach().requires_grad_()), use_reentrant=True)

    with pytest.raises(CommuteError, match="use_reentrant=False"):
        estimate(Checkpointed())


@pytest.mark.parametrize("method", METHODS)
def test_checkpointing_of_the_other_kind_is_right_by_every_method(method):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return checkpoint(self.net, x, use_reentrant=False)

    found = estimate(Checkpointed(), method=method)
    expected = estimate(net(), method="double-backward")
    difference = abs(found.P_replicates - expected.P_replicates).max()
    assert difference <= 1e-7 * abs(expected.P_replicates).max()  # roundoff of differences: C·eps^(2/3)


@pytest.mark.parametrize("name", CASES)
def test_every_method_passes_where_every_method_is_right(name):
    case = CASES[name]()
    found = probe(Objective.of(case.model, case.loss_fn), case.batches, None, seed=0)
    assert found.refused == {}
    assert found.symmetry <= 1e-6
    assert found.disagreement <= 1e-6


def test_auto_takes_the_method_that_was_measured_to_be_fastest(monkeypatch):
    case = tiny_lm()
    seconds = {"double-backward": 3.0, "forward-over-reverse": 1.0, "finite-difference": 2.0}
    timed = trial.trial
    monkeypatch.setattr(
        trial, "trial", lambda o, b, d, m, near=None: timed(o, b, d, m, near)._replace(seconds=seconds[m])
    )
    objective = Objective.of(case.model, case.loss_fn)
    assert probe(objective, case.batches, None, 0).method == "forward-over-reverse"


def test_differences_asked_for_by_name_run_no_method_that_takes_more_memory(monkeypatch):
    tried = []
    products = trial.hessian_vector_products

    def noted(objective, batch, directions, method, step):
        tried.append(method)
        return products(objective, batch, directions, method, step)

    monkeypatch.setattr(trial, "hessian_vector_products", noted)
    case = tiny_lm()
    objective = Objective.of(case.model, case.loss_fn)
    probe(objective, case.batches, "finite-difference", 0)
    assert set(tried) == {"finite-difference"}
    tried.clear()
    probe(objective, case.batches, "double-backward", 0)
    assert tried == ["double-backward", "finite-difference"] * 3


def test_products_that_share_no_pass_in_the_estimate_share_none_when_they_are_timed(monkeypatch):
    together = []
    products = trial.hessian_vector_products

    def noted(objective, batch, directions, method, step):
        together.append(len(directions))
        return products(objective, batch, directions, method, step)

    monkeypatch.setattr(trial, "hessian_vector_products", noted)
    one = {"mix": {"a": 0.5, "b": 0.5}}
    order_effect(net(), squares, domains(), targets=one, batches=12, progress=False)
    assert max(together) == 1
    data = domains() | {"c": domains()["a"]}
    order_effect(net(), squares, data, batches=12, progress=False)
    assert max(together) == 2


class InDomain:
    """A loss that is right on the first domain and another one on the second."""

    def __init__(self, data, other):
        self.second, self.other = {id(batch) for batch in data["b"]}, other

    def __call__(self, model, batch):
        return (self.other if id(batch) in self.second else squares)(model, batch)


def test_a_loss_that_is_random_in_the_second_domain_alone_is_refused():
    data = domains()
    loss_fn = InDomain(data, lambda model, batch: (squares(model, batch)[0] * (1 + torch.rand(())), 4))
    with pytest.raises(CommuteError, match=r"domain 'b', batch 1: .*keep randomness out of loss_fn"):
        estimate(net(), loss_fn, data=data)


def cubed(model, batch):
    x, y = batch
    return Cube.apply(model(x).squeeze(-1) - y).sum(), len(x)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("double-backward", r"double-backward is wrong on this model: .*Give another method$"),
        ("forward-over-reverse", "forward-over-reverse failed on this model"),
    ],
)
def test_a_method_that_is_wrong_or_fails_in_the_second_domain_alone_is_refused(method, words):
    data = domains()
    with pytest.raises(CommuteError, match=f"^domain 'b', batch 1: {words}"):
        estimate(net(), InDomain(data, cubed), method, data)


def test_where_only_differences_are_right_in_the_second_domain_auto_takes_them():
    data = domains()
    assert estimate(net(), InDomain(data, cubed), data=data).method == "finite-difference"


def test_checking_the_first_domain_alone_would_let_it_pass(monkeypatch):
    data = domains()
    monkeypatch.setattr(module, "held", lambda o, b, d, m, *rest: (trial.trial(o, b, d, m), PASSED))
    assert estimate(net(), InDomain(data, cubed), "double-backward", data).method == "double-backward"


def test_the_note_says_what_was_compared():
    alone = estimate(net(), method="finite-difference").notes[0]
    assert alone.startswith("start-up probe: ⟨u, Hv⟩ and ⟨v, Hu⟩ differ by")
    assert "two steps by" in alone
    assert "products" not in alone
    assert "the products and finite-difference's by" in estimate(net(), method="double-backward").notes[0]


@pytest.mark.parametrize("scale", [1e-20, 1e-30])
def test_gradients_too_small_for_their_dtype_are_refused(scale):
    data = {name: [(x.float(), y.float()) for x, y in batches] for name, batches in domains().items()}
    with pytest.raises(CommuteError, match=r"whose square torch.float32 does not hold; multiply the loss"):
        estimate(net().float(), lambda m, b: (squares(m, b)[0] * scale, 4), data=data)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_loss_gives_a_small_P_and_no_other(method):
    data = {name: [(x.float(), y.float()) for x, y in batches] for name, batches in domains().items()}
    one, other = (
        estimate(net().float(), lambda m, b, s=s: (squares(m, b)[0] * s, 4), method, data).P["a"][0, 1] / s**3
        for s in (1.0, 2.0**-50)
    )
    assert abs(one - other) <= 1e-3 * abs(one)  # roundoff of differences in float32


def test_batches_that_repeat_are_warned_of():
    data = {name: batches[:1] * 12 for name, batches in domains().items()}
    with pytest.warns(UserWarning, match="the same batches come again and again"):
        effect = estimate(net(), data=data)
    assert effect.alike
    assert not estimate(net()).alike


def test_a_domain_at_a_stationary_point_is_no_error():
    model = nn.Linear(2, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    data = {name: [(x, y * 0) for x, y in batches] for name, batches in domains().items()}
    effect = estimate(model, method="finite-difference", data=data)
    assert abs(effect.P["mixture"]).max() == 0


def test_a_backward_pass_outside_the_swap_of_parameters_would_be_wrong_under_checkpointing(monkeypatch):
    def evaluate(self, parameters, batch, then):
        return then(self._checked(self._run(parameters, batch, lambda answer: answer)))

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return checkpoint(self.net, x, use_reentrant=False)

    monkeypatch.setattr(Objective, "evaluate", evaluate)
    batch = domains()["a"][0]
    objective = Objective.of(Checkpointed(), squares)
    direction = {name: torch.ones_like(p) for name, p in objective.parameters.items()}
    answer = hessian_vector_products(objective, batch, [direction], "finite-difference").products[0]
    right = hvp(net(), squares, batch, {k.removeprefix("net."): v for k, v in direction.items()})
    gap = max(float((answer[f"net.{k}"] / len(batch[0]) - v).abs().max()) for k, v in right.items())
    assert gap > 1e-3
