"""Batches of two stages exchanged: the mean of two runs by hand, and what of their luck is gone with it."""

import numpy as np
import pytest
import torch

import commute_verify as cv

K, STEPS = 3, 8
HALF = {"a": 0.5, "b": 0.5}
TILT, MIRROR = (
    cv.WeightSchedule.tilt(HALF, "a", "b", delta, K).then(cv.WeightSchedule.constant(HALF, STEPS - 2 * K))
    for delta in (0.2, -0.2)
)
CONSTANT = cv.WeightSchedule.constant(HALF, STEPS)


class Point(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))


def quadratic(model, batch):
    centre, curvature = batch
    return 0.5 * (curvature * (model.theta - centre).square()).sum(), 1


def linear(model, batch):
    return (batch[0] * model.theta).sum(), 1


def drawn(parts=1):
    draw = torch.Generator().manual_seed(5)

    def one():
        centre = torch.randn(3, generator=draw, dtype=torch.float64)
        return centre, torch.rand(3, generator=draw, dtype=torch.float64) + 0.5

    return {name: [one() for _ in range(parts * STEPS)] for name in HALF}


def traded(batches):
    return batches[K : 2 * K] + batches[:K] + batches[2 * K :]


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def ask(loss_fn, data, optimizer=adam, **options):
    """The trajectory's excess of the tilt over its mirror, target by target."""
    model = Point()
    return cv.predict_excess_loss(
        model,
        loss_fn,
        data,
        TILT,
        against=MIRROR,
        optimizer=optimizer(model),
        predictor="trajectory",
        **options,
    )


def values(found):
    return np.array([found[name].value for name in found])


def both_orders(data):
    return [data, {name: traded(batches) for name, batches in data.items()}]


def test_a_prediction_with_exchange_is_the_mean_of_both_orders_of_batches():
    data = drawn()
    each = [values(ask(quadratic, one, held_out=data)) for one in both_orders(data)]
    found = values(ask(quadratic, data, held_out=data, exchange=K))
    assert found == pytest.approx((each[0] + each[1]) / 2, rel=1e-12)  # roundoff
    assert np.abs(found - each[0]).max() > 1e-3  # planted: one order alone
    shifted = values(ask(quadratic, data, held_out=data, exchange=K - 1))
    assert np.abs(found - shifted).max() > 1e-4  # planted: the stage is a step shorter


def test_it_costs_twice_as_much():
    cost = [ask(quadratic, drawn(), **more).cost.gradients for more in ({}, {"exchange": K})]
    assert cost[1] == 2 * cost[0]


def test_a_first_variation_with_exchange_is_the_mean_of_both_orders_of_batches():
    data, model = drawn(), Point()
    options = {"optimizer": adam(model), "held_out": data}
    each = [cv.first_variation(model, quadratic, one, CONSTANT, **options) for one in both_orders(data)]
    found = cv.first_variation(model, quadratic, data, CONSTANT, exchange=K, **options)
    for target, slopes in found.sensitivity.items():
        expected = (each[0].sensitivity[target] + each[1].sensitivity[target]) / 2
        assert slopes == pytest.approx(expected, rel=1e-12, abs=1e-15)  # roundoff
        assert found.losses[target] == pytest.approx((each[0].losses[target] + each[1].losses[target]) / 2)


def test_the_spread_of_replicates_is_that_of_pairs():
    data = drawn(parts=2)
    found = ask(quadratic, data, replicates=2, exchange=K)
    halves = [{name: every[n : n + STEPS] for name, every in data.items()} for n in (0, STEPS)]
    each = [values(ask(quadratic, half, exchange=K)) for half in halves]
    assert values(found) == pytest.approx((each[0] + each[1]) / 2, rel=1e-12)  # roundoff
    stderr = np.array([found[name].stderr for name in found])
    assert stderr == pytest.approx(np.abs(each[0] - each[1]) / 2, rel=1e-9)  # roundoff


def test_under_sgd_the_luck_of_gradients_that_do_not_change_is_gone():
    told, with_luck = (
        values(ask(linear, drawn(), optimizer=lambda model: 0.1, **more)) for more in ({"exchange": K}, {})
    )
    assert np.abs(told).max() < 1e-15  # linear losses: no order effect, and no luck left
    assert np.abs(with_luck).max() > 1e-2  # planted: without exchange it is all luck


@pytest.mark.parametrize(
    ("steps", "what"),
    [(0, "exchange=0"), (2.5, "exchange=2.5"), (STEPS, "at most half of the window")],
)
def test_a_stage_that_is_none_is_refused(steps, what):
    with pytest.raises(cv.CommuteError, match=what):
        ask(quadratic, drawn(), exchange=steps)
