"""The probe disturbs nothing: a training run with it is bitwise the run without it."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from commute_verify import AdamPreconditioner, CommuteError, hvp, lie_bracket, order_effect
from commute_verify.criterion.hessian_products import METHODS


class Net(nn.Module):
    """BatchNorm, dropout and a buffer that forward replaces."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.3), nn.Linear(3, 1)
        )
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + self.training
        return self.layers(x)


def loss_fn(model, batch):
    x, y = batch
    return F.mse_loss(model(x).squeeze(-1), y, reduction="sum"), len(x)


class Training:
    """A model, its optimizer, two shuffled loaders, one of which draws from a generator of its own."""

    def __init__(self):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        self.model = Net()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        data = [TensorDataset(torch.randn(72, 2), torch.randn(72)) for _ in range(2)]
        own = torch.Generator().manual_seed(7)
        self.loaders = {
            "a": DataLoader(data[0], batch_size=6, shuffle=True),
            "b": DataLoader(data[1], batch_size=6, shuffle=True, generator=own),
        }
        for _ in range(3):
            self.step()

    def step(self):
        for loader in self.loaders.values():
            self.model.train()
            self.optimizer.zero_grad()
            x, y = next(iter(loader))
            noise = random.random() + np.random.random()
            loss_fn(self.model, (x + 1e-3 * noise, y))[0].backward()
            self.optimizer.step()

    def probe(self, loss=loss_fn, **options):
        return order_effect(self.model, loss, self.loaders, **{"batches": 12, "progress": False} | options)

    def state(self):
        """Everything that a further step could depend on, as bytes."""
        model, optimizer = self.model, self.optimizer
        tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
        tensors += [t for state in optimizer.state.values() for t in state.values()]
        tensors += [torch.get_rng_state(), self.loaders["b"].generator.get_state()]
        return (
            [t.detach().numpy().tobytes() for t in tensors],
            [module.training for module in model.modules()],
            random.getstate(),
            [str(part) for part in np.random.get_state()],
            [p.requires_grad for p in model.parameters()],
            [id(p) for p in [*model.parameters(), *model.buffers()]],
        )


def random_vector(model):
    return {name: torch.ones_like(p) for name, p in model.named_parameters()}


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_everything_is_bitwise_the_same_after_an_estimate(method):
    run = Training()
    run.model.eval()
    before = run.state()
    run.probe(method=method, preconditioner=AdamPreconditioner.from_optimizer(run.optimizer))
    assert run.state() == before


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_bitwise_the_same_after_a_product_and_a_bracket_in_train_mode(method):
    run = Training()
    run.model.layers[3].p = 0.0
    batches = [next(iter(loader)) for loader in run.loaders.values()]
    before = run.state()
    hvp(run.model, loss_fn, batches[0], random_vector(run.model), method=method)
    lie_bracket(run.model, loss_fn, *batches, method=method)
    assert run.state() == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, KeyError])
@pytest.mark.parametrize("at", [1, 2, 40, 60])
def test_everything_is_bitwise_the_same_after_an_error_in_the_middle_of_a_loss(error, at):
    run = Training()
    run.model.layers[3].eval()
    before = run.state()
    calls = []

    def interrupted(model, batch):
        calls.append(batch)
        model.train(len(calls) == at)
        random.random(), np.random.random(), torch.rand(1)
        loss = loss_fn(model, batch)
        if model.training:
            raise error("in the middle")
        return loss

    raised = CommuteError if error is RuntimeError else error
    with pytest.raises(raised, match="in the middle"):
        run.probe(interrupted, method="finite-difference")
    assert len(calls) == at
    assert run.state() == before


def test_everything_is_bitwise_the_same_after_a_refusal_in_train_mode():
    run = Training()
    before = run.state()
    with pytest.raises(CommuteError, match=r"call model.eval\(\)"):
        run.probe()
    assert run.state() == before


def after(steps, probe):
    run = Training()
    for _ in range(steps):
        if probe:
            run.model.eval()
            run.probe()
        run.step()
    return run.state()


def test_training_steps_with_and_without_the_probe_are_bitwise_equal():
    with_probe, without = after(4, True), after(4, False)
    assert with_probe[0] == without[0]
    assert with_probe[1:5] == without[1:5]


def test_a_probe_that_draws_without_restoring_would_be_seen(monkeypatch):
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    assert after(2, True)[0] != after(2, False)[0]


def test_a_generator_that_is_not_restored_would_be_seen(monkeypatch):
    from commute_verify.criterion import undisturbed

    monkeypatch.setattr(undisturbed, "_generators", lambda batches: ())
    assert after(2, True)[0] != after(2, False)[0]


def test_an_epoch_of_training_goes_on_where_it_was():
    run = Training()
    run.model.eval()
    epoch = iter(run.loaders["a"])
    first = next(epoch)[0]
    state = torch.get_rng_state()
    expected = [first, *(x for x, _ in epoch)]
    torch.set_rng_state(state)
    run = Training()
    run.model.eval()
    epoch = iter(run.loaders["a"])
    found = [next(epoch)[0]]
    run.probe()
    found += [x for x, _ in epoch]
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.slow
def test_a_loader_that_keeps_its_workers_does_not_start_its_epoch_anew():
    run = Training()
    run.model.eval()
    data = TensorDataset(torch.arange(72.0).reshape(36, 2), torch.zeros(36))
    loader = DataLoader(data, batch_size=2, num_workers=1, persistent_workers=True)
    epoch = iter(loader)
    before = next(epoch)[0]
    order_effect(run.model, loss_fn, {"a": loader, "b": run.loaders["b"]}, batches=12, progress=False)
    rest = torch.cat([before, *(x for x, _ in epoch)])
    assert torch.equal(rest, data.tensors[0])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(context):
    run = Training()
    run.model.eval()
    expected = run.probe(method="double-backward")
    with context():
        found = run.probe(method="double-backward")
        assert not torch.is_grad_enabled()
    assert np.array_equal(found.P_replicates, expected.P_replicates)


def test_gradients_that_wait_for_a_step_are_not_touched():
    run = Training()
    run.model.eval()
    loss = loss_fn(run.model, next(iter(run.loaders["a"])))[0]
    before = run.state()
    run.probe()
    assert run.state() == before
    loss.backward()  # the graph from before the probe is whole


def test_hooks_on_parameters_are_not_called():
    run = Training()
    run.model.eval()
    called = []
    for p in run.model.parameters():
        p.register_hook(called.append)
        p.register_post_accumulate_grad_hook(called.append)
    run.probe()
    assert called == []
