"""How far the series is answered for: random quadratics against the exact flow, which knows no series."""

import re

import numpy as np
import torch
from scipy.linalg import expm
from torch import nn

from commute_verify import WeightSchedule
from commute_verify.criterion.prediction import local
from commute_verify.criterion.prediction.predict import predict_excess_loss

NAMES, SIZE = ("a", "b"), 5
TIMES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Flow times of a stage; the largest curvatures are about 1 to 4."""


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(SIZE, dtype=torch.float64))


def half_square(model, batch):
    """½ ‖A θ − c‖²."""
    A, c = batch
    return 0.5 * (A @ model.theta - c).square().sum(), 1.0


def drawn(seed):
    random = np.random.default_rng(seed)
    return {
        name: (
            random.normal(size=(SIZE, SIZE)) / np.sqrt(SIZE) * np.linspace(1, 0.05, SIZE),
            random.normal(size=SIZE),
        )
        for name in NAMES
    }


def flowed(data, schedule):
    """The gradient flow of Σ_k w_k L_k from 0, stage by stage, as an affine map."""
    theta = np.zeros(SIZE)
    for w, time in zip(schedule.weights, schedule.durations, strict=True):
        mixed = dict(zip(schedule.domains, w, strict=True))
        H = sum(mixed[name] * A.T @ A for name, (A, _) in data.items())
        g = sum(mixed[name] * A.T @ c for name, (A, c) in data.items())
        affine = np.zeros((SIZE + 1, SIZE + 1))
        affine[:SIZE, :SIZE], affine[:SIZE, SIZE] = -H * time, g * time
        theta = (expm(affine) @ np.append(theta, 1.0))[:SIZE]
    return theta


def exact(data, schedule):
    ends = [flowed(data, s) for s in (schedule, schedule.averaged())]
    return {
        name: 0.5 * float(np.sum((A @ ends[0] - c) ** 2) - np.sum((A @ ends[1] - c) ** 2))
        for name, (A, c) in data.items()
    }


def answers(predictor):
    """Relative errors of every value that is answered, and how many values there are."""
    errors, asked = [], 0
    for seed in range(12):
        data = drawn(seed)
        batches = {name: [tuple(map(torch.from_numpy, pair))] for name, pair in data.items()}
        for time in TIMES:
            for schedule in (
                WeightSchedule.blocks({"a": time, "b": time}),
                WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.15, time),
            ):
                found = predict_excess_loss(
                    Point(),
                    half_square,
                    batches,
                    schedule,
                    {name: {name: 1.0} for name in NAMES},
                    optimizer=1.0,
                    predictor=predictor,
                    dynamics="flow",
                )
                seen = exact(data, schedule)
                asked += len(seen)
                errors += [abs(found[name].value / seen[name] - 1) for name in seen if found[name].answered]
    return errors, asked


def test_what_order_3_answers_is_within_a_fifth_of_the_exact_flow():
    errors, asked = answers("local-3")
    assert asked == 12 * 2 * 2 * len(TIMES)
    assert len(errors) > 0.4 * asked
    assert max(errors) < 0.2
    assert np.median(errors) < 0.02


def test_without_a_bound_on_the_window_order_3_would_answer_far_off(monkeypatch):
    monkeypatch.setattr(local, "REACH_3", np.inf)
    errors, _ = answers("local-3")
    assert max(errors) > 0.3


def order_3(data, time):
    """What order 3 says of a swap, and flow time · κ as it notes it."""
    batches = {name: [tuple(map(torch.from_numpy, pair))] for name, pair in data.items()}
    swap = WeightSchedule.blocks({"a": time, "b": time})
    found = predict_excess_loss(
        Point(), half_square, batches, swap, optimizer=1.0, predictor="local-3", dynamics="flow"
    )
    return found, float(re.search(r"flow time · κ = (\S+);", found.notes[0])[1])


def noted_kappa(seed):
    return order_3(drawn(seed), 0.1)[1]


def dense_kappa(seed, time=0.1):
    (A, a), (B, b) = drawn(seed).values()
    g, h = -A.T @ a, -B.T @ b
    return 2 * time * np.linalg.norm(B.T @ B @ g - A.T @ A @ h) / np.linalg.norm(g + h)


def test_order_3_notes_the_bracket_beside_the_gradients():
    """Roundoff: three digits are printed."""
    for seed in range(3):
        assert noted_kappa(seed) == float(f"{dense_kappa(seed):.3g}")


def test_a_bracket_of_every_domain_with_itself_is_caught(monkeypatch):
    right = local._kappa
    monkeypatch.setattr(local, "_kappa", lambda g, Hg: right(g, Hg.flip(1)))
    assert noted_kappa(0) != float(f"{dense_kappa(0):.3g}")


def test_kappa_is_infinite_where_gradients_cancel_and_nothing_without_a_bracket():
    g = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    H = torch.stack([torch.eye(2), 2 * torch.eye(2)])
    assert local._kappa(g, torch.einsum("kab,ib->kia", H, g)) == np.inf
    assert local._kappa(g, torch.zeros(2, 2, 2)) == np.inf
    assert local._kappa(g[:1], torch.zeros(1, 1, 2)) == 0.0


def test_short_windows_are_predicted_where_kappa_is_infinite():
    """Order: within the share that order 3 leaves; the mixture is at its minimum, so that κ is infinite."""
    (A, a), (B, _) = drawn(4).values()
    data = {"a": (A, a), "b": (B, -np.linalg.solve(B.T, A.T @ a))}
    found, kappa = order_3(data, 0.02)
    assert kappa > 1e6  # but for rounding of g_a + g_b
    assert order_3(drawn(4), 0.02)[1] < 1  # planted: gradients that do not cancel
    seen = exact(data, WeightSchedule.blocks({"a": 0.02, "b": 0.02}))
    for name in NAMES:
        assert found[name].answered
        assert abs(found[name].value / seen[name] - 1) < 0.01
