"""The trajectory between Gauss points against real ``torch.optim`` runs, in float64."""

import copy
import math

import numpy as np
import pytest
import torch

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.prediction.costate import Training
from commute_verify.criterion.prediction.predict import first_variation, predict_excess_loss
from tests.criterion_models import next_token_loss
from tests.trained_runs import (
    SCHEDULES,
    TARGETS,
    THIRD,
    language_model,
    observed_excess,
    start,
    tokens,
)


def predicted(kind, what, points=None, slower=0.3, **options):
    """A prediction and what real runs do."""
    schedule = SCHEDULES[what]
    model, optimizer, clip = start(kind, "in the middle")
    for group in optimizer.param_groups:
        group["lr"] *= slower
    data, held_out = tokens(1, 20), tokens(2, 2)
    found = predict_excess_loss(
        model,
        next_token_loss,
        data,
        schedule,
        TARGETS,
        optimizer=optimizer,
        predictor="trajectory",
        held_out=held_out,
        points=points,
        clip_norm=clip,
        **options,
    )
    rate = optimizer.param_groups[0]["lr"]
    return found, observed_excess(model, optimizer, clip, schedule, data, held_out, rate)


def test_one_replicate_says_that_it_is_of_its_own_batches():
    assert "of these very batches" in str(predicted("SGD", "a tilt", 1)[0])
    model, optimizer, _ = start("SGD", "in the middle")
    both = predict_excess_loss(
        model, next_token_loss, tokens(1, 40), SCHEDULES["a tilt"], TARGETS,
        optimizer=optimizer, predictor="trajectory", held_out=tokens(2, 2), points=1, replicates=2,
    )  # fmt: skip
    assert "of these very batches" not in str(both)


def error(found, seen):
    return max(abs(found[name].value - x) for name, x in zip(found, seen, strict=True)) / np.abs(seen).max()


@pytest.mark.parametrize(
    ("kind", "what", "points", "within"),
    [
        ("SGD", "a tilt", None, 0.02),
        ("AdamW", "a tilt", None, 0.1),
        ("momentum", "a tilt", 3, 1e-4),
        ("clipped AdamW", "a tilt", 3, 1e-3),
        ("SGD", "a swap", None, 0.01),
        ("AdamW", "a swap", None, 0.01),
    ],
)
def test_the_excess_of_real_runs_is_predicted(kind, what, points, within):
    found, seen = predicted(kind, what, points)
    assert error(found, seen) <= within  # order: what the points leave
    assert found.answered
    assert found.cost.training_steps > 0


def test_the_reference_that_is_taken_for_the_schedule_is_caught(monkeypatch):
    right = Training.sweep
    monkeypatch.setattr(
        Training,
        "sweep",
        lambda self, w, *rest: right(self, np.tile(w.mean(axis=0), (len(w), 1)), *rest),
    )
    found, seen = predicted("SGD", "a tilt", None)
    assert error(found, seen) > 0.1


def test_slopes_that_do_not_explain_the_losses_make_it_abstain():
    found, seen = predicted("momentum", "a swap", slower=1.0)
    assert error(found, seen) > 0.3
    assert not found.answered
    assert "unexplained" in found["a"].verdict.quantity
    assert "more points=" in found["a"].verdict.words


def test_the_first_variation_ranks_schedules_near_the_one_it_was_taken_along():
    model, optimizer, _ = start("AdamW", "in the middle")
    data, held_out = tokens(1, 20), tokens(2, 2)
    base = SCHEDULES["a tilt"].averaged()
    found = first_variation(
        model, next_token_loss, data, base, TARGETS, optimizer=optimizer, held_out=held_out
    )
    small = WeightSchedule.tilt(THIRD, "a", "b", 1e-4, 10)
    seen = observed_excess(model, optimizer, None, small, data, held_out, 0.01)
    assert np.abs(np.array(list(found.excess(small).values())) / seen - 1).max() < 0.01  # order: δ
    assert found.sensitivity["a"].shape == (20, 3)
    assert found.cost.products == 20 * 3 * len(TARGETS)
    # forward and back, the targets, and once what each domain reaches, trained on and held out
    assert found.cost.gradients == 2 * 20 * 3 + 3 * len(held_out["a"]) + 3 + 3
    with pytest.raises(CommuteError, match="over 20 steps"):
        found.excess(WeightSchedule.tilt(THIRD, "a", "b", 0.1, 11))
    with pytest.raises(CommuteError, match="a schedule of"):
        found.excess(WeightSchedule.blocks({"a": 10, "b": 10}))


def test_the_error_of_more_points_falls_faster():
    found = [predicted("SGD", "a swap", points, slower=1.0) for points in (1, 2, 4)]
    errors = [error(*pair) for pair in found]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert not found[0][0].answered
    assert "a single sweep needs" in found[0][0]["a"].verdict.quantity


def test_a_single_sweep_abstains_however_near_the_schedules_are():
    assert predicted("SGD", "a tilt")[0].answered
    assert not predicted("SGD", "a tilt", 1)[0].answered


def test_the_run_is_left_as_it_was():
    model, optimizer, _ = start("AdamW", "in the middle")
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    schedule = SCHEDULES["a tilt"]
    predict_excess_loss(
        model, next_token_loss, tokens(1, 20), schedule, optimizer=optimizer, predictor="trajectory"
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(value, before[1]["state"][number][key])


def ask(model, schedule=SCHEDULES["a tilt"], data=None, **options):
    options = {"optimizer": 0.1, "predictor": "trajectory"} | options
    return predict_excess_loss(model, next_token_loss, data or tokens(1, 20), schedule, TARGETS, **options)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: torch.optim.RMSprop(p, lr=0.1), "RMSprop is not supported"),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), "amsgrad"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize"),
        (lambda p: torch.optim.SGD(p[:1], lr=0.1), "does not train"),
        (
            lambda p: torch.optim.SGD(
                [{"params": p[:1], "momentum": 0.1}, {"params": p[1:], "momentum": 0.2}], lr=0.1
            ),
            "differ in momentum",
        ),
    ],
)
def test_an_optimizer_that_is_not_supported_is_named(optimizer, message):
    model = language_model()
    with pytest.raises(CommuteError, match=message):
        ask(model, optimizer=optimizer(list(model.parameters())))


def test_a_window_longer_than_the_batches_is_refused():
    with pytest.raises(CommuteError, match="holds 19 batches for a window of 20 steps"):
        ask(language_model(), data=tokens(1, 19))


def test_a_window_of_broken_steps_is_refused():
    with pytest.raises(CommuteError, match="whole numbers of steps"):
        ask(language_model(), WeightSchedule.tilt(THIRD, "a", "b", 0.15, 9.5))


def test_a_number_that_is_none_on_the_way_is_named_with_its_step():
    calls = []

    def breaking(model, batch):
        total, weight = next_token_loss(model, batch)
        calls.append(1)
        return total * (math.nan if len(calls) > 20 else 1.0), weight

    with pytest.raises(CommuteError, match=r"domain '.', batch \d+: the loss is nan"):
        predict_excess_loss(
            language_model(),
            breaking,
            tokens(1, 20),
            SCHEDULES["a tilt"],
            optimizer=0.1,
            predictor="trajectory",
        )
    with pytest.raises(CommuteError, match=r"not finite|loss is"):
        ask(language_model(), optimizer=1e300)
