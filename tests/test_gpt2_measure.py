"""What is measured at a checkpoint beside the criterion: gradients and curvature, against dense algebra."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import order_effect
from experiments.gpt2.measure import gradients, largest_curvature, targets


def quadratic(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Half the squared distance of the weight to every row: the gradient is the weight less the mean row."""
    return 0.5 * (model.weight - batch).square().sum(), len(batch)


def rows(direction: list[float], noise: float) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(len(direction))
    return [torch.tensor(direction) + noise * torch.randn(16, 3, generator=draw) for _ in range(40)]


def model_at_zero() -> nn.Linear:
    model = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


@pytest.fixture
def found() -> dict:
    data = {"b": rows([3.0, 0.0, 0.0], 0.1), "a": rows([1.0, 1.0, 0.0], 0.1)}
    effect = order_effect(
        model_at_zero(), quadratic, data, targets=targets(("b", "a")), batches=40, progress=False
    )
    return gradients(effect)


def test_norms_and_cosine_are_those_of_the_mean_gradients(found):
    assert np.isclose(found["norms"]["b"], 3.0, rtol=0.02)  # statistical: noise 0.1/√(16·13) of each factor
    assert np.isclose(found["norms"]["a"], np.sqrt(2), rtol=0.02)
    assert np.isclose(found["cosine"], 1 / np.sqrt(2), rtol=0.02)
    assert set(found) == {"norms", "cosine"}


def test_norms_keep_to_their_domains_in_either_order():
    data = {"a": rows([1.0, 1.0, 0.0], 0.1), "b": rows([3.0, 0.0, 0.0], 0.1)}
    effect = order_effect(
        model_at_zero(), quadratic, data, targets=targets(("a", "b")), batches=40, progress=False
    )
    norms = gradients(effect)["norms"]
    assert np.isclose(norms["b"], 3.0, rtol=0.02)  # statistical, as above
    assert np.isclose(norms["a"], np.sqrt(2), rtol=0.02)


def test_a_gradient_lost_in_noise_has_no_norm_rather_than_a_wrong_one():
    data = {"b": rows([0.0, 0.0, 0.0], 5.0), "a": rows([1.0, 1.0, 0.0], 0.1)}
    values = []
    for seed in range(8):
        effect = order_effect(
            model_at_zero(),
            quadratic,
            data,
            targets=targets(("b", "a")),
            batches=40,
            seed=seed,
            progress=False,
        )
        values.append(gradients(effect)["norms"]["b"])
    noisy = 5.0 / np.sqrt(16) * np.sqrt(3)  # what the norm of one batch's gradient would say
    assert all(value is None or value < 0.5 * noisy for value in values)
    assert None in values


MATRIX = torch.tensor([[1.0, 0.2, 0.0], [0.0, 3.0, 0.5], [0.1, 0.0, 2.0]])


def squares(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
    return 0.5 * (batch @ model.weight.T).square().sum(), len(batch)


def bent(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The same less a curvature of −9 along the first axis: largest in size, and not the largest."""
    return squares(model, batch)[0] - 13.5 * model.weight[0, 0].square(), len(batch)


@pytest.mark.parametrize("scales", [None, [4.0, 0.1, 1.0]])
@pytest.mark.parametrize("loss", [squares, bent])
def test_the_largest_curvature_is_the_largest_eigenvalue(scales, loss):
    H = (MATRIX.T @ MATRIX / 3).double().numpy()
    H[0, 0] -= 9.0 * (loss is bent)
    D = np.diag(np.sqrt(np.ones(3) if scales is None else scales))
    given = None if scales is None else {"weight": torch.tensor([scales])}
    largest = largest_curvature(model_at_zero(), MATRIX, given, 60, loss)
    assert np.isclose(largest.value, np.linalg.eigvalsh(D @ H @ D).max(), rtol=1e-4)  # float32 roundoff
    assert largest.error <= 1e-4 * largest.value
    assert largest.steps <= 3


def test_too_few_products_are_told_by_the_error():
    exact = np.linalg.eigvalsh((MATRIX.T @ MATRIX / 3).double().numpy())
    found = largest_curvature(model_at_zero(), MATRIX, None, 1, squares)
    assert found.steps == 1
    assert found.value < exact.max() - 1e-3
    assert np.abs(exact - found.value).min() <= found.error


def test_the_check_sees_scales_that_are_left_out():
    given = {"weight": torch.tensor([[4.0, 0.1, 1.0]])}
    assert not np.isclose(
        largest_curvature(model_at_zero(), MATRIX, None, 60, squares).value,
        largest_curvature(model_at_zero(), MATRIX, given, 60, squares).value,
        rtol=1e-4,
    )
