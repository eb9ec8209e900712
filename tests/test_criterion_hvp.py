"""Hessian-vector products and brackets of models, by every method, against dense float64 autograd."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from commute_verify import CommuteError, hvp, lie_bracket, order_effect
from commute_verify.criterion import finite_difference
from commute_verify.criterion.finite_difference import Step, choose_step
from commute_verify.criterion.hessian_products import METHODS, hessian_vector_products
from commute_verify.criterion.objective import Objective
from tests.criterion_models import CASES, EPS, Dense, squares, tiny_lm

C = {
    "double-backward": 100 * EPS,
    "forward-over-reverse": 100 * EPS,
    "finite-difference": 100 * EPS ** (2 / 3),
}
"""Roundoff: C·eps for exact methods; a central difference at its best step leaves eps^(2/3)."""


def gap(found, expected):
    """‖found − expected‖ relative to ‖expected‖, or absolute where that is 0."""
    return float(np.linalg.norm(found - expected) / (np.linalg.norm(expected) or 1.0))


def a_vector(dense, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(len(dense.theta), generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_a_product_equals_the_dense_hessian_times_the_vector(name, method):
    case = CASES[name]()
    dense = Dense(case.model, case.loss_fn)
    v = a_vector(dense)
    for batch in case.batches.values():
        found = hvp(case.model, case.loss_fn, batch, dense.split(v), method=method)
        assert gap(dense.flat(found), dense.hessian([batch]) @ v.numpy()) <= C[method]


@pytest.mark.parametrize("name", CASES)
def test_the_dense_hessian_is_the_curvature_of_the_loss_itself(name):
    case = CASES[name]()
    dense = Dense(case.model, case.loss_fn)
    batch = case.batches["a"]
    v = a_vector(dense)
    h = 1e-4
    ahead, behind = (dense.loss([batch], dense.theta + s * h * v) for s in (1, -1))
    second = (ahead - 2 * dense.loss([batch]) + behind) / h**2
    expected = v.numpy() @ dense.hessian([batch]) @ v.numpy()
    assert abs(second - expected) <= 1e-5 * (1 + abs(expected))  # roundoff: eps/h² and O(h²)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_beside_the_products_is_the_gradient(method):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    objective = Objective.of(case.model, case.loss_fn)
    answer = hessian_vector_products(objective, batch, [dense.split(a_vector(dense))], method)
    expected = dense.gradient([batch])
    tolerance = {"finite-difference": 1e-5}.get(method, C[method])  # its mean of two is exact to O(h²)
    assert gap(dense.flat(answer.gradient) / answer.weight, expected) <= tolerance


@pytest.mark.parametrize("method", METHODS)
def test_several_directions_at_once_equal_one_at_a_time(method):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["b"]
    objective = Objective.of(case.model, case.loss_fn)
    directions = [dense.split(a_vector(dense, seed)) for seed in range(3)]
    together = hessian_vector_products(objective, batch, directions, method).products
    for direction, product in zip(directions, together, strict=True):
        alone = hessian_vector_products(objective, batch, [direction], method).products[0]
        assert gap(dense.flat(product), dense.flat(alone)) <= C[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_product_is_linear_and_zero_at_zero(method):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    v = a_vector(dense)
    one, two, none = (
        dense.flat(hvp(case.model, case.loss_fn, batch, dense.split(s * v), method=method))
        for s in (1, -7, 0)
    )
    assert gap(two, -7 * one) <= C[method]
    assert np.all(none == 0)


@pytest.mark.parametrize("planted", ["transposed pair", "forgotten weight", "half"])
def test_the_comparison_with_dense_autograd_rejects_a_planted_error(planted):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    v = a_vector(dense)
    found = dense.flat(hvp(case.model, case.loss_fn, batch, dense.split(v)))
    wrong = {
        "transposed pair": found[::-1],
        "forgotten weight": found * float(case.loss_fn(case.model, batch)[1]),
        "half": found / 2,
    }[planted]
    assert gap(wrong, dense.hessian([batch]) @ v.numpy()) > C["finite-difference"]


@pytest.mark.parametrize("method", METHODS)
def test_the_bracket_equals_the_dense_one_and_changes_sign_when_the_batches_are_exchanged(method):
    case = tiny_lm()
    dense = Dense(case.model, case.loss_fn)
    x, y = case.batches["a"], case.batches["b"]
    expected = dense.hessian([y]) @ dense.gradient([x]) - dense.hessian([x]) @ dense.gradient([y])
    found = dense.flat(lie_bracket(case.model, case.loss_fn, x, y, method=method))
    exchanged = dense.flat(lie_bracket(case.model, case.loss_fn, y, x, method=method))
    assert gap(found, expected) <= 10 * C[method]
    assert gap(exchanged, -expected) <= 10 * C[method]
    assert gap(found, -expected) > 1  # the comparison sees a sign


@pytest.mark.parametrize("method", METHODS)
def test_a_pure_loss_over_a_dict_of_parameters_needs_no_module(method):
    A = torch.tensor([[2.0, -1.0], [-1.0, 3.0]], dtype=torch.float64)

    def pure(parameters, batch):
        x = torch.cat([parameters["one"], parameters["two"]])
        return batch * (0.5 * x @ A @ x + (x**3).sum()), batch

    theta = {"one": torch.tensor([0.5]).double(), "two": torch.tensor([-0.25]).double()}
    v = {"one": torch.tensor([1.0]).double(), "two": torch.tensor([4.0]).double()}
    answer = hessian_vector_products(Objective(pure, theta), 2.0, [v], method)
    found = np.array([float(answer.products[0][name]) for name in ("one", "two")]) / answer.weight
    expected = np.array([2.0 * 1 - 4 + 6 * 0.5 * 1, -1 + 3 * 4 - 6 * 0.25 * 4])
    assert gap(found, expected) <= C[method]


def test_a_filter_of_parameters_takes_the_block_of_the_hessian():
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    v = a_vector(dense)[:9].reshape(3, 3)
    found = hvp(
        case.model, case.loss_fn, batch, {"layer.weight": v}, params=lambda name: name == "layer.weight"
    )
    whole = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in dense.shapes.items()}
    whole["layer.weight"] = v
    expected = dense.split(torch.from_numpy(dense.hessian([batch]) @ dense.flat(whole)))["layer.weight"]
    assert list(found) == ["layer.weight"]
    assert gap(found["layer.weight"].numpy(), expected.numpy()) <= C["double-backward"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_chosen_step_leaves_about_the_error_that_it_reports(dtype):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    direction = dense.split(a_vector(dense))
    expected = dense.hessian([batch]) @ a_vector(dense).numpy()
    objective = Objective.of(case.model.to(dtype), case.loss_fn)
    along = {name: v.to(dtype) for name, v in direction.items()}
    step = choose_step(objective, batch, along)
    answer = hessian_vector_products(objective, batch, [along], "finite-difference", step)
    product = {name: p.double() / answer.weight for name, p in answer.products[0].items()}
    rounded = 20 * float(torch.finfo(dtype).eps)  # roundoff of the gradients' own values
    assert gap(dense.flat(product), expected) <= 3 * step.relative_error + rounded


def test_a_step_found_near_by_is_taken_for_four_gradients_where_it_fits_and_else_chosen_anew():
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    objective, along = Objective.of(case.model, case.loss_fn), dense.split(a_vector(dense))
    chosen = choose_step(objective, batch, along)
    look = 1  # at the precision, once
    passes = objective.evaluations - look
    assert choose_step(objective, batch, along, chosen) == chosen
    assert objective.evaluations == look + passes + 4
    misfit = Step(4.0**-3, chosen.relative_error)
    assert choose_step(objective, batch, along, misfit) == chosen
    assert objective.evaluations == look + passes + 4 + 4 + passes


def test_a_step_found_near_by_that_leaves_the_finite_region_is_chosen_anew():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1e-3)
    x = torch.ones(1, 1, dtype=torch.float64)
    objective = Objective.of(model, lambda model, x: (-model.weight.log().sum(), 1))
    assert choose_step(objective, x, {"weight": x}, Step(4.0**-3, 1e-3)).size < 1e-3


@pytest.mark.parametrize("size", [2.0, 1e-12])
def test_a_bad_fixed_step_is_far_off_where_the_chosen_one_is_not(size):
    case = tiny_lm()
    dense, batch = Dense(case.model, case.loss_fn), case.batches["a"]
    objective = Objective.of(case.model, case.loss_fn)
    direction = dense.split(a_vector(dense))
    expected = dense.hessian([batch]) @ a_vector(dense).numpy()
    errors = [
        gap(dense.flat(answer.products[0]) / answer.weight, expected)
        for step in (Step(size, 0.0), choose_step(objective, batch, direction))
        for answer in [hessian_vector_products(objective, batch, [direction], "finite-difference", step)]
    ]
    assert errors[0] > 1e-4
    assert errors[1] <= C["finite-difference"]


def test_the_step_is_chosen_where_the_loss_is_finite():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1e-3)

    def logarithm(model, x):
        return -model.weight.log().sum() * len(x), len(x)

    x = torch.ones(1, 1, dtype=torch.float64)
    found = hvp(model, logarithm, x, {"weight": x}, method="finite-difference")["weight"]
    assert abs(float(found) - 1e6) <= 1e6 * 1e-3  # roundoff: h must stay below θ = 1e-3; H = θ⁻²


def test_a_parameter_of_another_scale_gets_a_step_that_fits():
    model = nn.Linear(2, 1, bias=False).double()
    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        model.weight.mul_(1e4)
    found = hvp(model, lambda m, b: (m(b).square().sum(), 1), x, {"weight": torch.ones(1, 2)})
    differenced = hvp(
        model,
        lambda m, b: (m(b).square().sum(), 1),
        x,
        {"weight": torch.ones(1, 2)},
        method="finite-difference",
    )
    assert gap(differenced["weight"].numpy(), found["weight"].numpy()) <= 1e4 * C["finite-difference"]


class Far(nn.Module):
    """A small network as a function of (θ − offset) / size, in float32."""

    def __init__(self, offset=0.0, size=1.0, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        start = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)
        self.offset, self.size = offset, size
        self.far = nn.ParameterList(nn.Parameter(p.detach() * size + offset) for p in start.parameters())

    def forward(self, x):
        w = [(p - self.offset) / self.size for p in self.far]
        return torch.tanh(x @ w[0].T + w[1]) @ w[2].T + w[3]


def far_product(model, method):
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 3, generator=draw), torch.randn(8, generator=draw)
    vector = {
        name: torch.randn(p.shape, generator=draw, dtype=torch.float32)
        for name, p in model.named_parameters()
    }
    dtype = next(model.parameters()).dtype
    found = hvp(model, squares, (x.to(dtype), y.to(dtype)), vector, method=method)
    return np.concatenate([p.double().numpy().reshape(-1) for p in found.values()])


@pytest.mark.parametrize(
    ("far", "error"), [({"offset": 1e4}, 0.05), ({"offset": 1e5}, 0.3), ({"size": 1e6}, 1e-3)]
)
def test_a_step_is_not_lost_in_the_rounding_of_large_parameters(far, error):
    found, exact = (far_product(Far(**far), method) for method in ("finite-difference", "double-backward"))
    assert gap(found, exact) <= error  # roundoff: the offset's spacing in float32 over a step of about 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [{"offset": 1e4}, {"offset": 1e5}, {"size": 1e6}, {"size": 1e-6}])
def test_differences_that_went_wrong_overrule_no_other_method(far, dtype):
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 8, 3, generator=draw, dtype=dtype), torch.randn(2, 12, 8, generator=draw)
    data = {name: list(zip(x[n], y[n].to(dtype), strict=True)) for n, name in enumerate("ab")}
    P = [
        order_effect(Far(**far, dtype=dtype), squares, data, batches=12, method=method, progress=False).P["a"]
        for method in ("double-backward", "auto")
    ]
    assert gap(P[1], P[0]) <= 0.05  # the tolerance between methods in float32, in three factors


def without_zeros_told_apart(monkeypatch):
    """The planted error: two differences of 0 agree."""

    def gap(self, finer, coarser, size):
        found = finite_difference.relative_gap(finer, coarser)
        if found < self.best.relative_error:
            self.best = Step(size, found)
        return found

    monkeypatch.setattr(finite_difference._Search, "_gap", gap)


def test_steps_that_are_lost_and_agree_on_0_would_pass_for_a_curvature_of_0(monkeypatch):
    without_zeros_told_apart(monkeypatch)
    monkeypatch.setattr(finite_difference._Search, "longer", lambda self, power, limit: self.best)
    assert np.all(far_product(Far(offset=1e5), "finite-difference") == 0)


def test_a_linear_loss_has_no_curvature_at_any_step():
    case = CASES["a linear loss"]()
    objective = Objective.of(case.model, case.loss_fn)
    direction = {name: torch.ones_like(p) for name, p in objective.parameters.items()}
    assert choose_step(objective, case.batches["a"], direction).relative_error == 0


def layer_norm_curvature(outer, inner):
    """d²/ds² of a LayerNorm's loss along a line through x, by an outer derivative of an inner one."""
    draw = torch.Generator().manual_seed(0)
    x, v, w = (torch.randn(4, generator=draw, dtype=torch.float64) for _ in range(3))

    def loss(s):
        return (F.layer_norm(x + s * v, (4,)) ** 3 @ w).sum()

    def forward(f):
        return lambda s: torch.func.jvp(f, (s,), (torch.ones_like(s),))[1]

    modes = {"reverse": torch.func.grad, "forward": forward}
    return float(modes[outer](modes[inner](loss))(torch.zeros((), dtype=torch.float64)))


