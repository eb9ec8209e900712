"""Estimates in float32 and bfloat16, and sums of half-precision vectors in more."""

import copy
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch

from commute_verify import order_effect
from commute_verify.criterion.hessian_products import METHODS
from commute_verify.criterion.vectors import add_to, dot, norm, scale, zeros_like
from tests.criterion_models import Dense, dense_P, next_token_loss, tiny_lm

EPS32, EPS16 = (float(torch.finfo(dtype).eps) for dtype in (torch.float32, torch.bfloat16))
TARGETS = {"mix": {"a": 0.5, "b": 0.25, "c": 0.25}}

pytestmark = pytest.mark.filterwarnings("ignore:the replicates do not differ")


def in_dtype(dtype, method):
    """An estimate in this dtype without sampling noise, the truth at the rounded parameters, P's terms."""
    case = tiny_lm()
    model = copy.deepcopy(case.model).to(dtype)
    rounded = copy.deepcopy(model).double()
    dense = Dense(rounded, next_token_loss)
    g, H = ([f([b]) for b in case.batches.values()] for f in (dense.gradient, dense.hessian))
    u = sum(w * x for w, x in zip(TARGETS["mix"].values(), g, strict=True))
    terms = max(abs(x @ h @ u) for x in g for h in H)
    effect = order_effect(
        model,
        next_token_loss,
        {k: [b] * 12 for k, b in case.batches.items()},
        targets=TARGETS,
        batches=12,
        method=method,
        progress=False,
    )
    return effect, dense_P(g, H, u), terms


@pytest.mark.parametrize("method", METHODS)
def test_float32_is_right_to_its_roundoff(method):
    effect, expected, terms = in_dtype(torch.float32, method)
    tolerance = 100 * EPS32 if method != "finite-difference" else 10 * EPS32 ** (2 / 3)  # roundoff
    assert np.abs(effect.P["mix"] - expected).max() <= tolerance * terms
    assert effect.P["mix"].dtype == np.float64


@pytest.mark.parametrize("method", METHODS)
def test_what_rounding_could_make_is_above_what_it_makes(method):
    effect, expected, _ = in_dtype(torch.float32, method)
    error = np.abs(effect.P["mix"] - expected)
    assert np.all(error <= 4 * effect.rounding[0])
    assert np.all(effect.rounding[0] < 0.2 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS[:2])
def test_bfloat16_is_right_to_its_roundoff_and_warns_with_the_measured_amplification(method):
    with pytest.warns(
        UserWarning, match=r"parameters in torch.bfloat16: the two terms of P are .* times"
    ) as told:
        effect, expected, terms = in_dtype(torch.bfloat16, method)
    assert np.abs(effect.P["mix"] - expected).max() <= 10 * EPS16 * terms  # roundoff
    told_factor = float(str(told[0].message).split("are ")[1].split(" times")[0])
    assert told[0].filename == __file__
    assert 1 <= told_factor < 1e4


def test_float32_and_float64_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="the replicates do not differ")
        for dtype in (torch.float32, torch.float64):
            in_dtype(dtype, "double-backward")


def test_the_amplification_is_the_larger_term_over_P():
    case = tiny_lm()
    dense = Dense(copy.deepcopy(case.model).bfloat16().double(), next_token_loss)
    g, H = ([f([b]) for b in case.batches.values()] for f in (dense.gradient, dense.hessian))
    u = sum(w * x for w, x in zip(TARGETS["mix"].values(), g, strict=True))
    ratios = [
        max(abs(g[i] @ H[j] @ u), abs(g[j] @ H[i] @ u)) / abs(g[i] @ H[j] @ u - g[j] @ H[i] @ u)
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    with pytest.warns(UserWarning, match="times larger") as told:
        in_dtype(torch.bfloat16, "double-backward")
    told_factor = float(str(told[0].message).split("are ")[1].split(" times")[0])
    assert 0.5 <= told_factor / float(np.median(ratios)) <= 2  # roundoff, amplified by itself


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dots_are_summed_in_float64(dtype):
    draw = torch.Generator().manual_seed(0)
    x, y = ({"w": torch.randn(5000, generator=draw).to(dtype)} for _ in range(2))
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(x["w"].tolist(), y["w"].tolist(), strict=True))
    size = sum(abs(a * b) for a, b in zip(x["w"].tolist(), y["w"].tolist(), strict=True))
    products = {torch.float32: EPS32}.get(dtype, 2.0**-52)  # a product of halves is exact in float32
    assert dot(x, y).dtype == torch.float64
    assert abs(float(dot(x, y)) - float(exact)) <= 2 * products * size
    naive = float((x["w"] * y["w"]).sum())
    if dtype in (torch.float16, torch.bfloat16):
        assert abs(naive - float(exact)) > 1e3 * products * size


def test_sums_of_half_precision_vectors_are_kept_in_float32():
    total = zeros_like({"w": torch.ones(1, dtype=torch.bfloat16)})
    for _ in range(1000):
        add_to(total, {"w": torch.ones(1, dtype=torch.bfloat16)})
    assert total["w"].item() == 1000  # bfloat16 would stay at 256
    scale(total, 0.5)
    assert norm(total) == 500
    assert math.isclose(norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}), 5.0, rel_tol=EPS32)
