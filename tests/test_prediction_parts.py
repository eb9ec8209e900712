"""The parts that curvature is frozen in: what they are compared with, how long they are, and clipping."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import commute_verify as cv
from commute_verify.criterion.prediction import descended, frozen_curvature, passage
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.clock import Flow
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached, Stage
from commute_verify.criterion.prediction.krylov import descend
from commute_verify.criterion.prediction.window import START, Window
from tests.test_prediction_freezings import ROWS, SWAP, asked, nats, problem, values

BRIEF = cv.WeightSchedule.blocks({"a": 1, "b": 1})
TARGETS = {"a": {"a": 1.0}, "b": {"b": 1.0}, "mixture": {"a": 0.5, "b": 0.5}}


def bent(seed):
    """As ``problem``, with GELU in the place of tanh."""
    model, batches = problem(seed)
    model[1] = nn.GELU()
    return model, batches


def flowed(model, batches, stages):
    """Losses after gradient flow, by another library's integrator."""
    model = copy.deepcopy(model)
    parameters = list(model.parameters())
    theta = parameters_to_vector(parameters).detach().numpy()

    def losses(theta):
        vector_to_parameters(torch.from_numpy(np.ascontiguousarray(theta)), parameters)
        return [nats(model, found[0])[0] / ROWS for found in batches.values()]

    for time, weights in stages:

        def slope(_, theta, weights=weights):
            mixed = sum(w * loss for w, loss in zip(weights, losses(theta), strict=True))
            return -torch.cat([g.reshape(-1) for g in torch.autograd.grad(mixed, parameters)]).numpy()

        theta = solve_ivp(slope, (0, time), theta, rtol=1e-9, atol=1e-11).y[:, -1]
    return np.array([loss.item() for loss in losses(theta)])


def flow_excess(given, lr):
    swap = flowed(*given, [(lr, (1.0, 0.0)), (lr, (0.0, 1.0))])
    found = swap - flowed(*given, [(2 * lr, (0.5, 0.5))])
    return np.append(found, found.mean())


def by_flow(given, rate, schedule=BRIEF, **options):
    model, batches = given
    options = {"optimizer": rate, "dynamics": "flow", "predictor": "frozen-curvature"} | options
    return cv.predict_excess_loss(model, nats, batches, schedule, TARGETS, **options)


def worst(found, seen):
    """The largest relative error of what is answered."""
    said = zip(values(found), seen, found.excess.values(), strict=True)
    return max([abs(value / true - 1) for value, true, one in said if one.answered], default=0.0)


FLOWS = [(103, 0.7), (103, 1.2), (110, 0.7)]


@pytest.mark.parametrize(("seed", "lr"), FLOWS)
def test_answers_of_a_flow_are_near_where_a_stage_ends_in_the_middle(seed, lr):
    assert worst(by_flow(bent(seed), lr), flow_excess(bent(seed), lr)) < 0.1


def test_the_start_beside_the_middle_is_no_check(monkeypatch):
    """Both leave out as much of the first stage: half of what one starts from, half of what one comes to."""
    monkeypatch.setattr(
        frozen_curvature, "_finer", lambda question: [[START], question.window.parts(0, question.dynamics)]
    )
    found = by_flow(bent(103), 0.7)
    assert found["mixture"].answered
    assert worst(found, flow_excess(bent(103), 0.7)) > 1


def test_a_flow_is_the_same_by_one_learning_rate_and_by_a_list(monkeypatch):
    one, listed = (by_flow(bent(103), 1.2, lr=lr) for lr in (1.2, [1.2, 1.2]))
    assert np.abs(values(one) / values(listed) - 1).max() < 1e-9  # roundoff
    parts = Window.parts
    monkeypatch.setattr(Window, "parts", lambda self, halvings, _: parts(self, halvings, "steps"))  # planted
    assert np.abs(values(by_flow(bent(103), 1.2, lr=[1.2, 1.2])) / values(one) - 1).max() > 0.1


