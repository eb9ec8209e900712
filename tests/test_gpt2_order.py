"""The order of the data: counts that follow their plan, and windows that follow from their number."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commute_verify import CommuteError
from experiments.gpt2.order import counts_equal, counts_exact, counts_sampled, moved, window_indices


@st.composite
def simplex(draw, least=1, most=5):
    parts = draw(st.lists(st.integers(0, 20), min_size=least, max_size=most).filter(any))
    return [Fraction(part, sum(parts)) for part in parts]


def distance_from_plan(counts, weights, batch):
    """The largest |sequences of a domain so far − plan| at any prefix, exactly."""
    totals = [[Fraction(0)] * len(weights)]
    for row in counts.tolist():
        totals.append([total + count for total, count in zip(totals[-1], row, strict=True)])
    return max(
        abs(total - w * batch * n)
        for n, row in enumerate(totals)
        for total, w in zip(row, weights, strict=True)
    )


@given(simplex(), st.integers(1, 7), st.integers(1, 25))
def test_every_prefix_is_within_one_sequence_of_its_plan(weights, batch, steps):
    counts = counts_exact([float(w) for w in weights], batch, 0, steps)
    assert counts.shape == (steps, len(weights))
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == batch).all()
    assert distance_from_plan(counts, weights, batch) < 1  # exact


def rounded_each_step(weights, batch, steps):
    """A wrong way: round every step by itself, the rest to the last domain."""
    counts = np.tile(np.floor(np.array(weights) * batch).astype(int), (steps, 1))
    counts[:, -1] += batch - counts.sum(axis=1)
    return counts


def test_rounding_every_step_by_itself_would_leave_the_plan():
    weights = [Fraction(13, 20), Fraction(7, 20)]
    assert distance_from_plan(rounded_each_step([0.65, 0.35], 3, 20), weights, 3) > 10
    assert distance_from_plan(counts_exact([0.65, 0.35], 3, 0, 20), weights, 3) < 1


@pytest.mark.parametrize(
    ("base", "delta"), [(0.5, 0.15), (0.5, 0.3), (0.5, 0.45), (0.9, 0.03), (0.9, 0.06), (0.9, 0.09)]
)
def test_a_tilt_and_its_reverse_have_the_tokens_of_the_base(base, delta):
    steps, batch = 100, 16
    orders = [(base + s * delta, 1 - base - s * delta) for s in (1, -1)]
    up, down = (counts_exact(weights, batch, 0, steps).sum(axis=0) for weights in orders)
    constant = counts_exact([base, 1 - base], batch, 0, 2 * steps).sum(axis=0)
    assert (up + down == constant).all()
    assert up[0] - down[0] == round(2 * delta * batch * steps)


@given(simplex(), st.integers(1, 5), st.integers(0, 9), st.integers(0, 9))
def test_a_stage_can_be_entered_in_the_middle(weights, batch, first, steps):
    share = [float(w) for w in weights]
    whole = counts_exact(share, batch, 0, first + steps)
    assert (counts_exact(share, batch, first, steps) == whole[first:]).all()


def test_sampled_counts_follow_from_seed_and_step_alone():
    draws = [counts_sampled(3, [0.9, 0.1], 16, step).tolist() for step in range(200)]
    again = [counts_sampled(3, [0.9, 0.1], 16, step).tolist() for step in reversed(range(200))]
    assert draws == again[::-1]
    assert draws != [counts_sampled(4, [0.9, 0.1], 16, step).tolist() for step in range(200)]
    # Statistical: 3200 draws of probability 0.9, seed fixed, five standard deviations.
    assert abs(sum(row[0] for row in draws) - 2880) < 5 * (3200 * 0.09) ** 0.5


@given(st.integers(1, 5), st.integers(0, 30))
def test_equal_counts_differ_by_one_at_most_and_even_out(domains, extra):
    batch = domains + extra
    rows = np.array([counts_equal(domains, batch, step) for step in range(domains)])
    assert (rows.sum(axis=1) == batch).all()
    assert rows.max() - rows.min() <= 1
    assert (rows.sum(axis=0) == batch).all()


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 60))
def test_a_window_follows_from_its_number_alone(windows, first, count):
    together = window_indices(1, "en", windows, first, count).tolist()
    one_by_one = [int(window_indices(1, "en", windows, n, 1)[0]) for n in range(first, first + count)]
    assert together == one_by_one


def test_every_epoch_holds_every_window_once_in_an_order_of_its_own():
    epochs = [window_indices(1, "en", 50, 50 * epoch, 50).tolist() for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert window_indices(1, "ru", 50, 0, 50).tolist() != epochs[0]
    assert window_indices(2, "en", 50, 0, 50).tolist() != epochs[0]


def test_a_cursor_moves_by_the_windows_consumed():
    assert moved({"en": 3, "ru": 5}, {"en": 2}) == {"en": 5, "ru": 5}


def test_impossible_orders_are_refused():
    with pytest.raises(CommuteError, match="no whole window"):
        window_indices(0, "en", 0, 0, 1)
    with pytest.raises(CommuteError, match="batch ≥ 1"):
        counts_exact([1.0], 0, 0, 1)
