"""Curvature frozen again on the way: nearer with each doubling, answered where the last changed little."""

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import commute_verify as cv
from commute_verify.criterion import objective
from commute_verify.criterion.prediction import answer, descended, frozen, frozen_curvature, passage
from commute_verify.criterion.prediction.window import START, Part, Window

STEPS, ROWS, LR = 5, 12, 0.1
SWAP = cv.WeightSchedule.blocks({"a": STEPS, "b": STEPS})
SEEDS = range(10, 18)
QUANTITY = frozen_curvature.AGAIN
TOLERANCE = 0.01
WIDE = cv.WeightSchedule(("a", "b", "idle"), SWAP.durations, np.pad(SWAP.weights, [(0, 0), (0, 1)]))
LOST = torch.zeros(1)


def nats(model, batch):
    x, y = batch
    return cross_entropy(model(x), y, reduction="sum"), len(y)


def problem(seed):
    """A small network, and noisy labels of two half-spaces."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    draw = torch.Generator().manual_seed(seed + 1)
    batches = {}
    for name in "ab":
        normal = torch.randn(4, generator=draw, dtype=torch.float64)
        x = torch.randn(ROWS, 4, generator=draw, dtype=torch.float64)
        noise = torch.randn(ROWS, generator=draw, dtype=torch.float64)
        batches[name] = [(x, (x @ normal + 0.7 * noise > 0).long())]
    return model, batches


def trained(model, batches, weights, lr=LR):
    """Losses after steps of plain descent."""
    model = copy.deepcopy(model)
    sgd = torch.optim.SGD(model.parameters(), lr=lr)
    for row in weights:
        sgd.zero_grad()
        sum(w * nats(model, batches[name][0])[0] / ROWS for w, name in zip(row, "ab", strict=True)).backward()
        sgd.step()
    with torch.no_grad():
        return np.array([nats(model, found[0])[0].item() / ROWS for found in batches.values()])


def answers():
    """Predicted over observed for every answer: own losses, and mixtures near where the effect is nothing."""
    found = []
    for seed in SEEDS:
        model, batches = problem(seed)
        swap, constant = np.repeat(SWAP.weights, STEPS, axis=0), np.full((2 * STEPS, 2), 0.5)
        excess = trained(model, batches, swap) - trained(model, batches, constant)
        mixing = {"a": (1.0, 0.0), "b": (0.0, 1.0)}
        if excess[0] * excess[1] < 0:
            even = abs(excess[1]) / np.abs(excess).sum()
            mixing |= {f"{off:+}": (even + off, 1 - even - off) for off in (-0.02, 0.02)}
        targets = {name: dict(zip("ab", weights, strict=True)) for name, weights in mixing.items()}
        said = asked(model, batches, targets)
        found += [
            said[name].value / (excess @ weights) for name, weights in mixing.items() if said[name].answered
        ]
    return found


def asked(model, batches, targets=None, **options):
    options = {"optimizer": LR, "predictor": "frozen-curvature"} | options
    return cv.predict_excess_loss(model, nats, batches, SWAP, targets, **options)


def test_answers_have_the_right_sign_where_curvature_changes():
    found = answers()
    assert len(found) >= 2 * len(SEEDS)
    assert min(found) > 0.8
    assert max(found) < 1.2


def test_signs_are_wrong_where_nobody_freezes_again(monkeypatch):
    monkeypatch.setattr(
        frozen_curvature, "_finer", lambda question: [[START]]
    )  # planted: the start, unchecked
    monkeypatch.setattr(frozen_curvature, "_settled", lambda found, tried: [c[0] for c in found.checks()])
    assert min(answers()) < 0


def observed(seed):
    model, batches = problem(seed)
    swap, constant = np.repeat(SWAP.weights, STEPS, axis=0), np.full((2 * STEPS, 2), 0.5)
    return trained(model, batches, swap) - trained(model, batches, constant)


def errors(monkeypatch, most):
    """|predicted / observed − 1| of both own losses, all seeds, frozen exactly ``most`` times."""
    monkeypatch.setattr(frozen_curvature, "SETTLED", -1.0)
    found = []
    for seed in SEEDS:
        said = asked(*problem(seed), freezings=most)
        found.append(np.abs(np.array([said["a"].value, said["b"].value]) / observed(seed) - 1))
    return np.median(found)


def test_each_doubling_comes_nearer(monkeypatch):
    found = [errors(monkeypatch, most) for most in (0, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert found[3] < found[0] / 20
    assert found[1] / found[2] > 3  # order: the square of a part's length, on ten steps


def test_parts_of_one_step_are_the_run_itself(monkeypatch):
    assert errors(monkeypatch, 16) < 1e-6  # roundoff; Lanczos is exact after one product


def test_parts_of_one_step_are_answered_and_not_halved_further():
    """Two steps: two parts are the run, four would be the same."""
    for seed in SEEDS:
        model, batches = problem(seed)
        swap = cv.WeightSchedule.blocks({"a": 1, "b": 1})
        few, many = (
            cv.predict_excess_loss(
                model, nats, batches, swap, optimizer=2.0, predictor="frozen-curvature", freezings=n
            )
            for n in (2, 1024)
        )
        excess = trained(model, batches, [(1, 0), (0, 1)], 2.0) - trained(
            model, batches, [(0.5, 0.5)] * 2, 2.0
        )
        assert np.abs(values(few)[:2] - excess).max() < 0.02 * np.abs(excess).max()  # three Gauss points
        assert all(one.verdict.valid or one.verdict.quantity != QUANTITY for one in few.excess.values())
        assert few.cost == many.cost
        assert "frozen 2 times" in many.notes[0]


def test_parts_whose_curvature_is_that_of_their_start_come_less_near(monkeypatch):
    right = errors(monkeypatch, 4)
    parts = Window.parts
    monkeypatch.setattr(  # planted: frozen where a part starts, not in its middle
        Window, "parts", lambda *given: [Part(p.begin, p.begin, p.begin, p.end) for p in parts(*given)]
    )
    assert errors(monkeypatch, 4) > 1.5 * right


def test_the_value_is_that_of_as_many_freezings_as_the_note_says():
    for seed in SEEDS:
        said = asked(*problem(seed))
        (told,) = re.findall(r"frozen (once|\d+ times) on the way", said.notes[0])
        times = 1 if told == "once" else int(told.split()[0])
        again = asked(*problem(seed), freezings=times)
        assert [again[t].value for t in again] == [said[t].value for t in said]
        assert [again[t].verdict for t in again] == [said[t].verdict for t in said]
        before = asked(*problem(seed), freezings=times // 2)
        for t in said:
            changed = frozen_curvature.apart(said[t].value, before[t].value)
            assert changed <= frozen_curvature.SETTLED or not said[t].answered


def test_the_start_alone_is_a_value_without_an_answer():
    found = asked(*problem(10), freezings=0)
    assert {one.verdict.quantity for one in found.excess.values()} == {QUANTITY}
    assert "nothing beside; give freezings= of at least 2" in found["a"].verdict.words
    assert np.isfinite(found["a"].value)


def test_too_few_freezings_abstain_and_say_so():
    verdicts = [one.verdict for seed in SEEDS for one in asked(*problem(seed), freezings=2).excess.values()]
    apart = [v for v in verdicts if v.quantity == QUANTITY and not v.valid]
    assert apart
    assert all(v.value > frozen_curvature.SETTLED and v.words.startswith("abstains") for v in apart)
    alone = [one.verdict for seed in SEEDS for one in asked(*problem(seed), freezings=1).excess.values()]
    assert not any(v.valid for v in alone)


@pytest.mark.parametrize("given", [-1, 1.5, "2", True, None])
def test_freezings_are_a_whole_number(given):
    with pytest.raises(cv.CommuteError, match="freezings"):
        asked(*problem(10), freezings=given)


def halved(monkeypatch, halvings):
    """The models of the start, and of so many halvings."""
    monkeypatch.setattr(frozen_curvature, "_finer", lambda q: [[START], q.window.parts(halvings, q.dynamics)])


class Bowl(nn.Module):
    """½ (θ − c)ᵀ A (θ − c), whose curvature is the same everywhere."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))

    def forward(self, batch):
        A, c = batch
        return 0.5 * (self.theta - c) @ A @ (self.theta - c), 1.0


