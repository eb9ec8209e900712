"""A probe in a training loop: what it keeps, what comes next, and a run that does not notice it."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import commute_verify as cv
from commute_verify.criterion.window import Window
from tests.criterion_models import TinyLM, next_token_loss, ragged_tokens

OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
}
OPTIONS = {"every": 2, "batches": 8, "method": "double-backward"}


def domains(seed=0, count=20):
    draw = torch.Generator().manual_seed(seed)
    return {name: [ragged_tokens(draw, 3) for _ in range(count)] for name in ("en", "ru")}


class Run:
    """A model with dropout, its optimizer, and a shuffled loader: everything that a probe could disturb."""

    def __init__(self, optimizer="AdamW"):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        self.model = TinyLM().double().train()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.rows = torch.cat([batch for batches in domains(9, 4).values() for batch in batches])

    def steps(self, numbers, probe=None):
        loader = itertools.chain.from_iterable(DataLoader(self.rows, 4, shuffle=True) for _ in range(9))
        for number, batch in zip(numbers, loader, strict=False):
            loss, weight = next_token_loss(self.model, batch)
            (loss / weight).backward()
            if probe:
                probe(number)  # amid the step, where gradients could be disturbed, too
            self.optimizer.step()
            self.optimizer.zero_grad()

    def bits(self):
        """Parameters, optimizer state, modes and all random states, bit for bit."""
        moments = [
            tensor
            for state in self.optimizer.state.values()
            for tensor in state.values()
            if isinstance(tensor, torch.Tensor)
        ]
        tensors = [p.detach() for p in self.model.parameters()] + moments + [torch.get_rng_state()]
        modes = [module.training for module in self.model.modules()]
        return [t.numpy().tobytes() for t in tensors], modes, random.random(), np.random.random()


def trained(optimizer, steps):
    run = Run(optimizer)
    run.steps(range(1, steps + 1))
    return run.bits()


def probe_of(run, data=None, **options):
    return cv.OrderProbe(run.model, next_token_loss, data or domains(), **OPTIONS | options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_is_bitwise_the_same_with_and_without_a_probe(optimizer):
    bare = trained(optimizer, 8)
    probed = Run(optimizer)
    data = {name: DataLoader(batches, None, shuffle=True) for name, batches in domains().items()}
    adam = probed.optimizer if optimizer == "AdamW" else None
    probe = probe_of(probed, data, optimizer=adam, method="auto")
    probed.steps(range(1, 9), probe)
    assert list(probe.effects) == [2, 4, 6, 8]
    assert probed.bits() == bare


@pytest.mark.parametrize("harm", ["draw", "mode", "gradient"])
def test_a_probe_that_disturbs_the_run_is_noticed(harm):
    bare, probed = trained("AdamW", 4), Run()

    def log(values, step):
        if harm == "draw":
            torch.rand(1)
        elif harm == "mode":
            probed.model.eval()
        else:
            next(probed.model.parameters()).grad.add_(1e-12)

    probed.steps(range(1, 5), probe_of(probed, log=log))
    assert probed.bits() != bare


def test_every_estimate_takes_the_batches_that_follow_and_the_preconditioner_of_its_time():
    run, data = Run(), domains()
    probe = probe_of(run, data, optimizer=run.optimizer, every=3)
    run.steps(range(1, 4))
    probe(3)
    run.steps(range(4, 7))
    probe(6)
    assert [probe(step) for step in (1, 2, 4)] == [None] * 3
    assert probe.last is probe(6) is probe.effects[6]
    second = {name: batches[8:16] for name, batches in data.items()}
    run.model.eval()
    expected = cv.order_effect(
        run.model,
        next_token_loss,
        second,
        batches=8,
        method="double-backward",
        preconditioner=cv.AdamPreconditioner.from_optimizer(run.optimizer),
        seed=1,
        progress=False,
    )
    assert np.array_equal(probe.last.P_replicates, expected.P_replicates)
    for other in ({"seed": 0}, {"preconditioner": None}):
        options = {"preconditioner": cv.AdamPreconditioner.from_optimizer(run.optimizer), "seed": 1} | other
        wrong = cv.order_effect(
            run.model, next_token_loss, second, batches=8, method="double-backward", progress=False, **options
        )
        assert not np.array_equal(probe.last.P_replicates, wrong.P_replicates)


def test_a_resumed_probe_measures_nothing_twice_and_goes_on_with_the_same_batches(tmp_path):
    whole, told = Run(), []
    probe = probe_of(whole, directory=tmp_path / "whole", log=lambda values, step: told.append(step))
    whole.steps(range(1, 5), probe)
    state = json.loads(json.dumps(probe.state_dict()))
    whole.model.eval()
    last = probe.measure(6)

    resumed = probe_of(whole, directory=tmp_path / "resumed", log=lambda values, step: told.append(step))
    resumed.load_state_dict(state)
    assert list(resumed.effects) == [2, 4]
    assert resumed(4).to_json() == probe.effects[4].to_json()
    again = resumed.measure(6)
    assert np.array_equal(again.P_replicates, last.P_replicates)
    assert told == [2, 4, 6, 6]
    assert [path.name for path in (tmp_path / "resumed").iterdir()] == ["effect_6.json"]
    written = cv.OrderEffect.from_json((tmp_path / "whole" / "effect_6.json").read_text())
    assert np.array_equal(written.P_replicates, last.P_replicates)
    fresh = probe_of(whole).measure(6)
    assert not np.array_equal(fresh.P_replicates, last.P_replicates)


def test_the_log_gets_every_pair_and_target_with_its_error():
    told = {}
    mix = {"mix": {"en": 0.5, "ru": 0.5}}
    effect = probe_of(Run(), targets=mix, log=lambda values, step: told.update({step: values})).measure(4)
    assert told == {
        4: {
            "commute/P/en-ru→mix": effect.P["mix"][0, 1],
            "commute/P/en-ru→mix/stderr": effect.stderr["mix"][0, 1],
        }
    }


def test_a_budget_samples_until_it_is_spent():
    probe = probe_of(Run(), budget=400)
    effect = probe.measure(0)
    assert effect.looks
    assert probe.state_dict()["starts"]["en"] == 2 * len(effect.P_replicates)


@pytest.mark.parametrize("kind", ["list", "loader", "stream"])
def test_a_window_goes_round_and_gives_no_batch_twice(kind):
    class Stream:
        def __iter__(self):
            return iter(range(5))

    held = {"list": list(range(5)), "loader": DataLoader(range(5), None), "stream": Stream()}[kind]
    for start, count, shown, following in (
        (0, 2, [0, 1], 2),
        (3, 4, [3, 4, 0, 1], 2),
        (5, 9, [0, 1, 2, 3, 4], 5),
        (3, 9, [3, 4, 0, 1, 2], 3),
    ):
        window = Window(held, start)
        taken = [int(batch) for batch in itertools.islice(iter(window), count)]
        assert (taken, window.next) == (shown, following)


def test_a_domain_that_runs_out_is_an_error_and_with_warn_a_warning():
    run = Run()
    with pytest.raises(cv.CommuteError, match="domain 'en' holds 5 batches of the 8 that are needed"):
        probe_of(run, domains(count=5)).measure(0)
    probe = probe_of(run, domains(count=5), on_error="warn")
    with pytest.warns(UserWarning, match="^no order effect at step 0: domain 'en' holds 5 batches"):
        assert probe.measure(0) is None
    assert probe.last is None
    assert run.model.training


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every=0; give a whole number of at least 1"),
        ({"every": 2.5}, "every=2.5"),
        ({"batches": 3}, "batches=3"),
        ({"seed": -1}, "seed=-1; give a whole number from 0"),
        ({"log": 3}, "log=3; give a function of"),
        ({"on_error": "ignore"}, 'on_error=\'ignore\'; give "raise" or "warn"'),
        ({"budget": "soon"}, "budget='soon'"),
        ({"method": "magic"}, "method='magic'"),
        ({"targets": {"mix": {"fr": 1.0}}}, "target 'mix' weighs fr"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1.0)},
            "optimizer is a SGD; give the torch.optim",
        ),
        ({"data": {"en": iter([1]), "ru": [1]}}, "domain 'en' is an iterator, which can be read only once"),
    ],
)
def test_bad_input_is_refused_before_training(options, words):
    with pytest.raises(cv.CommuteError, match=words):
        probe_of(Run(), **options)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "no state of an OrderProbe of version 1"),
        ([], r"no state of an OrderProbe of version 1 \(a list\)"),
        ({"version": 1, "effects": {}}, "a broken state of an OrderProbe"),
        ({"version": 1, "effects": {"2": "{"}, "starts": {"en": 0, "ru": 0}}, "not JSON, or cut short"),
        ({"version": 1, "effects": {}, "starts": {"en": 0, "fr": 0}}, "a state of the domains en, fr"),
        ({"version": 1, "effects": {}, "starts": {"en": -2, "ru": 0}}, "start=-2"),
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state, words):
    probe = probe_of(Run())
    with pytest.raises(cv.CommuteError, match=words):
        probe.load_state_dict(state)
    assert probe.state_dict()["starts"] == {"en": 0, "ru": 0}
