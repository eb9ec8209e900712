"""One sweep for many tilts: values against a dense derivative, and verdicts that know their limits."""

import math

import numpy as np
import pytest

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.prediction.variation import FirstVariation, averaged

HALF = {"a": 0.5, "b": 0.5}
STEPS = 8


def loss(w):
    """A loss of the schedule with terms of every order: rows are steps, columns domains."""
    early, late = w[: STEPS // 2, 0].sum(), w[STEPS // 2 :, 0].sum()
    return early - 2 * late + 0.3 * early * late + 0.1 * (early - late) ** 2 + 0.01 * (early - late) ** 3


def slopes(w, size=1e-6):
    """∂loss/∂w by central differences."""
    found = np.zeros_like(w)
    for place in np.ndindex(*w.shape):
        change = np.zeros_like(w)
        change[place] = size
        found[place] = (loss(w + change) - loss(w - change)) / (2 * size)
    return found


def variation(offset=0.0):
    w = np.full((STEPS, 2), 0.5)
    return FirstVariation(("a", "b"), w, {"t": slopes(w) * (1 + offset)}, {"t": loss(w)})


def tilt(delta):
    return WeightSchedule.tilt(HALF, "a", "b", delta, STEPS // 2)


def steps(schedule):
    return np.repeat(schedule.weights, schedule.durations.astype(int), axis=0)


def error(one, other, offset=0.0):
    seen = loss(steps(one)) - loss(steps(other))
    return abs(variation(offset).predict(one, other)["t"].value - seen)


def test_the_error_between_a_tilt_and_its_mirror_is_of_third_order():
    ratio = error(tilt(0.2), tilt(-0.2)) / error(tilt(0.1), tilt(-0.1))
    assert 2.9 < math.log2(ratio) < 3.1  # order: three, not two or four


def test_slopes_that_are_off_by_a_factor_fall_out_of_that_order():
    ratio = error(tilt(0.2), tilt(-0.2), 1.0) / error(tilt(0.1), tilt(-0.1), 1.0)
    assert math.log2(ratio) < 1.5  # order: one


def test_against_constant_weights_the_even_part_is_left_out_and_it_abstains():
    constant = tilt(0.1).averaged()
    ratio = error(tilt(0.02), constant) / error(tilt(0.01), constant)
    assert 1.9 < math.log2(ratio) < 2.1  # order: two
    found = variation().predict(tilt(0.1), constant)["t"]
    assert not found.answered
    assert "middle" in found.verdict.words


def test_it_answers_for_tilts_within_its_reach_alone():
    alike = averaged([variation(offset) for offset in (-0.1, 0.0, 0.1)])
    assert alike.predict(tilt(0.15), tilt(-0.15))["t"].answered
    far = alike.predict(tilt(0.3), tilt(-0.3))["t"]
    assert not far.answered
    assert far.verdict.value == pytest.approx(0.3)  # roundoff


def test_swapping_the_two_schedules_turns_the_sign():
    one, other = variation().predict(tilt(0.1), tilt(-0.1)), variation().predict(tilt(-0.1), tilt(0.1))
    assert one["t"].value == pytest.approx(-other["t"].value, rel=1e-12)  # roundoff
    assert one["t"].value > 0 > other["t"].value


@pytest.mark.parametrize(
    ("offsets", "answered"), [((-0.1, 0.0, 0.1, 0.0), True), ((-3, 2.5, -2.5, 3), False)]
)
def test_replicates_give_an_error_and_answer_where_the_sign_is_resolved(offsets, answered):
    found = averaged([variation(offset) for offset in offsets]).predict(tilt(0.1), tilt(-0.1))["t"]
    each = [variation(offset).predict(tilt(0.1), tilt(-0.1))["t"].value for offset in offsets]
    assert found.value == pytest.approx(np.mean(each), rel=1e-12)  # roundoff
    assert found.stderr == pytest.approx(np.std(each, ddof=1) / 2, rel=1e-9)  # roundoff
    assert found.answered == answered


def test_a_single_replicate_has_no_error_and_abstains():
    found = variation().predict(tilt(0.1), tilt(-0.1))["t"]
    assert math.isnan(found.stderr)
    assert not found.answered
    assert "replicates" in found.verdict.words


def test_a_reach_that_is_worse_than_the_sign_is_told_first():
    found = averaged([variation(offset) for offset in (-3, 2.5, -2.5, 3)]).predict(tilt(0.3), tilt(-0.3))["t"]
    assert "distance" in found.verdict.quantity


def test_other_domains_and_lengths_are_refused():
    with pytest.raises(CommuteError, match="first variation is in a, b"):
        variation().predict(WeightSchedule.tilt({"a": 0.5, "c": 0.5}, "a", "c", 0.1, 4), tilt(0.1))
    with pytest.raises(CommuteError, match="whole steps"):
        variation().predict(WeightSchedule.tilt(HALF, "a", "b", 0.1, 3), tilt(0.1))