def bowls():
    draw = torch.Generator().manual_seed(0)
    roots, centres = (torch.randn(2, 3, k, dtype=torch.float64, generator=draw) for k in (3, 1))
    return {name: [(root @ root.mT, c[:, 0])] for name, root, c in zip("ab", roots, centres, strict=True)}


def bowl(schedule=SWAP, **options):
    options = {"optimizer": LR, "tolerance": 1e-12} | options
    return cv.predict_excess_loss(
        Bowl(), lambda model, batch: model(batch), bowls(), schedule, predictor="frozen-curvature", **options
    )


def values(found):
    return np.array([found[target].value for target in found])


UNEVEN = cv.WeightSchedule(
    ("a", "b"), np.array([2.0, 3.0, 1.0, 5.0]), np.array([[1, 0], [0.2, 0.8], [0, 1], [0.6, 0.4]])
)
BROKEN = cv.WeightSchedule(("a", "b"), UNEVEN.durations / 7, UNEVEN.weights)


@pytest.mark.parametrize("halvings", [0, 1, 3])
@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (UNEVEN, {}),
        (UNEVEN, {"dynamics": "flow"}),
        (BROKEN, {"dynamics": "flow"}),
        (UNEVEN, {"lr": np.linspace(0.01, 0.2, 11).tolist()}),
        (UNEVEN, {"lr": np.linspace(0.01, 0.2, 11).tolist(), "dynamics": "flow"}),
    ],
)
def test_curvature_that_stays_is_the_same_however_often_it_is_frozen(
    monkeypatch, schedule, options, halvings
):
    once = values(bowl(schedule, freezings=0, **options))
    halved(monkeypatch, halvings)
    found = bowl(schedule, **options)
    assert np.abs(values(found) - once).max() < 1e-9 * np.abs(once).max()  # roundoff, and Lanczos' 1e-12
    assert found.answered


