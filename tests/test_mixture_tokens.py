"""Mixtures counted in tokens, drawn by chance, and asked for what cannot be."""

import copy
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from commute_verify import CommuteError, ScheduledMixture, WeightSchedule
from commute_verify.mixture.draws import drawn_turn
from commute_verify.mixture.lengths import earliest_end
from commute_verify.mixture.turns import Turns


class Stream(IterableDataset):
    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


# --- tokens, counted as they are read


@st.composite
def texts(draw):
    """Weights in exact fractions for stages of tokens, and the lengths of every domain's samples."""
    K = draw(st.integers(1, 6))
    stages = []
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(st.integers(0, 9), min_size=K, max_size=K).filter(any))
        stages.append((draw(st.integers(1, 60)), [Fraction(p, sum(parts)) for p in parts]))
    return stages, draw(
        st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=8), min_size=K, max_size=K)
    )


def farthest(stages, lengths, chosen=earliest_end):
    """max |y_k − W_k(N)| over all ends of samples, in exact arithmetic, over the longest sample's length."""
    names = [f"d{k}" for k in range(len(lengths))]
    turns = Turns.of(
        WeightSchedule.piecewise(
            [(float(n), dict(zip(names, map(float, ws), strict=True))) for n, ws in stages]
        )
    )
    spent, counts, worst = [0] * len(names), [0] * len(names), Fraction(0)
    total = sum(n for n, _ in stages)
    while sum(spent) < total:
        ahead = [lengths[k][counts[k] % len(lengths[k])] for k in range(len(names))]
        k = chosen(turns, spent, ahead)
        spent[k] += ahead[k]
        counts[k] += 1
        N = min(sum(spent), total)
        if sum(spent) > total:
            break
        left, plan = N, [Fraction(0)] * len(names)
        for n, ws in stages:
            step = min(n, left)
            plan = [p + step * w for p, w in zip(plan, ws, strict=True)]
            left -= step
        worst = max(worst, *(abs(y - p) for y, p in zip(spent, plan, strict=True)))
    return worst / max(map(max, lengths))


@given(texts())
@settings(max_examples=120)
def test_tokens_are_never_farther_from_the_plan_than_the_longest_sample(case):
    assert farthest(*case) <= 1 + Fraction(1, 10**7)  # roundoff


def test_taking_turns_whatever_the_lengths_leaves_the_plan_and_is_seen():
    stages, lengths = [(400, [Fraction(1, 4)] * 4)], [[12], [1], [1], [1]]

    def in_turn(turns, spent, ahead):
        return min(range(4), key=lambda k: spent[k] // ahead[k])

    assert farthest(stages, lengths) <= 1
    assert farthest(stages, lengths, in_turn) > 1


TEXT = {"a": ["a" * n for n in (3, 9, 5, 2, 8)], "b": ["b" * n for n in (1, 2, 1)], "c": ["cccc"] * 4}
HALF = WeightSchedule.piecewise(
    [(100.0, {"a": 0.5, "b": 0.25, "c": 0.25}), (100.0, {"a": 0.1, "b": 0.5, "c": 0.4})]
)


def texts_mixture(kind=list, **more):
    return ScheduledMixture({k: kind(v) for k, v in TEXT.items()}, HALF, unit="tokens", length=len, **more)


def test_real_tokens_end_where_the_schedule_ends():
    mixture = texts_mixture()
    read = "".join(mixture)
    assert 200 <= len(read) < 209
    assert mixture.tokens() == {k: read.count(k) for k in "abc"}
    assert all(abs(mixture.tokens()[k] - total) <= 9 for k, total in HALF.totals().items())


@pytest.mark.parametrize("kind", [list, Stream])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (3, 0)])
def test_tokens_are_shared_out_and_resumed_exactly(kind, ranks, workers):
    whole, trained, state = list(texts_mixture(kind)), [], None
    for rank in range(ranks):
        mixture = texts_mixture(kind, batch_size=3, rank=rank, ranks=ranks)
        loader = DataLoader(mixture, batch_size=3, num_workers=workers, collate_fn=list)
        trained.append([text for _, batch in zip(range(4), loader, strict=False) for text in batch])
        if workers:
            mixture.trained(len(trained[-1]))
        state = json.loads(json.dumps(mixture.state_dict()))
    again = texts_mixture(kind)
    again.load_state_dict(state)
    assert [one for group in zip(*trained, strict=True) for one in group] + list(again) == whole


