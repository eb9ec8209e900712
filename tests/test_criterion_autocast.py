"""Under autocast the loss has another precision than the parameters: it is noted and reckoned with."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from commute_verify import hvp, order_effect
from commute_verify.criterion import precision
from commute_verify.criterion.hessian_products import METHODS
from commute_verify.criterion.objective import Objective
from tests.criterion_models import regression, squares

pytestmark = pytest.mark.filterwarnings("ignore:a loss in torch.bfloat16")
EPS16 = float(torch.finfo(torch.bfloat16).eps)


def lowered():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def within(model, batch):
    """Autocast is left before the loss is returned."""
    with lowered():
        return squares(model, batch)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def data(count=12):
    draw = torch.Generator().manual_seed(0)
    made = {name: [regression(draw, 8) for _ in range(count)] for name in "ab"}
    return {name: [(x.float() + k, y.float() + 2 * k) for x, y in made[name]] for k, name in enumerate("ab")}


def flat(vector):
    return np.concatenate([v.double().numpy().reshape(-1) for v in vector.values()])


def estimate(loss_fn, method):
    return order_effect(net(), loss_fn, data(), batches=12, method=method, progress=False)


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_product_under_autocast_is_right_to_the_lower_precision(method, around):
    batch = data()["b"][0]
    vector = {name: torch.ones_like(p) for name, p in net().named_parameters()}
    exact = flat(hvp(net(), squares, batch, vector))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
        found = flat(hvp(net(), squares if around else within, batch, vector, method=method))
    assert np.linalg.norm(found - exact) <= 20 * EPS16 * np.linalg.norm(exact)


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_an_estimate_under_autocast_is_right_to_the_lower_precision_and_says_so(method):
    exact = estimate(squares, "double-backward")
    with pytest.warns(UserWarning, match=r"a loss in torch.bfloat16: .* turn autocast off to be sure"):
        found = estimate(within, method)
    terms = exact.rounding / (8 * torch.finfo(torch.float32).eps)
    assert np.all(np.abs(found.P["a"] - exact.P["a"]) <= 20 * EPS16 * terms[0])
    assert np.all(found.rounding >= 7 * EPS16 * terms)


def test_fused_attention_under_autocast_is_estimated_by_differences():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inside, self.outside = nn.Linear(2, 24), nn.Linear(8, 1)

        def forward(self, x):
            q, k, v = self.inside(x).view(1, 1, -1, 24).chunk(3, dim=-1)
            return self.outside(F.scaled_dot_product_attention(q, k, v, is_causal=True))[0, 0]

    found = order_effect(Attention(), within, data(), batches=12, progress=False)
    assert found.P["a"][0, 1] != 0


def test_autocast_that_lowers_nothing_is_no_lower_precision():
    objective = Objective(lambda p, batch: (p["w"].square().sum(), 1), {"w": torch.ones(2)})
    with lowered():
        objective.look(None)
    assert objective.precision == torch.float32


def test_unnoticed_it_would_neither_warn_nor_widen_the_rounding(monkeypatch):
    monkeypatch.setattr(precision, "HALF", ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate(within, "double-backward")
    assert np.all(found.rounding < EPS16 * np.abs(found.P["a"]).max())


def test_casts_of_the_parameters_are_not_kept_until_autocast_ends(monkeypatch):
    cleared = []
    clear = torch.clear_autocast_cache
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: cleared.append(1) or clear())
    vector = {name: torch.ones_like(p) for name, p in net().named_parameters()}
    with lowered():
        hvp(net(), squares, data()["a"][0], vector)
    assert cleared
