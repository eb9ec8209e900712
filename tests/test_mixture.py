"""A mixture follows its schedule at every prefix, and loses and repeats nothing."""

import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset

from commute_verify import ScheduledMixture, WeightSchedule
from commute_verify.errors import CommuteError
from commute_verify.mixture.turns import Turns


class Numbers(Dataset):
    """Samples (domain, number)."""

    def __init__(self, domain, length):
        self.domain, self.length = domain, length

    def __len__(self):
        return self.length

    def __getitem__(self, number):
        if not 0 <= number < self.length:
            raise IndexError(number)
        return self.domain, number


class Stream(IterableDataset):
    def __init__(self, domain, length):
        self.domain, self.length = domain, length

    def __iter__(self):
        return iter([(self.domain, n) for n in range(self.length)])


@st.composite
def schedules(draw):
    """Stages of whole samples with weights in exact fractions."""
    K = draw(st.integers(2, 6))
    stages = []
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(st.integers(0, 12), min_size=K, max_size=K).filter(any))
        weights = {f"d{k}": Fraction(p, sum(parts)) for k, p in enumerate(parts)}
        stages.append((draw(st.integers(1, 40)), weights))
    return stages


def farthest(order, stages):
    """The largest |x_k(n) − W_k(n)| over all prefixes, in exact arithmetic."""
    names = list(stages[0][1])
    plan = [weights for length, weights in stages for _ in range(length)]
    W, x, worst = Counter(), Counter(), Fraction(0)
    for name, weights in zip(order, plan, strict=True):
        x[name] += 1
        for k in names:
            W[k] += weights[k]
            worst = max(worst, abs(W[k] - x[k]))
    return worst


def order_of(stages, chosen=Turns.next):
    names = list(stages[0][1])
    turns = Turns.of(
        WeightSchedule.piecewise([(float(n), {k: float(w) for k, w in ws.items()}) for n, ws in stages])
    )
    counts, order = [0] * len(names), []
    for n in range(sum(length for length, _ in stages)):
        k = chosen(turns, n, counts)
        counts[k] += 1
        order.append(names[k])
    return order


@given(schedules())
@settings(max_examples=150)
def test_no_domain_is_ever_a_sample_away_from_its_plan(stages):
    K = len(stages[0][1])
    assert farthest(order_of(stages), stages) <= 1 - Fraction(1, 2 * K - 2) + Fraction(1, 10**8)  # roundoff


CROWD = [
    (1, dict(zip("abcdef", [Fraction(1, 6)] * 6, strict=True))),
    (1, dict(zip("abcdef", [Fraction(0), *[Fraction(1, 5)] * 5], strict=True))),
    (1, dict(zip("abcdef", [Fraction(0)] * 2 + [Fraction(1, 4)] * 4, strict=True))),
    (1, dict(zip("abcdef", [Fraction(0)] * 3 + [Fraction(1, 3)] * 3, strict=True))),
    (1, dict(zip("abcdef", [Fraction(0)] * 4 + [Fraction(1, 2)] * 2, strict=True))),
    (1, dict(zip("abcdef", [Fraction(0)] * 5 + [Fraction(1)], strict=True))),
]


def test_taking_whoever_is_farthest_behind_breaks_the_bound_and_is_seen():
    def greedy(turns, n, counts):
        return int(np.argmax(np.array(turns.plan(n + 1)) - counts))

    assert farthest(order_of(CROWD), CROWD) < 1
    assert farthest(order_of(CROWD, greedy), CROWD) >= 1


THREE = WeightSchedule.piecewise(
    [(30.0, {"a": 0.5, "b": 0.25, "c": 0.25}), (30.0, {"a": 0.1, "b": 0.6, "c": 0.3})]
)


def three(kind=Numbers, schedule=THREE, **more):
    return ScheduledMixture({name: kind(name, 17) for name in "abc"}, schedule, **more)


