"""Several replicates of a trajectory are judged as their mean; more targets than domains are mixed after."""

import numpy as np
import pytest
import torch

from commute_verify.criterion.prediction import trajectory
from commute_verify.criterion.prediction.asking import Options, Setting, ask
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.rung import Replicated
from commute_verify.criterion.prediction.trajectory import Path, judged
from commute_verify.schedules import WeightSchedule
from tests.criterion_models import next_token_loss
from tests.trained_runs import NAMES, STEPS, language_model, tokens, train

NODES, WIDTHS = np.polynomial.legendre.leggauss(3)
PLACES = (NODES + 1) / 2
EXCESS = 11 / 6


def parabola(scale, missing):
    """Slopes 1 + x + x², whose integral is 11/6, and a loss that changes by the share ``missing`` more."""
    change = scale * EXCESS * (1 + missing)
    return Path(WIDTHS / 2, scale * (1 + PLACES + PLACES**2)[:, None], np.array([[3.0], [3.0 + change]]))


def test_slopes_that_explain_the_change_of_loss_are_answered():
    found = parabola(2.0, 0.0)
    assert found.excess == pytest.approx([2 * EXCESS])  # roundoff
    (verdict,) = judged([found])
    assert verdict.valid
    assert verdict.value < 1e-12  # roundoff


def test_ends_that_are_swapped_are_caught():
    found = parabola(2.0, 0.0)
    (verdict,) = judged([found._replace(ends=found.ends[::-1])])  # planted
    assert verdict.value == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("missing", "valid"),
    [((0.3, -0.3), True), ((0.3, 0.3), False), ((0.0, 0.3), False), ((0.0, 0.1), True)],
    ids=["opposite", "alike", "one", "a little in one"],
)
def test_what_is_judged_is_what_the_mean_leaves_unexplained(missing, valid):
    paths = [parabola(1.0, each) for each in missing]
    (verdict,) = judged(paths)
    off = np.mean(missing)
    assert verdict.valid is valid
    assert verdict.value == pytest.approx(off / max(1, 1 + off), abs=1e-12)  # roundoff
    worst = max(judged([path])[0].value for path in paths)
    assert worst >= verdict.value
    assert (worst <= trajectory.UNEXPLAINED) is (
        max(map(abs, missing)) < 0.11
    )  # planted: the worst, not the mean


def test_a_single_sweep_is_held_against_nothing_and_abstains():
    (verdict,) = judged([Path(np.ones(1), np.ones((1, 1)), np.array([[0.0], [1.0]]))])
    assert "a single sweep needs" in verdict.quantity
    assert not verdict.valid


def test_replicates_that_cancel_are_not_answered_by_sign():
    paths = [parabola(1.0, 0.0), parabola(-1.0, 0.0), parabola(1.1, 0.0)]
    found = Replicated(np.stack([one.excess for one in paths]), judged(paths))
    (value,), (stderr,), (verdict,) = found.mean()
    assert value == pytest.approx(EXCESS * 1.1 / 3)
    assert stderr == pytest.approx(EXCESS * np.std([1, -1, 1.1], ddof=1) / np.sqrt(3))
    assert "p-value" in verdict.words
    assert not verdict.valid


def asked(targets, **options):
    tilt = WeightSchedule.tilt(dict.fromkeys(NAMES, 1 / 3), "a", "b", 0.2, STEPS // 2)
    return predict_excess_loss(
        language_model(),
        next_token_loss,
        tokens(0),
        tilt,
        targets,
        optimizer=0.3,
        held_out=tokens(5, 2),
        predictor="trajectory",
        **options,
    )


ALONE = {name: {name: 1.0} for name in NAMES}
MIXED = {"mixture": {"a": 0.2, "b": 0.3, "c": 0.5}}


def test_more_targets_than_domains_cost_no_more_and_are_the_same():
    found, alone, mixture = asked(ALONE | MIXED), asked(ALONE), asked(MIXED)
    for name in NAMES:
        assert found[name].value == pytest.approx(alone[name].value, rel=1e-12)  # roundoff
    assert found["mixture"].value == pytest.approx(mixture["mixture"].value, rel=1e-10)  # roundoff
    assert found["mixture"].verdict.value == pytest.approx(mixture["mixture"].verdict.value, rel=1e-6)
    assert found.cost == alone.cost


def test_a_mixture_that_is_put_together_by_other_weights_is_told_apart():
    found, swapped = asked(ALONE | MIXED), asked(ALONE | {"mixture": {"a": 0.5, "b": 0.3, "c": 0.2}})
    assert abs(swapped["mixture"].value / found["mixture"].value - 1) > 0.1  # planted: swapped order


def test_domains_that_no_target_weighs_are_not_swept():
    two = {"a": {"a": 1.0}, "b": {"b": 1.0}, "both": {"a": 0.5, "b": 0.5}}
    found = asked(two)
    assert found["both"].value == pytest.approx((found["a"].value + found["b"].value) / 2)  # roundoff
    assert found.cost.products < asked(ALONE).cost.products


def fresh_adam(**options):
    """Domains with a coordinate each, and an AdamW that has taken no step: the slopes jump at both ends."""
    model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0]]))

    def loss_fn(model, batch):
        x, y = batch
        return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)

    x, y = torch.eye(2, dtype=torch.float64), torch.tensor([3.0, -2.0], dtype=torch.float64)
    data = {name: [(x[k : k + 1], y[k : k + 1])] * 20 for k, name in enumerate("ab")}
    return predict_excess_loss(
        model,
        loss_fn,
        data,
        WeightSchedule.blocks({"a": 10, "b": 10}),
        {"b": {"b": 1.0}},
        against=WeightSchedule.blocks({"b": 10, "a": 10}),
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.05),
        predictor="trajectory",
        **options,
    )


def test_a_jump_beyond_the_outer_points_is_seen_at_the_ends(monkeypatch):
    found = fresh_adam()
    assert not found["b"].answered
    assert found["b"].verdict.value > 0.3
    monkeypatch.setattr(trajectory, "ends", inner)
    assert fresh_adam()["b"].answered  # planted: what happens between the points alone


def inner(question):
    """Losses that rise as the points' own slopes say, as if nothing happened beyond them."""
    weights, reference, _ = question.window.per_step()
    slopes = [
        np.einsum(
            "tsk,sk->t",
            trajectory.swept(question, reference + x * (weights - reference)).sensitivity,
            weights - reference,
        )
        for x in PLACES
    ]
    return np.stack([np.zeros(len(question.mixing)), WIDTHS / 2 @ np.stack(slopes)])


def test_both_ends_are_the_losses_of_real_runs():
    data, tilt = tokens(0), WeightSchedule.tilt(dict.fromkeys(NAMES, 1 / 3), "a", "b", 0.2, STEPS // 2)
    setting, options = Setting(0.3, None), Options()
    (one,), _ = ask(language_model(), next_token_loss, data, tilt, None, tokens(5, 2), setting, options)
    found = trajectory.ends(one)
    rates = np.full(int(tilt.duration), 0.3)
    for row, schedule in zip(found, (tilt.averaged(), tilt), strict=True):
        model = language_model()
        weights = np.repeat(schedule.weights, schedule.durations.astype(int), axis=0)
        train(model, torch.optim.SGD(model.parameters(), lr=0.3), data, weights, rates, None)
        for k, name in enumerate(NAMES):
            pairs = [next_token_loss(model, batch) for batch in tokens(5, 2)[name]]
            seen = sum(float(total.detach()) for total, _ in pairs) / sum(float(w) for _, w in pairs)
            assert row[k] == pytest.approx(seen, abs=1e-12)  # roundoff