def test_models_that_forget_where_they_are_frozen_are_caught(monkeypatch):
    right = values(bowl())
    monkeypatch.setattr(frozen.QuadraticModel, "away", lambda self, d: d)
    assert np.abs(values(bowl()) - right).max() > 0.01 * np.abs(right).max()


def test_a_part_that_starts_where_the_window_does_is_caught(monkeypatch):
    right = values(bowl())
    stages = Window.stages
    monkeypatch.setattr(
        Window,
        "stages",
        lambda self, s, dynamics, part=None: stages(self, s, dynamics, part and (0.0, part[1])),
    )
    halved(monkeypatch, 1)
    found = bowl()
    assert np.abs(values(found) - right).max() > 0.01 * np.abs(right).max()
    assert not found.answered


@pytest.mark.parametrize("target_model", ["quadratic", "evaluated"])
@pytest.mark.parametrize("error", [cv.CommuteError, answer.DivergenceError, objective.NotFiniteError])
def test_a_further_freezing_that_fails_abstains_and_keeps_the_value(monkeypatch, target_model, error):
    def found():
        return asked(*problem(10), optimizer=1e-3, target_model=target_model)

    parted = passage.passage

    def lost(question, schedule, model, parts):
        if len(parts) > 1:
            raise error("lost")
        return parted(question, schedule, model, parts)

    right = found()
    assert right.answered
    monkeypatch.setattr(descended, "passage", lost)
    told = found()
    assert {one.verdict.quantity for one in told.excess.values()} == {QUANTITY}
    assert all(one.verdict.words.endswith("is not known: lost") for one in told.excess.values())
    assert np.abs(values(told) / values(right) - 1).max() < 0.1


def test_what_fails_once_is_tried_with_more_freezings(monkeypatch):
    right = passage.passage

    def failing(question, schedule, model, parts):
        if len(parts) < 2:
            raise answer.DivergenceError(f"lost at {len(parts)}")
        return right(question, schedule, model, parts)

    monkeypatch.setattr(descended, "passage", failing)
    found = asked(*problem(10))
    assert found.answered
    assert "4 times" in found.notes[0]
    with pytest.raises(answer.DivergenceError, match="lost at 1"):
        asked(*problem(10), freezings=1)


def test_a_nearer_descent_that_fails_loses_no_answer(monkeypatch):
    model, batches = problem(10)
    run, tolerances = frozen.QuadraticModel.run, []

    def failing(self, *given):
        tolerances.append(self.tolerance)
        if self.tolerance < TOLERANCE:
            raise cv.CommuteError("lost")
        return run(self, *given)

    monkeypatch.setattr(frozen.QuadraticModel, "run", failing)
    found = asked(model, batches, optimizer=1e-3, tolerance=TOLERANCE)
    assert min(tolerances) < TOLERANCE
    assert "bound" in found["a"].verdict.quantity
    assert np.isfinite(found["a"].value)


def beside_an_idle_domain():
    """A swap beside a domain of weight 0, whose loss is no number but at the start."""
    model, batches = problem(10)
    start = next(model.parameters()).detach().clone()

    def breaks_on_the_way(model, batch):
        if batch is LOST:
            moved = (next(model.parameters()) - start).abs().sum()
            return moved / 0 if moved > 0 else moved, 1
        return nats(model, batch)

    data, targets = {**batches, "idle": [LOST]}, {"a": {"a": 1.0}, "b": {"b": 1.0}}
    return cv.predict_excess_loss(
        model, breaks_on_the_way, data, WIDE, targets, optimizer=1e-3, predictor="frozen-curvature"
    )


def test_a_domain_that_nobody_trains_is_not_looked_at_on_the_way(monkeypatch):
    assert beside_an_idle_domain().answered
    right = frozen.QuadraticModel.frozen_at
    monkeypatch.setattr(frozen.QuadraticModel, "frozen_at", lambda self, d, trained: right(self, d, range(3)))
    assert not beside_an_idle_domain().answered


