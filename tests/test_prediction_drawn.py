"""Runs that draw their batches: real runs on the same sequences, noise in closed form, bad input."""

import numpy as np
import pytest
import torch

import commute_verify as cv
from commute_verify.criterion.prediction.drawn import MOVED

A_FIRST = np.array([[3, 1]] * 3 + [[1, 3]] * 3)
B_FIRST = A_FIRST[::-1]
UNEVEN = np.array([[4, 0], [2, 2], [3, 1], [1, 3], [0, 4], [2, 2]])
BATCH, STEPS = 4, 6


def loss_fn(model, rows):
    return 0.5 * (model(rows[:, :3]).squeeze(-1) - rows[:, 3]).square().sum(), len(rows)


def network():
    torch.manual_seed(1)
    layers = torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    return torch.nn.Sequential(*layers).double()


def rows(count=200):
    draw = torch.Generator().manual_seed(2)
    made = {name: torch.randn(count, 4, generator=draw, dtype=torch.float64) for name in ("a", "b")}
    made["b"][:, 3] += 2 * made["b"][:, 0]
    return made


def held_out(data, batches=1):
    return {name: [*every[-20:].tensor_split(batches)] for name, every in data.items()}


def started(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for name in ("a", "b"):
        loss, weight = loss_fn(model, rows()[name][150:170])
        (loss / weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def batches_of(data, counts, against):
    """The rows of every step of the run with ``counts``, by an account of its own."""
    steps, at = [], dict.fromkeys(data, 0)
    for one, other in zip(counts.tolist(), against.tolist(), strict=True):
        step = []
        for name, n, m in zip(data, one, other, strict=True):
            both, alone = min(n, m), abs(n - m)
            first = at[name]
            step.append(data[name][first : first + both])
            first += max(both, 1)
            if n > m:
                step.append(data[name][first : first + alone])
            at[name] = first + max(alone, 1)
        steps.append(torch.cat(step))
    return steps


def loss_after(batches):
    """The losses of the held-out rows after real training, every sequence of a batch weighing alike."""
    model = network()
    optimizer = started(model)
    for batch in batches:
        optimizer.zero_grad()
        loss, weight = loss_fn(model, batch)
        (loss / weight).backward()
        optimizer.step()
    with torch.no_grad():
        found = [loss_fn(model, kept[0]) for kept in held_out(rows()).values()]
    return np.array([float(loss) / weight for loss, weight in found])


def predicted(mixture, **options):
    model = network()
    found = cv.predict_excess_loss(model, loss_fn, **mixture, optimizer=started(model), **options)
    return np.array([found[name].value for name in ("a", "b")])


@pytest.mark.parametrize("counts", [A_FIRST, UNEVEN])
def test_the_excess_is_what_real_runs_on_drawn_sequences_do(counts):
    data = rows()
    against = counts[::-1]
    observed = loss_after(batches_of(data, counts, against)) - loss_after(batches_of(data, against, counts))
    found = predicted(cv.drawn_mixture(data, counts, against, held_out(data)), points=12)
    np.testing.assert_allclose(found, observed, rtol=1e-3)
    other = predicted(cv.drawn_mixture(data, against, counts, held_out(data)), points=12)
    np.testing.assert_allclose(found, -other, rtol=1e-9)


def test_equal_batches_with_weighted_losses_are_another_run():
    data = rows()
    observed = loss_after(batches_of(data, A_FIRST, B_FIRST)) - loss_after(batches_of(data, B_FIRST, A_FIRST))
    tilt, mirror = (
        cv.WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", delta, 3) for delta in (0.25, -0.25)
    )
    domains = {name: [*every[: 2 * STEPS].split(2)] for name, every in data.items()}
    weighted = {"domains": domains, "schedule": tilt, "against": mirror, "held_out": held_out(data)}
    weighted["predictor"] = "trajectory"
    assert np.abs(predicted(weighted) / observed - 1).max() > 0.1


class Mean(torch.nn.Module):
    """One number."""

    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))


def distance(model, x):
    return 0.5 * (model.theta - x).square().sum(), len(x)


def excess_by_drawing(counts, against, variance, lr=0.5):
    """E L_a(θ_N) of plain SGD on ½(θ − x)², x of mean 1 in a and 0 in b, where x has ``variance``."""

    def after(n):
        mean = spread = 0.0
        for in_a, in_b in n.tolist():
            mean += lr * (in_a / BATCH - mean)
            spread = (1 - lr) ** 2 * spread + lr**2 * variance(in_b)
        return 0.5 * ((mean - 1) ** 2 + spread)

    return after(counts) - after(against)