def test_a_flow_whose_rates_vary_takes_the_time_that_they_add_up_to():
    one = by_flow(bent(103), 1.2)
    uneven = cv.WeightSchedule.blocks({"a": 2, "b": 3})
    even = cv.WeightSchedule.constant({"a": 0.5, "b": 0.5}, 5)
    found = by_flow(bent(103), 1.0, uneven, against=even, lr=[0.9, 0.3, 0.2, 0.2, 0.8])
    assert np.abs(values(found) / values(one) - 1).max() < 1e-9  # roundoff


@pytest.mark.parametrize("target_model", ["quadratic", "evaluated"])
def test_the_excess_of_the_reference_over_the_schedule_is_the_same_turned(target_model):
    given, even = bent(103), cv.WeightSchedule.constant({"a": 0.5, "b": 0.5}, 2)
    there = by_flow(given, 0.7, BRIEF, against=even, target_model=target_model)
    back = by_flow(given, 0.7, even, against=BRIEF, target_model=target_model)
    assert np.abs(values(there) + values(back)).max() < 1e-9 * np.abs(values(there)).max()  # roundoff


def longest_on_the_way(seed, lr):
    """The longest gradient of a batch that plain steps of the swap and of constant weights meet."""
    longest = 0.0
    for weights in (np.repeat(SWAP.weights, 5, axis=0), np.full((10, 2), 0.5)):
        model, batches = problem(seed)
        for row in (*weights, (0.0, 0.0)):
            slopes = [
                torch.autograd.grad(nats(model, found[0])[0] / ROWS, list(model.parameters()))
                for found in batches.values()
            ]
            longest = max(longest, *(float(parameters_to_vector(g).norm()) for g in slopes))
            with torch.no_grad():
                for i, p in enumerate(model.parameters()):
                    p -= lr * sum(w * g[i] for w, g in zip(row, slopes, strict=True))
    return longest


CLIPPED, FAST = range(5000, 5006), 1.2


def lost_to_clipping():
    """Targets that are answered without clipping, and not with a norm that no step of the run reaches."""
    lost = 0
    for seed in CLIPPED:
        free, held = (
            asked(*problem(seed), optimizer=FAST, clip_norm=norm)
            for norm in (None, 1.1 * longest_on_the_way(seed, FAST))
        )
        lost += sum(free[t].answered and not held[t].answered for t in free)
    return lost


def test_what_a_rejected_try_meets_is_not_held_against_clipping(monkeypatch):
    assert lost_to_clipping() == 0
    right = frozen_curvature.near_enough

    met = {}

    def kept(question, model, parts):  # planted: the longest gradient of any try
        found = right(question, model, parts)
        met[question] = max(met.get(question, 0.0), found.longest)
        return replace(found, longest=met[question])

    monkeypatch.setattr(frozen_curvature, "near_enough", kept)
    assert lost_to_clipping() > 0


def steep(model, batch):
    """½ θ² and −θ − θ²/2: trained by the second, θ runs away and its gradient grows."""
    theta = model.theta.sum()
    return (theta**2 / 2, 1.0) if batch else (-theta - theta**2 / 2, 1.0)


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1, dtype=torch.float64))


def growing(clip):
    return cv.predict_excess_loss(
        Point(), steep, {"a": [1], "b": [0]}, cv.WeightSchedule.blocks({"b": 5, "a": 5}),
        optimizer=0.1, predictor="frozen-curvature", clip_norm=clip,
    )  # fmt: skip


def test_gradients_that_grow_into_clipping_in_a_part_are_seen(monkeypatch):
    assert growing(10.0).answered
    found = growing(2.5)  # 2 at the start, 3.2 after the first stage
    assert "clip_norm" in found["a"].verdict.quantity
    run = QuadraticModel.run
    monkeypatch.setattr(
        QuadraticModel, "run", lambda self, stages, start, visit=None: run(self, stages, start)
    )
    assert growing(2.5).answered  # planted: nobody looks on the way