def test_every_epoch_of_a_domain_has_all_of_it_in_another_order():
    seen = [n for name, n in three() if name == "b"]
    assert len(seen) == 26  # 7.5 + 18, rounded
    assert sorted(seen[:17]) == list(range(17))
    assert seen[:9] != sorted(seen[:9])
    assert seen[:9] != seen[17:26]
    assert list(three()) == list(three())
    assert list(three(seed=1)) != list(three())
    assert [n for name, n in three(seed=None) if name == "b"][:17] == list(range(17))


@pytest.mark.parametrize("kind", [Numbers, Stream])
@pytest.mark.parametrize(
    ("ranks", "workers", "batch"), [(1, 0, 4), (1, 2, 4), (2, 2, 3), (3, 0, 2), (2, 2, 5)]
)
def test_ranks_and_workers_share_out_one_order(kind, ranks, workers, batch):
    whole = list(three(kind))
    shares = []
    for rank in range(ranks):
        mixture = three(kind, batch_size=batch, rank=rank, ranks=ranks)
        loader = DataLoader(mixture, batch_size=batch, num_workers=workers, collate_fn=list)
        shares.append([sample for batch in loader for sample in batch])
    together = [share[n] for n in range(len(shares[0])) for share in shares if n < len(share)]
    assert together == whole


def resumed(kind, ranks, workers, batch, after, then):
    """What all ranks train on, stopped after some batches and gone on with other ranks and workers."""
    trained, state = [], None
    for rank in range(ranks):
        mixture = three(kind, batch_size=batch, rank=rank, ranks=ranks)
        mine = []
        loader = DataLoader(mixture, batch_size=batch, num_workers=workers, collate_fn=list)
        for _, found in zip(range(after), loader, strict=False):
            mine += found
        if workers:
            mixture.trained(len(mine))
        trained.append(mine)
        states = pickle.loads(pickle.dumps(mixture.state_dict()))
        assert state is None or states == state  # every rank says the same
        state = states
    rest = []
    for rank in range(then):
        mixture = three(kind, batch_size=batch, rank=rank, ranks=then)
        mixture.load_state_dict(state)
        rest.append(list(mixture))
    flat = [share[n] for n in range(len(trained[0])) for share in trained]
    return flat + [share[n] for n in range(len(rest[0])) for share in rest if n < len(share)]


@pytest.mark.parametrize("kind", [Numbers, Stream])
@pytest.mark.parametrize(
    ("ranks", "workers", "then"), [(1, 0, 1), (2, 0, 2), (2, 0, 3), (1, 2, 1), (2, 2, 1)]
)
def test_a_resume_loses_and_repeats_nothing(kind, ranks, workers, then):
    assert resumed(kind, ranks, workers, 4, 3, then) == list(three(kind))


def test_workers_that_ran_ahead_unsaid_are_seen_by_this_test(monkeypatch):
    monkeypatch.setattr(ScheduledMixture, "trained", lambda self, samples: None)
    assert resumed(Numbers, 1, 2, 4, 3, 1) != list(three())