def test_forward_over_reverse_is_right_with_layer_norm():
    assert (
        abs(layer_norm_curvature("forward", "reverse") - layer_norm_curvature("reverse", "reverse")) <= 1e-9
    )


@pytest.mark.xfail(strict=True, reason="PyTorch's second derivative of layer_norm, reverse over forward")
def test_reverse_over_forward_is_right_with_layer_norm():
    assert (
        abs(layer_norm_curvature("reverse", "forward") - layer_norm_curvature("reverse", "reverse")) <= 1e-9
    )


@pytest.mark.xfail(strict=True, reason="PyTorch's second derivative of layer_norm, forward over forward")
def test_forward_over_forward_is_right_with_layer_norm():
    assert (
        abs(layer_norm_curvature("forward", "forward") - layer_norm_curvature("reverse", "reverse")) <= 1e-9
    )


def test_reverse_over_forward_is_not_offered():
    assert METHODS == ("double-backward", "forward-over-reverse", "finite-difference")
    case = tiny_lm()
    with pytest.raises(CommuteError, match="give one of double-backward"):
        hvp(case.model, case.loss_fn, case.batches["a"], {}, method="reverse-over-forward")
    with pytest.raises(CommuteError, match="give one of double-backward"):
        lie_bracket(case.model, case.loss_fn, *list(case.batches.values())[:2], method="nonsense")


def test_forward_mode_leaves_no_level_open():
    case = tiny_lm()
    dense = Dense(case.model, case.loss_fn)
    vector = dense.split(a_vector(dense))
    hvp(case.model, case.loss_fn, case.batches["a"], vector, method="forward-over-reverse")
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(case.model.norm.weight).tangent is None


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        ({}, "does not fit the parameters at"),
        ({"weight": torch.zeros(3)}, "does not fit the parameters at weight"),
        ({"weight": torch.zeros(1, 2), "other": torch.zeros(1)}, "at other"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused(vector, words):
    model = nn.Linear(2, 1, bias=False)
    with pytest.raises(CommuteError, match=words):
        hvp(model, lambda m, x: (m(x).sum(), 1), torch.ones(1, 2), vector)
