"""The first variation of one sweep, against unrolled autograd and differences of real runs, in float64."""

import copy

import numpy as np
import pytest
import torch

from commute_verify import CommuteError
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction import costate, update
from commute_verify.criterion.prediction.costate import Training
from commute_verify.criterion.prediction.optimizer import read_optimizer
from commute_verify.criterion.prediction.states import Shelf
from commute_verify.criterion.prediction.surface import Surface
from tests.criterion_models import next_token_loss
from tests.trained_runs import MIXING, NAMES, OPTIMIZERS, STEPS, WARM, losses, mean_loss, start, tokens, train

RATES = 0.02 * (1 + np.cos(np.arange(STEPS) / 3))


def weights_along(seed=0):
    w = np.random.default_rng(seed).dirichlet(np.ones(3), size=STEPS)
    w[2, 1], w[2, 0] = 0.0, w[2, 0] + w[2, 1]
    return w


def swept(model, optimizer, clip, w, store=2**30, method="double-backward", mixing=MIXING, folder=None):
    objective = Objective.of(model, next_token_loss)
    fields = Surface(objective, tokens(1), method)
    rule = read_optimizer(optimizer, model, list(objective.parameters), fields.theta, clip)
    training = Training(fields, rule, RATES, store=store, folder=folder)
    return training.sweep(w, Surface(objective, tokens(2, 2)), mixing)


def differences(kind, warm, w, h=1e-5):
    """∂L_t/∂w_k(s) by central differences of whole runs, for some steps and all domains."""
    model, optimizer, clip = start(kind, warm)
    found = np.full((2, STEPS, 3), np.nan)
    for s in (0, 2, STEPS - 2):
        for k in range(3):
            ends = []
            for sign in (1, -1):
                moved = w.copy()
                moved[s, k] += sign * h
                twin, its = copy.deepcopy((model, optimizer))
                train(twin, its, tokens(1), moved, RATES, clip)
                ends.append(losses(twin, tokens(2, 2)))
            found[:, s, k] = (ends[0] - ends[1]) / (2 * h)
    return found


def assert_same(found, expected, relative=2e-6):
    """Roundoff of a central difference, h = 1e-5: h² + eps/h, amplified by curvature."""
    known = ~np.isnan(expected)
    assert known.any()
    assert np.abs(found - expected)[known].max() <= relative * np.abs(expected[known]).max()


@pytest.mark.parametrize("warm", WARM)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_first_variation_is_the_derivative_of_real_runs(kind, warm):
    w = weights_along()
    assert_same(swept(*start(kind, warm), w).sensitivity, differences(kind, warm, w))


def plant(monkeypatch, name, changed):
    right = getattr(update, name)
    for module in (update, costate):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, changed(right))


def forgetting(which):
    def changed(right):
        def wrong(*arguments):
            before, reached = right(*arguments)
            part = getattr(before, which)
            return before._replace(**{which: torch.zeros_like(part)}), reached

        return wrong

    return changed


