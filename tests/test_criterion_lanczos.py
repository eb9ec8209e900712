"""Lanczos against dense eigenvalues of numpy, and the ghosts that appear without reorthogonalisation."""

import numpy as np
import pytest
import torch

from commute_verify.criterion.basis import ROWS, Basis
from commute_verify.criterion.lanczos import lanczos, largest_eigenvalue
from commute_verify.errors import CommuteError
from tests.criterion_models import EPS, Dense, tiny_lm


def symmetric(values, seed=0):
    """A dense matrix with these eigenvalues and a random basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return (basis * values) @ basis.T


def product(A, dtype=torch.float64):
    matrix = torch.from_numpy(A).to(dtype)
    return lambda v: matrix @ v


def start(n, seed=1, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n)).to(dtype)


SPREAD = np.concatenate([[-300.0, 500.0, 1000.0], np.linspace(0.0, 1.0, 57)])
"""Three eigenvalues far from a cloud: they converge early, and come back as ghosts."""


def test_as_many_steps_as_dimensions_give_numpys_eigenvalues():
    values = np.linspace(-3.0, 5.0, 30)
    found = lanczos(product(symmetric(values)), start(30), 30)
    ritz = np.linalg.eigvalsh(found.matrix().numpy())
    assert np.abs(ritz - values).max() <= 1e3 * EPS * 5.0  # roundoff: C = 1e3, κ = ‖A‖
    assert found.residual == 0


def assert_orthonormal(found):
    Q = found.basis.matrix().numpy()
    assert np.abs(Q @ Q.T - np.eye(len(Q))).max() <= 100 * EPS  # roundoff: C = 100


def assert_no_ghosts(found, values):
    """No converged eigenvalue is found more often than it is there."""
    ritz = np.linalg.eigvalsh(found.matrix().numpy())
    for value in values:
        assert np.sum(np.abs(ritz - value) <= 1e-6 * np.abs(values).max()) <= 1


def test_the_basis_stays_orthonormal_and_every_eigenvalue_is_found_once():
    found = lanczos(product(symmetric(SPREAD)), start(60), 50)
    assert_orthonormal(found)
    assert_no_ghosts(found, SPREAD[:3])


def three_terms_only(basis, w):
    """Planted: orthogonalise against the last two vectors alone, once."""
    last = basis.matrix()[-2:]
    parts = last @ w
    return w - parts @ last, parts


def test_without_reorthogonalisation_the_basis_decays_and_ghosts_are_caught(monkeypatch):
    monkeypatch.setattr(Basis, "orthogonalised", three_terms_only)
    found = lanczos(product(symmetric(SPREAD)), start(60), 50)
    with pytest.raises(AssertionError):
        assert_orthonormal(found)
    with pytest.raises(AssertionError):
        assert_no_ghosts(found, SPREAD[:3])


def test_a_basis_that_becomes_more_copies_no_vector_and_combines_all():
    Q = torch.linalg.qr(torch.randn(40, 2 * ROWS + 1, generator=torch.manual_seed(0)))[0].T
    basis, places = Basis(Q[0], torch.device("cpu")), []
    for row in Q:
        basis.append(row)
        places.append(basis.last.data_ptr())
    assert [block[i].data_ptr() for block in basis._filled() for i in range(len(block))] == places
    assert torch.equal(basis.matrix(), Q)
    assert len(basis) == len(Q)
    c = torch.arange(len(Q), dtype=torch.float64)
    assert torch.allclose(basis.combined(c), c.float() @ Q, atol=1e-5)  # roundoff of float32, of sums of 17
    w = torch.arange(40.0)
    left, along = basis.orthogonalised(w)
    assert torch.allclose(along, Q @ w, atol=1e-4)  # roundoff
    assert float((Q @ left).abs().max()) < 1e-5  # roundoff, after the second pass


def test_a_basis_lies_on_the_device_that_is_asked_for():
    basis = Basis(torch.ones(3), torch.device("meta"))
    basis.append(torch.ones(3))
    assert basis.matrix().is_meta


def test_what_the_recurrence_leaves_is_the_residual_along_the_last_vector():
    A = symmetric(np.linspace(-1.0, 2.0, 20))
    found = lanczos(product(A), start(20), 7)
    Q, T = found.basis.matrix().numpy(), found.matrix().numpy()
    left = A @ Q.T - Q.T @ T
    scale = 100 * EPS * 2.0  # roundoff: C = 100, κ = ‖A‖
    assert np.abs(left[:, :-1]).max() <= scale
    assert abs(np.linalg.norm(left[:, -1]) - found.residual) <= scale
    assert np.abs(Q @ A @ Q.T - T).max() <= scale


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_a_space_that_is_exhausted_ends_the_steps(steps):
    A = np.diag([2.0, 2.0, 2.0, 7.0, 7.0, 7.0])
    found = lanczos(product(A), torch.ones(6, dtype=torch.float64), steps)
    assert len(found.diagonal) == min(steps, 2)
    assert (found.residual == 0) == (steps > 1)
    if steps > 1:
        ritz = np.linalg.eigvalsh(found.matrix().numpy())
        assert np.abs(ritz - [2.0, 7.0]).max() <= 100 * EPS * 7.0  # roundoff: C = 100


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_the_largest_eigenvalue_is_within_its_stated_error(tolerance):
    values = np.concatenate([[-50.0], np.linspace(0.0, 9.0, 98), [10.0]])
    found = largest_eigenvalue(product(symmetric(values)), start(100), tolerance=tolerance)
    assert found.error <= tolerance * 10.0
    assert abs(found.value - 10.0) <= found.error + 1e3 * EPS * 50.0  # roundoff: C = 1e3, κ = ‖A‖
    assert found.steps < 100


def test_the_largest_curvature_of_a_model_is_that_of_its_dense_hessian():
    case = tiny_lm()
    dense = Dense(case.model, case.loss_fn)
    point = dense.theta.clone().requires_grad_()
    (g,) = torch.autograd.grad(dense._mean(point, [case.batches["a"]]), point, create_graph=True)
    found = largest_eigenvalue(
        lambda v: torch.autograd.grad(g, point, v, retain_graph=True)[0], start(len(point)), tolerance=1e-10
    )
    H = dense.hessian([case.batches["a"]])
    truth = np.linalg.eigvalsh(H)
    assert abs(found.value - truth[-1]) <= 1e3 * EPS * np.abs(truth).max()  # roundoff: C = 1e3, κ = ‖H‖


def test_single_precision_keeps_its_type_and_its_accuracy():
    values = np.linspace(-3.0, 5.0, 40)
    A = symmetric(values)
    found = largest_eigenvalue(product(A, torch.float32), start(40, dtype=torch.float32), tolerance=1e-5)
    assert abs(found.value - 5.0) <= found.error + 1e3 * 2.0**-24 * 5.0  # roundoff: C = 1e3
    few = lanczos(product(A, torch.float32), start(40, dtype=torch.float32), 3)
    assert few.basis.last.dtype == torch.float32


def test_an_operator_that_vanishes_has_eigenvalue_zero():
    assert largest_eigenvalue(torch.zeros_like, start(5))[:2] == (0.0, 0.0)


def test_an_operator_that_is_not_symmetric_is_refused():
    skew = symmetric(np.linspace(1.0, 2.0, 20)) + np.triu(np.random.default_rng(0).normal(size=(20, 20)))
    with pytest.raises(CommuteError, match="not symmetric"):
        lanczos(product(skew), start(20), 10)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda A: lanczos(A, start(4), 0), "give at least 1"),
        (lambda A: lanczos(A, torch.zeros(4), 2), "zero vector"),
        (lambda A: lanczos(A, torch.ones(2, 2), 2), "flat"),
        (lambda A: lanczos(A, torch.ones(4, dtype=torch.int64), 2), "real tensor"),
        (lambda A: lanczos(A, torch.tensor([1.0, float("nan")]), 2), "finite"),
        (lambda A: lanczos(lambda v: v[:2], start(4), 2), r"gave shape \(2,\)"),
        (lambda A: lanczos(lambda v: v * float("inf"), start(4), 2), "not finite"),
        (lambda A: largest_eigenvalue(A, start(4), tolerance=0.0), "positive"),
        (lambda A: largest_eigenvalue(A, start(4), max_steps=0), "positive"),
        (lambda A: largest_eigenvalue(A, start(4), max_steps=2, tolerance=1e-9), "larger max_steps"),
    ],
)
def test_bad_input_is_refused_in_one_line_that_says_what_to_do(call, match):
    with pytest.raises(CommuteError, match=match) as refused:
        call(product(np.diag([1.0, 2.0, 3.0, 4.0])))
    assert "\n" not in str(refused.value)