def test_a_change_of_schedule_keeps_what_the_plan_owes():
    first = [(10, {"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(1, 3)})]
    second = [(23, {"a": Fraction(1, 7), "b": Fraction(2, 7), "c": Fraction(4, 7)})]
    stages = [tuple((n, {k: float(w) for k, w in ws.items()}) for n, ws in part) for part in (first, second)]
    mixture = three(schedule=WeightSchedule.piecewise([*stages[0], (50.0, {"a": 1.0, "b": 0.0, "c": 0.0})]))
    seen = [sample for _, sample in zip(range(10), mixture, strict=False)]
    mixture.follow(WeightSchedule.piecewise(stages[1]))
    again = three()
    again.load_state_dict(mixture.state_dict())
    rest = list(again)
    assert rest == list(mixture)
    assert farthest([name for name, _ in seen + rest], first + second) < 1
    numbers = [sample for sample in seen + rest if sample[0] == "c"]
    assert len(set(numbers)) == len(numbers)  # fewer than an epoch


def test_tokens_become_samples_by_their_means():
    held = WeightSchedule.constant({"a": 0.5, "b": 0.5, "c": 0.0}, 6000.0)
    mixture = three(schedule=held, unit="tokens", tokens_per_sample={"a": 100, "b": 300, "c": 50})
    assert Counter(name for name, _ in mixture) == {"a": 30, "b": 10}
    assert mixture.counts() == {"a": 30, "b": 10, "c": 0}


def test_steps_are_batches_on_all_ranks():
    held = WeightSchedule.blocks({"a": 2, "b": 1, "c": 1})
    mixture = three(schedule=held, unit="steps", batch_size=4, ranks=2)
    assert len(list(mixture)) == 16
    assert mixture.counts() == {"a": 16, "b": 8, "c": 8}


def test_a_domain_that_ends_ends_as_was_asked():
    held = WeightSchedule.constant({"a": 1.0, "b": 0.0, "c": 0.0}, 40.0)
    for kind in (Numbers, Stream):
        assert len(list(three(kind, held))) == 40
        assert len(list(three(kind, held, exhausted="stop"))) == 17
        with pytest.raises(CommuteError, match="'a' ends after 17 samples"):
            list(three(kind, held, exhausted="error"))


@pytest.mark.slow
def test_a_streamed_hugging_face_dataset_is_followed():
    datasets = pytest.importorskip("datasets")

    def rows(name):
        for n in range(40):
            yield {"name": name, "n": n}

    streams = {
        name: datasets.IterableDataset.from_generator(rows, gen_kwargs={"name": name}) for name in "abc"
    }
    seen = [(row["name"], row["n"]) for row in ScheduledMixture(streams, THREE)]
    assert seen == [(name, n) for name, n in three(lambda domain, _: Stream(domain, 40))]


def test_the_domain_comes_along_where_it_is_asked_for():
    assert [name for name, _ in three(with_domain=True)] == [name for name, _ in three()]


def test_bad_input_is_one_clear_error():
    good = {name: Numbers(name, 3) for name in "abc"}
    for wrong, message in (
        (lambda: ScheduledMixture({}, THREE), "mapping"),
        (lambda: ScheduledMixture({"a": [1], "d": [1]}, THREE), "differ in b, c, d"),
        (lambda: ScheduledMixture(good, [1]), "give a WeightSchedule"),
        (lambda: ScheduledMixture(good, THREE, unit="epochs"), "unit='epochs'"),
        (lambda: ScheduledMixture(good, THREE, unit="tokens"), "a mean above 0"),
        (lambda: ScheduledMixture(good, THREE, rank=2, ranks=2), "counted from 0"),
        (lambda: ScheduledMixture(good, THREE, batch_size=0), "batch_size=0"),
        (lambda: ScheduledMixture(good, THREE, exhausted="sleep"), "exhausted='sleep'"),
        (lambda: next(iter(ScheduledMixture(good | {"b": []}, THREE))), "'b' is empty"),
        (lambda: list(ScheduledMixture(good | {"b": Stream("b", 0)}, THREE)), "'b' is empty"),
        (lambda: next(iter(ScheduledMixture(good | {"b": iter([1])}, THREE))), "iterator"),
        (lambda: next(iter(ScheduledMixture(good | {"b": 7}, THREE))), "'b' is int"),
        (lambda: three().load_state_dict({}), "state of a ScheduledMixture"),
        (lambda: three().load_state_dict(three(seed=3).state_dict()), "its seed is 3"),
        (lambda: three().trained(-1), "trained"),
        (lambda: three().follow(WeightSchedule.constant({"a": 1.0}, 2.0)), "differ in b, c"),
    ):
        with pytest.raises(CommuteError, match=message):
            wrong()


def test_torch_batches_it():
    tensors = {name: torch.arange(8) for name in "abc"}
    (batch,) = DataLoader(
        ScheduledMixture(tensors, WeightSchedule.constant(dict.fromkeys("abc", 1 / 3), 6.0)), batch_size=6
    )
    assert batch.shape == (6,)