PLANTED = {
    "no first moment": ("AdamW", "pulled_back", forgetting("first")),
    "no second moment": ("AdamW", "pulled_back", forgetting("second")),
    "no momentum": ("momentum", "pulled_back", forgetting("first")),
    "no path through θ": ("SGD", "pulled_back", forgetting("theta")),
    "clipping taken as constant": (
        "clipped SGD",
        "clipped_back",
        lambda right: lambda o, g, c: c * float(update.clipped(o, g).norm() / g.norm()),
    ),
    "no bias correction": ("AdamW", "_rate", lambda right: lambda o, rate, number: rate),
    "dampening from an empty buffer": ("damped momentum", "_dampening", lambda right: lambda o, n: 0.3),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_in_the_adjoint_is_caught(planted, monkeypatch):
    kind, name, changed = PLANTED[planted]
    plant(monkeypatch, name, changed)
    w = weights_along()
    with pytest.raises(AssertionError):
        assert_same(
            swept(*start(kind, "from the start"), w).sensitivity, differences(kind, "from the start", w)
        )


def test_curvature_that_is_left_out_is_caught(monkeypatch):
    right = Surface.derivatives

    def flat(self, at, batch, directions=(), domain=""):
        found = right(self, at, batch, directions, domain)
        return found._replace(products=[torch.zeros_like(p) for p in found.products])

    monkeypatch.setattr(Surface, "derivatives", flat)
    w = weights_along()
    with pytest.raises(AssertionError):
        assert_same(
            swept(*start("SGD", "in the middle"), w).sensitivity, differences("SGD", "in the middle", w)
        )


def unrolled(model, data, held_out, w, rates, lr_state=(0.8, 0.95), decay=0.3, eps=1e-8):
    """AdamW from an empty state, written out and differentiated by autograd in w, (T, N, K)."""
    b1, b2 = lr_state
    weights = torch.tensor(w, requires_grad=True)
    p = {name: x.detach().requires_grad_() for name, x in model.named_parameters()}
    m = {name: torch.zeros_like(x) for name, x in p.items()}
    v = {name: torch.zeros_like(x) for name, x in p.items()}
    for s, rate in enumerate(rates):
        total = sum(weights[s, k] * mean_loss(model, p, data[name][s]) for k, name in enumerate(NAMES))
        gradients = torch.autograd.grad(total, list(p.values()), create_graph=True)
        for (name, x), g in zip(list(p.items()), gradients, strict=True):
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            root = (v[name] / (1 - b2 ** (s + 1))).sqrt() + eps
            p[name] = (1 - rate * decay) * x - rate * (m[name] / (1 - b1 ** (s + 1))) / root
    found = []
    for row in MIXING:
        means = []
        for name in NAMES:
            counts = [float((batch[:, 1:] != -100).sum()) for batch in held_out[name]]
            parts = [c * mean_loss(model, p, batch) for c, batch in zip(counts, held_out[name], strict=True)]
            means.append(sum(parts) / sum(counts))
        end = sum(float(r) * one for r, one in zip(row, means, strict=True))
        found.append(torch.autograd.grad(end, weights, retain_graph=True)[0].numpy())
    return np.array(found)


def test_it_agrees_with_autograd_through_an_unrolled_adamw_to_roundoff():
    model, optimizer, clip = start("AdamW", "from the start")
    w = weights_along()
    expected = unrolled(model, tokens(1), tokens(2, 2), w, RATES)
    found = swept(model, optimizer, clip, w).sensitivity
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()  # roundoff: 1/eps of Adam's ε


def test_states_that_are_run_again_give_the_same_bits_as_states_that_are_kept():
    w = weights_along()
    kept = swept(*start("clipped AdamW", "in the middle"), w)
    again = swept(*start("clipped AdamW", "in the middle"), w, store=0)
    assert np.array_equal(kept.sensitivity, again.sensitivity)
    assert np.array_equal(kept.losses, again.losses)


@pytest.mark.parametrize("store", [2**30, 0])
@pytest.mark.parametrize("kind", ["SGD", "momentum", "clipped AdamW"])
def test_states_in_files_give_the_same_bits_as_states_in_memory(kind, store, tmp_path):
    w = weights_along()
    kept = swept(*start(kind, "in the middle"), w)
    again = swept(*start(kind, "in the middle"), w, store=store, folder=tmp_path)
    np.testing.assert_array_equal(again.sensitivity, kept.sensitivity)
    np.testing.assert_array_equal(again.losses, kept.losses)
    assert not list(tmp_path.iterdir())


def test_moments_that_change_places_in_a_file_are_caught(tmp_path, monkeypatch):
    right, w = Shelf.put, weights_along()
    kept = swept(*start("AdamW", "in the middle"), w).sensitivity
    monkeypatch.setattr(
        Shelf, "put", lambda shelf, s, t: right(shelf, s, (t[0], t[2].abs(), t[1].abs(), t[3]))
    )
    wrong = swept(*start("AdamW", "in the middle"), w, folder=tmp_path).sensitivity
    assert np.abs(wrong - kept).max() > 1e-3 * np.abs(kept).max()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), OSError("No space left")])
def test_a_state_that_cannot_be_written_is_told_and_nothing_is_left(error, tmp_path, monkeypatch):
    def full(*_, **__):
        raise error  # NumPy's own, of a file cut short, has no strerror

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CommuteError, match=r"\(No space left\).*states="):
        swept(*start("AdamW", "from the start"), weights_along(), folder=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CommuteError, match="can be written to"):
        swept(*start("AdamW", "from the start"), weights_along(), folder=tmp_path / "absent")


def test_one_forward_sweep_serves_all_targets():
    w = weights_along()
    both = swept(*start("AdamW", "in the middle"), w)
    one = swept(*start("AdamW", "in the middle"), w, mixing=MIXING[1:])
    assert np.abs(both.sensitivity[1:] - one.sensitivity).max() <= 1e-13 * np.abs(one.sensitivity).max()


def test_central_differences_of_gradients_serve_where_there_is_no_second_derivative():
    w = weights_along()
    exact = swept(*start("AdamW", "in the middle"), w).sensitivity
    by_differences = swept(*start("AdamW", "in the middle"), w, method="finite-difference").sensitivity
    assert np.abs(by_differences - exact).max() <= 1e-4 * np.abs(exact).max()  # truncation of the step


def test_the_last_loss_is_that_of_the_real_run():
    w = weights_along()
    model, optimizer, clip = start("AdamW", "in the middle")
    found = swept(model, optimizer, clip, w).losses
    train(model, optimizer, tokens(1), w, RATES, clip)
    assert np.abs(found - losses(model, tokens(2, 2))).max() < 1e-12  # roundoff