def test_lengths_looked_at_ahead_are_forgotten_where_the_mixture_is_set_elsewhere():
    whole, start, used = list(texts_mixture()), texts_mixture().state_dict(), texts_mixture()
    for before in range(1, 12):
        list(zip(range(before), used, strict=False))
        used.load_state_dict(start)
        assert list(used) == whole
        used.load_state_dict(start)


# --- by chance


def test_drawn_domains_follow_the_weights_in_mean_and_only_the_seed():
    plan = WeightSchedule.piecewise([(2000.0, {"a": 0.7, "b": 0.3}), (2000.0, {"a": 0.0, "b": 1.0})])
    data = {"a": [0], "b": [1]}
    one, two, other = (
        list(ScheduledMixture(data, plan, order="random", seed=seed, exhausted="repeat"))
        for seed in (0, 0, 1)
    )
    assert one == two != other
    # Statistical: 600 ± 20.5 of 2000 under the weights; 5 standard deviations, seeds fixed.
    assert all(abs(sum(run[:2000]) - 600) < 103 for run in (one, other))
    assert sum(one[2000:]) == 2000  # a weight of 0 is never drawn
    exact = list(ScheduledMixture(data, plan))
    assert sum(exact[:2000]) == 600
    assert one != exact


def test_a_stage_that_ends_within_a_sample_is_drawn_by_its_share():
    turns = Turns.of(WeightSchedule.piecewise([(0.25, {"a": 1.0, "b": 0.0}), (0.75, {"a": 0.0, "b": 1.0})]))
    drawn = [drawn_turn(turns, 0, seed) for seed in range(400)]
    assert abs(sum(drawn) - 300) < 5 * math.sqrt(400 * 0.25 * 0.75)  # 5 standard deviations, seeds fixed


def test_a_drawn_mixture_resumes_at_the_next_draw():
    plan = WeightSchedule.constant({"a": 0.5, "b": 0.25, "c": 0.25}, 60)

    def make():
        return ScheduledMixture(TEXT, plan, order="random")

    mixture = make()
    first = [text for _, text in zip(range(23), mixture, strict=False)]
    again = make()
    again.load_state_dict(mixture.state_dict())
    assert first + list(again) == list(make())


# --- long schedules


def test_a_plan_of_many_stages_is_followed_like_the_same_plan_stage_by_stage():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), size=300)
    names = ("a", "b", "c")
    turns, counts = Turns.of(WeightSchedule(names, np.ones(300), rows)), [0, 0, 0]
    level = np.zeros(3)
    for n, row in enumerate(rows):
        counts[turns.next(n, counts)] += 1
        level += row
        assert np.abs(level - counts).max() <= 0.75 + 1e-9  # Tijdeman's bound for K = 3, and roundoff
        assert np.abs(np.subtract(turns.plan(n + 1), level)).max() < 1e-9
    for k in range(3):
        for level in (0.3, 1.0, 17.25, 60.0):
            at = turns.reaches(k, level)
            assert turns.plan(at)[k] == pytest.approx(level, abs=1e-7)  # roundoff: levels ≤ 100


# --- bad input


GOOD = {"a": [1, 2], "b": [3]}
PLAN = WeightSchedule.constant({"a": 0.5, "b": 0.5}, 8)