@pytest.mark.parametrize("halvings", [0, 2])
def test_quadratics_under_a_preconditioner_with_decay_are_the_same(monkeypatch, halvings):
    model = Bowl()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, betas=(0.0, 0.999), weight_decay=0.3)
    second = torch.tensor([1.0, 0.1, 10.0], dtype=torch.float64)
    state = {"step": torch.tensor(1e6), "exp_avg": torch.zeros_like(second), "exp_avg_sq": second}
    optimizer.state[model.theta] = state

    def found(freezings=8):
        return values(
            cv.predict_excess_loss(
                model,
                lambda model, batch: model(batch),
                bowls(),
                SWAP,
                optimizer=optimizer,
                predictor="frozen-curvature",
                tolerance=1e-12,
                freezings=freezings,
            )
        )

    once = found(0)
    halved(monkeypatch, halvings)
    assert np.abs(found() - once).max() < 1e-9 * np.abs(once).max()  # roundoff, and Lanczos' 1e-12
    away = frozen.QuadraticModel.away
    monkeypatch.setattr(frozen.QuadraticModel, "away", lambda self, d: 1.1 * away(self, d))  # planted
    assert np.abs(found() - once).max() > 1e-3 * np.abs(once).max()


def test_steps_are_halved_whole_and_end_where_their_points_do():
    window = Window.of("ab", UNEVEN, None, 0.1)
    assert window.parts(1, "steps") == [(0, 2, 3, 6), (6, 8, 8, np.inf)]
    assert window.parts(2, "steps") == [(0, 1, 1, 3), (3, 4, 4, 6), (6, 7, 7, 9), (9, 9, 10, np.inf)]
    every = [(n, n, n, n + 1) for n in range(10)] + [(10, 10, 10, np.inf)]
    assert window.parts(4, "steps") == window.parts(9, "steps") == every


def test_flow_is_halved_in_its_own_time_and_parts_end_where_stages_do():
    window = Window.of("ab", UNEVEN, None, 0.1)
    assert window.parts(1, "flow") == [(0, 2.75, 2.75, 5.5), (5.5, 8.25, 8.25, np.inf)]
    slower = cv.WeightSchedule(("a", "b"), np.array([1.0, 2.0]), np.array([[1, 0], [0, 1]]))
    window = Window.of("ab", slower, None, [1.0, 3.0, 4.0])
    assert window.parts(0, "flow") == [(0, 2, 2, np.inf)]  # 4 of 8
    assert window.parts(1, "flow") == [(0, 1 + 1 / 3, 1 + 1 / 3, 2), (2, 2.5, 2.5, np.inf)]
    stages = [s for p in window.parts(1, "flow") for s in window.stages(slower, "flow", (p.begin, p.end))]
    assert [stage.clock.time for stage in stages] == [1, 3, 4]
    still = Window.of("ab", slower, None, [0.0, 0.0, 0.0])
    assert still.parts(0, "flow") == still.parts(3, "flow") == [(0, 3, 3, np.inf)]
    ahead = Window.of("ab", slower, None, [0.0, 2.0, 0.0])
    assert ahead.parts(1, "flow") == [(0, 1.25, 1.25, 1.5), (1.5, 1.75, 1.75, np.inf)]
    quarters = cv.WeightSchedule(("a", "b"), np.full(4, 0.1), np.array([[1, 0], [0.5, 0.5], [0, 1], [1, 0]]))
    inner = [part.begin for part in Window.of("ab", quarters, None, 0.1).parts(2, "flow")]
    assert inner == [0, *np.cumsum(quarters.durations)[:3].tolist()]  # not 0.4 · 3 / 4


def test_stages_of_the_parts_are_those_of_the_window():
    window = Window.of("ab", UNEVEN, None, np.linspace(0.1, 0.2, 11).tolist())
    for schedule in (UNEVEN, UNEVEN.averaged()):
        whole = window.stages(schedule, "steps")
        rates = np.concatenate([stage.clock.rates for stage in whole])
        weights = np.repeat([stage.weights for stage in whole], [s.clock.rates.size for s in whole], axis=0)
        cut = [
            stage
            for part in window.parts(2, "steps")
            for stage in window.stages(schedule, "steps", (part.begin, part.end))
        ]
        assert len(cut) > len(whole)
        assert np.concatenate([stage.clock.rates for stage in cut]).tolist() == rates.tolist()
        again = np.repeat([stage.weights for stage in cut], [s.clock.rates.size for s in cut], axis=0)
        assert again.tolist() == weights.tolist()
