"""A budget in time, under a clock that only the loss moves."""

import time

import pytest
import torch
from torch import nn

from commute_verify import CommuteError, order_effect
from commute_verify.criterion import run
from tests.criterion_models import squares

A_LOSS = 0.02
"""Seconds that each call of the loss takes; nothing else takes any."""


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        for name in ("monotonic", "perf_counter"):
            monkeypatch.setattr(time, name, lambda: self.now)

    def loss_fn(self, model, batch):
        self.now += A_LOSS
        return squares(model, batch)


def sampled(clock, loss_fn=None, **options):
    """An effect of noise, whose sign is not resolved."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, 2, generator=draw, dtype=torch.float64)
    data = {name: [(one, torch.zeros(2).double()) for one in x] for name in "ab"}
    options = {"method": "double-backward", "batches": 12, "progress": False} | options
    torch.manual_seed(0)
    model = nn.Linear(2, 1).double()
    return order_effect(model, loss_fn or clock.loss_fn, data, targets={"a": {"a": 1.0}}, **options)


@pytest.mark.parametrize("seconds", [3.0, 5.0, 8.0])
def test_a_budget_in_time_holds_for_probe_and_replicates_together(seconds, monkeypatch):
    clock = Clock(monkeypatch)
    started = clock.now
    found = sampled(clock, until="resolved", budget=f"{seconds}s")
    taken = clock.now - started
    assert found.stopped == "the budget is spent"
    assert taken <= seconds
    assert found.cost.seconds == pytest.approx(taken, abs=1e-9)  # roundoff of the clock
    another = (taken - found.cost.start_up_seconds) / len(found.P_replicates)
    assert taken + another > seconds


def test_seconds_include_the_start_up_and_say_how_much_it_took(monkeypatch):
    cost = sampled(Clock(monkeypatch)).cost
    assert cost.seconds == pytest.approx(cost.evaluations * A_LOSS, abs=1e-9)  # roundoff of the clock
    passes = cost.gradient_passes + cost.hvp_passes
    assert cost.start_up_seconds == pytest.approx((cost.evaluations - passes) * A_LOSS, abs=1e-9)


def test_a_budget_that_start_up_and_first_look_would_exceed_is_refused_before_the_look(monkeypatch):
    clock = Clock(monkeypatch)
    started = clock.now
    with pytest.raises(
        CommuteError, match=r"the start-up probe took .* s, and the first look \(4 replicates\)"
    ):
        sampled(clock, until="resolved", budget="0.1s")
    start_up = sampled(Clock(monkeypatch)).cost.start_up_seconds
    assert clock.now - started == pytest.approx(start_up, abs=1e-9)  # roundoff of the clock


def test_a_first_look_that_turns_out_slower_ends_early(monkeypatch):
    clock = Clock(monkeypatch)
    calls = []
    start_up = sampled(clock).cost.evaluations - 4 * 6

    def slower(model, batch):
        calls.append(1)
        clock.now += 9 * A_LOSS * (len(calls) > start_up)
        return clock.loss_fn(model, batch)

    found = sampled(clock, slower, until="resolved", budget="3s")
    assert found.stopped == "the budget is spent"
    assert len(found.P_replicates) in (2, 3)
    assert found.looks == 1


def test_a_clock_started_after_the_probe_would_overrun(monkeypatch):
    clock = Clock(monkeypatch)
    started = clock.now
    begin = run.Run.__init__

    def late(self, objective, supply, domains, mixing, probe, D, meter, progress):
        meter._started = clock.now
        begin(self, objective, supply, domains, mixing, probe, D, meter, progress)

    monkeypatch.setattr(run.Run, "__init__", late)
    sampled(clock, until="resolved", budget="3.0s")
    assert clock.now - started > 3.0