def test_the_noise_of_drawing_is_in_the_mean_as_the_closed_form_has_it():
    sigma, replicates = 2.0, 150
    draw = torch.Generator().manual_seed(0)
    count = replicates * STEPS * (BATCH + 2)
    b = sigma * torch.randn(count, generator=draw, dtype=torch.float64)
    data = {"a": torch.ones(count, dtype=torch.float64), "b": b}
    kept = {
        "a": [torch.ones(1, dtype=torch.float64)] * replicates,
        "b": [torch.zeros(1).double()] * replicates,
    }
    mixture = cv.drawn_mixture(data, A_FIRST, B_FIRST, kept, {"a": {"a": 1.0}}, replicates=replicates)
    found = cv.predict_excess_loss(Mean(), distance, **mixture, optimizer=0.5, points=1)["a"]
    drawn = excess_by_drawing(A_FIRST, B_FIRST, lambda n: n * sigma**2 / BATCH**2)
    weighted = excess_by_drawing(A_FIRST, B_FIRST, lambda n: (n / BATCH) ** 2 * sigma**2 / (BATCH / 2))
    assert abs(found.value - drawn) < 3 * found.stderr
    assert abs(found.value - weighted) > 3 * found.stderr  # w² where drawing has w


def test_domains_that_are_drawn_alike_have_no_moving_part():
    data = rows()
    mixture = cv.drawn_mixture(data, A_FIRST, B_FIRST, held_out(data))
    assert tuple(mixture["domains"]) == ("a", "b", "a" + MOVED, "b" + MOVED)
    three = {**data, "c": data["a"]}
    more = np.hstack([A_FIRST, np.full((STEPS, 1), 2)])
    mixture = cv.drawn_mixture(three, more, np.hstack([B_FIRST, more[:, 2:]]), held_out(three))
    assert tuple(mixture["domains"]) == ("a", "b", "c", "a" + MOVED, "b" + MOVED)
    assert [len(batch) for batch in mixture["domains"]["c"]] == [2] * STEPS
    assert mixture["targets"].keys() == {"a", "b", "c", "mixture"}


def test_no_sequence_is_taken_twice():
    data = {name: torch.arange(100.0) + start for name, start in (("a", 0), ("b", 100))}
    kept = {name: [every[-1:]] * 2 for name, every in data.items()}
    mixture = cv.drawn_mixture(data, UNEVEN, UNEVEN[::-1], kept, replicates=2)
    taken = torch.cat([batch for batches in mixture["domains"].values() for batch in batches])
    assert len(taken.unique()) == len(taken)
    assert {len(batches) for batches in mixture["domains"].values()} == {2 * STEPS}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": A_FIRST[:4]}, "as many steps"),
        ({"counts": 2 * A_FIRST}, "as many steps and sequences"),
        ({"counts": A_FIRST + 0.5}, "no number of sequences"),
        ({"counts": -A_FIRST}, "no number of sequences"),
        ({"counts": 0 * A_FIRST}, "sum to the batch"),
        ({"counts": [[3, 1], [2, 1]]}, r"\[3, 4\] sequences"),
        ({"counts": [[3, 1], [2]]}, "no table of numbers"),
        ({"counts": A_FIRST[:, :1]}, r"shape \(6, 1\)"),
        ({"counts": torch.tensor(A_FIRST, dtype=torch.bfloat16)}, "no table of numbers"),
        ({"counts": [[1e19, 0]] * STEPS}, "no number of sequences"),
        ({"counts": [["3", "1"]] * STEPS}, "no number of sequences"),
        ({"sequences": rows(10)}, "10 sequences, and 18 are needed"),
        ({"sequences": {"a": rows()["a"]}}, "at least two"),
        ({"sequences": {"a": 3, "b": 4}}, "give a tensor"),
        ({"sequences": {"a": rows()["a"], "a" + MOVED: rows()["b"]}}, "another name"),
        ({"held_out": {"a": [1]}}, "the same names"),
        ({"targets": {"x": {"c": 1.0}}}, "'x'"),
        ({"replicates": 0}, "replicates"),
    ],
)
def test_bad_input_is_one_clear_error(changed, message):
    data = rows()
    given = {"sequences": data, "counts": A_FIRST, "against": B_FIRST, "held_out": held_out(data)} | changed
    if "sequences" in changed and "held_out" not in changed:
        given["held_out"] = {name: [1] for name in changed["sequences"]}
    with pytest.raises(cv.CommuteError, match=message):
        cv.drawn_mixture(**given)
