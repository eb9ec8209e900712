"""What is predicted without momentum is answered only where momentum has settled; real runs beside."""

import numpy as np
import pytest
import torch

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.prediction import frozen_curvature, left_out
from commute_verify.criterion.prediction.predict import predict_excess_loss
from tests.test_prediction_reach import NAMES, SIZE, Point, drawn, half_square

MOMENTUM = 0.9
FLOW_TIME = 2.0
"""Of a stage, with the rate that momentum settles to."""


def trained(data, weights, lr):
    """Losses after heavy-ball steps from rest, in NumPy."""
    theta, velocity = np.zeros((2, SIZE))
    for row in weights:
        g = sum(w * A.T @ (A @ theta - c) for w, (A, c) in zip(row, data.values(), strict=True))
        velocity = MOMENTUM * velocity + g
        theta = theta - lr * velocity
    return np.array([0.5 * float(np.sum((A @ theta - c) ** 2)) for A, c in data.values()])


def answered(k):
    """Predicted over observed of every answer of frozen curvature to a swap of k steps each."""
    lr = FLOW_TIME / k * (1 - MOMENTUM)
    ways = [WeightSchedule.blocks({one: k, other: k}) for one, other in (("a", "b"), ("b", "a"))]
    found = []
    for seed in range(10):
        data = drawn(seed)
        rows = [
            np.repeat(way.weights[:, [way.domains.index(name) for name in NAMES]], k, axis=0) for way in ways
        ]
        seen = trained(data, rows[0], lr) - trained(data, rows[1], lr)
        model = Point()
        told = predict_excess_loss(
            model,
            half_square,
            {name: [tuple(map(torch.from_numpy, pair))] for name, pair in data.items()},
            ways[0],
            {name: {name: 1.0} for name in NAMES},
            against=ways[1],
            optimizer=torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM),
            predictor="frozen-curvature",
        )
        found += [told[name].value / seen[i] for i, name in enumerate(NAMES) if told[name].answered]
    return found


@pytest.mark.parametrize("k", [1, 3, 10])
def test_stages_that_momentum_outlasts_are_not_answered(k):
    assert answered(k) == []


def test_without_these_bounds_it_would_answer_with_the_wrong_sign(monkeypatch):
    monkeypatch.setattr(left_out, "REMEMBERED", np.inf)
    monkeypatch.setattr(left_out, "MEMORY", 0.3)
    assert answered(1) == []  # what discrete steps change of the flow speaks against it too
    monkeypatch.setattr(frozen_curvature, "DISCRETE", np.inf)
    assert min(answered(1)) < 0


def test_stages_that_outlast_momentum_are_answered_within_a_fifth():
    ratios = answered(300)
    assert len(ratios) >= 5
    assert np.abs(np.array(ratios) - 1).max() < 0.2


def test_the_bound_on_memory_beside_the_prediction_is_not_idle(monkeypatch):
    few = len(answered(300))
    monkeypatch.setattr(left_out, "MEMORY", 0.3)
    assert len(answered(300)) > few


def test_momentum_that_never_forgets_is_refused():
    model = Point()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=1.0)
    batches = {name: [tuple(map(torch.from_numpy, pair))] for name, pair in drawn(0).items()}
    swap = WeightSchedule.blocks({"a": 10, "b": 10})
    with pytest.raises(CommuteError, match="momentum 1 never forgets"):
        predict_excess_loss(model, half_square, batches, swap, optimizer=optimizer, predictor="local")