def state_with(**changed):
    return ScheduledMixture(GOOD, PLAN).state_dict() | changed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: WeightSchedule.constant({"a": 0.5, "b": 0.6}, 8), "divide them by their sum"),
        (
            lambda: ScheduledMixture(GOOD, WeightSchedule.constant({"a": 0.5, "b": 0.5}, 7.5)),
            "lasts 7.5 samples",
        ),
        (
            lambda: ScheduledMixture(
                GOOD, WeightSchedule.constant({"a": 0.5, "b": 0.5}, 2.5), unit="steps", batch_size=4
            ),
            "lasts 2.5 steps",
        ),
        (lambda: ScheduledMixture(GOOD | {"b": []}, PLAN), "'b' is empty"),
        (lambda: ScheduledMixture({"a": [1]}, PLAN), "differ in b"),
        (lambda: ScheduledMixture(GOOD, PLAN, seed=-1), "seed=-1"),
        (lambda: ScheduledMixture(GOOD, PLAN, order="sorted"), "order='sorted'"),
        (lambda: ScheduledMixture(GOOD, PLAN, order="random", seed=None), "without a seed"),
        (lambda: ScheduledMixture(GOOD, PLAN, length=len), "unit='tokens'"),
        (lambda: ScheduledMixture(GOOD, PLAN, unit="tokens", length=3), "length=3"),
        (
            lambda: ScheduledMixture(GOOD, PLAN, unit="tokens", length=len, order="random"),
            "in place of length",
        ),
        (
            lambda: list(ScheduledMixture(GOOD, PLAN, unit="tokens", length=lambda _: 0)),
            "length is 0 for a sample",
        ),
        (
            lambda: ScheduledMixture(GOOD, PLAN, unit="tokens", tokens_per_sample={"a": 1, "b": math.nan}),
            "a mean above 0",
        ),
        (
            lambda: ScheduledMixture(GOOD, PLAN, unit="tokens", tokens_per_sample={"a": 99, "b": 99}),
            "fewer tokens than one sample",
        ),
        (lambda: ScheduledMixture(GOOD, PLAN).tokens(), "without length="),
        (lambda: ScheduledMixture(GOOD, PLAN).trained(9), "the mixture ends after 8"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(version=0)), "another version"),
        (
            lambda: ScheduledMixture(GOOD, PLAN, order="random").load_state_dict(state_with()),
            "its order is 'exact'",
        ),
        (
            lambda: ScheduledMixture(GOOD | {"b": [3, 4]}, PLAN).load_state_dict(state_with()),
            r"its sizes is \[2, 1\]",
        ),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(counts=[1])), "damaged"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(position=3)), "damaged"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(plan=[[0.0], [[0]]])), "damaged"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(end=math.nan)), "damaged"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(worker="1")), "damaged"),
        (lambda: ScheduledMixture(GOOD, PLAN).load_state_dict(state_with(worker=[0, 2, 4])), "one worker"),
    ],
)
def test_each_bad_input_is_one_clear_error(wrong, message):
    with pytest.raises(CommuteError, match=message):
        wrong()


def test_a_state_that_lacks_a_field_names_it():
    state = state_with()
    del state["streams"]
    with pytest.raises(CommuteError, match="without streams"):
        ScheduledMixture(GOOD, PLAN).load_state_dict(state)


def test_an_iterator_of_before_is_told_that_the_mixture_was_set_elsewhere():
    mixture = ScheduledMixture(GOOD, PLAN)
    old = iter(mixture)
    next(old)
    mixture.load_state_dict(copy.deepcopy(state_with()))
    with pytest.raises(CommuteError, match="new iterator"):
        next(old)


def test_how_often_a_domain_has_been_gone_through_is_said():
    mixture = ScheduledMixture(GOOD, PLAN)
    list(mixture)
    assert mixture.epochs() == {"a": 2.0, "b": 4.0}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_domain_that_stops_loses_no_sample_of_any_rank(ranks):
    plan = WeightSchedule.constant({"a": 0.5, "b": 0.5}, 40)
    data = {"a": [("a", n) for n in range(5)], "b": [("b", n) for n in range(9)]}
    whole = list(ScheduledMixture(data, plan, exhausted="stop"))
    shares = [list(ScheduledMixture(data, plan, exhausted="stop", rank=r, ranks=ranks)) for r in range(ranks)]
    assert [share[n] for n in range(len(shares[0])) for share in shares if n < len(share)] == whole
    assert [sample for sample in whole if sample[0] == "a"] != []
    assert sum(name == "a" for name, _ in whole) == 5