def test_a_way_remembers_the_extremes_of_every_stage():
    class Axes:
        theta = torch.zeros(2, dtype=torch.float64)

        def product(self, weights, v, at):
            return v * torch.tensor([3.0 * weights[0], -0.5 * weights[0]], dtype=torch.float64)

    model = QuadraticModel(Axes(), torch.ones(1, 2, dtype=torch.float64), tolerance=1e-9)
    stages = [Stage(np.array([w]), Flow(1.0)) for w in (1.0, 0.1)]
    found = model.run(stages, Reached(torch.zeros(2, dtype=torch.float64)))
    assert found.highest == pytest.approx(3.0)  # roundoff
    assert found.lowest == pytest.approx(-0.5)  # roundoff
    assert found.growth == pytest.approx(np.exp(0.55))  # roundoff
    averaged = passage._average([Stage(np.array([1.0]), Flow(3.0)), Stage(np.array([0.0]), Flow(1.0))])
    assert averaged.tolist() == [0.75]


def test_the_bound_counts_the_rounding_of_a_gradient_told_from_far_off():
    """The slope where the stage starts is what is left of the model's own slope and of H (d − c)."""

    class Bowl:
        theta = torch.zeros(2)

        def product(self, weights, v, at):
            return v * torch.tensor([1.0, 2.0])

    slope, centre = torch.tensor([0.3, 0.7]), torch.tensor([1e4, 3e4])
    g = (slope + centre * torch.tensor([1.0, 2.0]))[None]
    model = QuadraticModel(Bowl(), g, tolerance=1e-9, centre=centre)
    found = model.run([Stage(np.ones(1), Flow(1.0))], Reached(torch.zeros(2)))
    exact = -slope.double().numpy() * -np.expm1([-1.0, -2.0]) / [1.0, 2.0]
    off = np.linalg.norm(found.displacement.double().numpy() - exact)
    assert 1e-5 < off < found.error


def test_the_models_of_two_steps_are_those_between_the_points_they_start_from(monkeypatch):
    ways = []

    def watched(*given):
        ways.append(passage.passage(*given))
        return ways[-1]

    monkeypatch.setattr(descended, "passage", watched)
    model, batches = problem(10)
    cv.predict_excess_loss(
        model, nats, batches, BRIEF, optimizer=0.1, predictor="frozen-curvature", freezings=1
    )
    g = torch.autograd.grad(nats(model, batches["a"][0])[0] / ROWS, list(model.parameters()))
    half = -0.1 * parameters_to_vector(g) / 2
    assert float((ways[0].model.centre - half).abs().max()) < 1e-12  # roundoff


def test_a_descent_beyond_the_largest_number_is_one_error_and_no_warning():
    """Neither its residual nor what that grows by is larger than any number before both are multiplied."""
    a = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DivergenceError):
            descend(
                lambda v: a * v,
                torch.ones(3, dtype=torch.float64),
                Flow(990.0),
                tolerance=0.1,
                max_products=2,
            )


def wells(model, batch):
    """Two wells in each coordinate, and a slope: concave where it starts, convex where it goes."""
    theta = parameters_to_vector(model.parameters())
    return ((theta**2 - 1) ** 2).sum() / 4 + batch @ theta, 1.0


def test_what_grows_on_the_way_to_the_middle_is_seen_where_the_models_there_are_convex(monkeypatch):
    model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(model.weight, 0.1)
    data = {
        name: [torch.tensor(slope, dtype=torch.float64)] for name, slope in (("a", [0.1, 0]), ("b", [0, 0.1]))
    }

    def ground():
        tilt = cv.WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.05, 3)
        options = {"optimizer": 1.0, "dynamics": "flow", "freezings": 1, "predictor": "frozen-curvature"}
        return cv.predict_excess_loss(model, wells, data, tilt, **options)["a"].verdict.quantity

    assert ground() == "amplification by negative curvature"
    monkeypatch.setattr(passage, "_with_what_was_seen", lambda end, middle: end)  # planted: the end alone
    assert ground() != "amplification by negative curvature"
