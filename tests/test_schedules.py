"""Weight schedules against exact iterated integrals, and the identities that every signature obeys."""

import dataclasses
import itertools
import json
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

EPS = np.finfo(np.float64).eps
SWAP = WeightSchedule.blocks({"a": 1.0, "b": 1.0})
IDLE = WeightSchedule.piecewise(
    [(0.5, {"a": 1.0, "b": 0.0, "c": 0.0}), (0.5, {"a": 0.25, "b": 0.75, "c": 0.0})]
)
EQUAL_STAGES = WeightSchedule.piecewise([(1.0, {"a": 0.5, "b": 0.5})] * 3)


def roundoff(actual, expected, schedule):
    """Roundoff: C·eps·κ, κ = max(1, T)^3 bounds every iterated integral, C = 64 for each stage."""
    bound = 64 * schedule.durations.size * EPS * max(1.0, schedule.duration) ** 3
    return all(np.abs(np.subtract(a, e)).max() <= bound for a, e in zip(actual, expected, strict=True))


@st.composite
def schedules(draw, size=None):
    size = size or draw(st.integers(1, 4))
    stages = []
    for _ in range(draw(st.integers(1, 4))):
        parts = draw(st.lists(st.integers(0, 6), min_size=size, max_size=size).filter(any))
        duration = draw(st.fractions(Fraction(1, 8), 4, max_denominator=8))
        stages.append((float(duration), {f"d{k}": p / sum(parts) for k, p in enumerate(parts)}))
    return WeightSchedule.piecewise(stages)


pairs = st.integers(1, 3).flatmap(lambda k: st.tuples(schedules(k), schedules(k)))


# --- the oracle: Σ over s1 ≤ … ≤ sn of Π d_s w_{s,k}, over m! for m letters in one stage, in exact fractions


def exact_signature(schedule):
    x = [
        [Fraction(d) * Fraction(w) for w in row]
        for d, row in zip(schedule.durations.tolist(), schedule.weights.tolist(), strict=True)
    ]
    k = len(schedule.domains)
    levels = []
    for depth in (1, 2, 3):
        level = np.zeros((k,) * depth)
        for word in itertools.product(range(k), repeat=depth):
            total = Fraction(0)
            for stages in itertools.combinations_with_replacement(range(len(x)), depth):
                term = Fraction(1, math.prod(math.factorial(m) for m in Counter(stages).values()))
                total += term * math.prod(x[s][letter] for s, letter in zip(stages, word, strict=True))
            level[word] = float(total)
        levels.append(level)
    return tuple(levels)


def exact_area(schedule):
    d = [Fraction(v) for v in schedule.durations.tolist()]
    w = [[Fraction(v) for v in row] for row in schedule.weights.tolist()]
    k = len(schedule.domains)
    area = np.zeros((k, k))
    for i, j in itertools.product(range(k), repeat=2):
        area[i, j] = float(
            sum(
                d[s] * d[t] * (w[s][i] * w[t][j] - w[s][j] * w[t][i]) for t in range(len(d)) for s in range(t)
            )
            / 2
        )
    return area


# --- the checks, each a yes or no, so that a planted error can be shown to be rejected


def is_iterated_integral(signature, schedule):
    return roundoff(signature, exact_signature(schedule), schedule)


def shuffles(signature, schedule):
    s1, s2, s3 = signature
    pair = np.einsum("i,j->ij", s1, s1), s2 + s2.T
    # a letter shuffled into a word: S_i S_jk = S_ijk + S_jik + S_jki
    triple = np.einsum("i,jk->ijk", s1, s2), s3 + s3.transpose(1, 0, 2) + s3.transpose(2, 0, 1)
    return roundoff([pair[0], triple[0]], [pair[1], triple[1]], schedule)


def joins(first, second, whole, schedule):
    (a1, a2, a3), (b1, b2, b3) = first, second
    product = (
        a1 + b1,
        a2 + np.multiply.outer(a1, b1) + b2,
        a3 + np.multiply.outer(a2, b1) + np.multiply.outer(a1, b2) + b3,
    )
    return roundoff(whole, product, schedule)


def mirrors(signature, reversed_signature, schedule):
    return roundoff(reversed_signature, [level.transpose() for level in signature], schedule)


def split_first_stage(schedule):
    first = schedule.durations[0]
    return WeightSchedule(
        schedule.domains,
        np.concatenate([[first / 4, 3 * first / 4], schedule.durations[1:]]),
        np.concatenate([schedule.weights[:1], schedule.weights]),
    )


def transposed(schedule):
    return tuple(level.transpose() for level in schedule.signature(3))


def without_half(schedule):
    """A stage's own x ⊗ x taken whole instead of halved."""
    s1, s2, s3 = schedule.signature(3)
    x = schedule.durations[:, None] * schedule.weights
    return s1, s2 + np.einsum("si,sj->ij", x, x) / 2, s3


def without_weights(schedule):
    even = np.full_like(schedule.weights, 1 / len(schedule.domains))
    return dataclasses.replace(schedule, weights=even).signature(3)


# --- signatures


@given(schedules())
@example(SWAP)
@example(IDLE)
@example(EQUAL_STAGES)
def test_signature_is_the_iterated_integrals(schedule):
    assert is_iterated_integral(schedule.signature(3), schedule)


@pytest.mark.parametrize("planted", [transposed, without_half, without_weights])
def test_a_wrong_signature_is_not_the_iterated_integrals(planted):
    assert not is_iterated_integral(planted(IDLE), IDLE)


@given(schedules())
@example(SWAP)
@example(IDLE)
@example(EQUAL_STAGES)
def test_signature_obeys_the_shuffle_identities(schedule):
    assert shuffles(schedule.signature(3), schedule)


@pytest.mark.parametrize("level", [1, 2])
def test_shuffle_identities_reject_a_level_off_by_its_diagonal(level):
    planted = [s.copy() for s in IDLE.signature(3)]
    planted[level][(0,) * (level + 1)] *= 2
    assert not shuffles(planted, IDLE)


def test_shuffle_identities_reject_a_stage_without_its_half():
    assert not shuffles(without_half(IDLE), IDLE)


@given(pairs)
@example((SWAP, SWAP.reversed()))
def test_signature_of_one_schedule_then_another_is_their_product(pair):
    a, b = pair
    whole = a.then(b)
    assert joins(a.signature(3), b.signature(3), whole.signature(3), whole)


def test_the_product_rejects_the_other_order():
    b = IDLE.averaged()
    assert joins(IDLE.signature(3), b.signature(3), IDLE.then(b).signature(3), IDLE.then(b))
    assert not joins(IDLE.signature(3), b.signature(3), b.then(IDLE).signature(3), IDLE.then(b))


@given(schedules())
@example(SWAP)
def test_splitting_a_stage_does_not_change_the_signature(schedule):
    assert roundoff(split_first_stage(schedule).signature(3), schedule.signature(3), schedule)


def test_splitting_a_stage_shows_a_missing_half():
    assert not roundoff(without_half(split_first_stage(IDLE)), without_half(IDLE), IDLE)


@given(schedules())
@example(SWAP)
@example(IDLE)
def test_reversal_reads_every_word_backwards(schedule):
    assert mirrors(schedule.signature(3), schedule.reversed().signature(3), schedule)
    assert schedule.reversed().reversed() == schedule  # exact


def test_reversal_is_rejected_when_nothing_was_reversed():
    assert not mirrors(IDLE.signature(3), IDLE.signature(3), IDLE)


@given(schedules())
def test_lower_depths_are_the_first_levels_of_the_signature(schedule):
    full = schedule.signature(3)
    for depth in (1, 2):
        levels = schedule.signature(depth)
        assert len(levels) == depth
        assert all(np.array_equal(a, b) for a, b in zip(levels, full, strict=False))  # exact


@pytest.mark.parametrize("depth", [0, 4, -1, 1.5, 2.0, True, None, "2"])
def test_a_depth_outside_one_to_three_is_refused(depth):
    with pytest.raises(CommuteError, match="give 1, 2 or 3"):
        SWAP.signature(depth)


# --- Lévy area


@given(schedules())
@example(SWAP)
@example(IDLE)
@example(EQUAL_STAGES)
def test_levy_area_is_the_double_integral(schedule):
    area = schedule.levy_area()
    assert roundoff([area], [exact_area(schedule)], schedule)
    assert np.array_equal(area, -area.T)  # exact


@pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5])
def test_a_levy_area_of_another_sign_or_factor_is_rejected(factor):
    assert not roundoff([factor * SWAP.levy_area()], [exact_area(SWAP)], SWAP)


def test_levy_area_is_positive_for_the_domain_that_runs_ahead():
    assert WeightSchedule.blocks({"a": 3.0, "b": 3.0}).levy_area()[0, 1] == 4.5  # exact: ½ Δt²


def test_levy_area_vanishes_for_a_constant_schedule():
    assert not WeightSchedule.constant({"a": 0.25, "b": 0.75}, 3.0).levy_area().any()  # exact


# --- tilts and totals

sixtyfourths = st.integers(0, 64).map(lambda n: n / 64)


def keeps_totals(schedule, base):
    """Exact: dyadic weights and durations are summed without rounding."""
    return schedule.totals() == base.totals()


@given(base=sixtyfourths, share=st.integers(-4, 4), stage=st.integers(1, 40), before=st.integers(0, 40))
@example(base=0.5, share=4, stage=1, before=0)
@example(base=0.0, share=4, stage=1, before=3)
def test_a_tilt_keeps_the_totals_exactly(base, share, stage, before):
    weights = {"en": base, "ru": 1 - base}
    delta = share / 4 * min(weights.values())
    tilt = WeightSchedule.tilt(weights, "en", "ru", delta, stage / 4, before=before / 4)
    constant = WeightSchedule.constant(weights, before / 4 + stage / 2)
    assert keeps_totals(tilt, constant)
    assert tilt.duration == constant.duration  # exact


def test_a_tilt_that_is_not_taken_back_loses_the_totals():
    tilt = WeightSchedule.tilt({"en": 0.5, "ru": 0.5}, "en", "ru", 0.25, 1.0, before=1.0)
    base = WeightSchedule.constant({"en": 0.5, "ru": 0.5}, 3.0)
    planted = dataclasses.replace(tilt, weights=tilt.weights[[0, 1, 1]])
    assert keeps_totals(tilt, base)
    assert not keeps_totals(planted, base)


@pytest.mark.parametrize(
    ("base", "delta"), [(0.5, 0.15), (0.5, 0.3), (0.5, 0.45), (0.9, 0.03), (0.9, 0.06), (0.9, 0.09)]
)
def test_the_published_tilts_are_the_printed_stages_and_keep_the_totals(base, delta):
    tilt = WeightSchedule.tilt({"en": base, "ru": 1 - base}, "en", "ru", delta, 4000, before=2000)
    printed = [[base, 1 - base], [base + delta, 1 - base - delta], [base - delta, 1 - base + delta]]
    assert np.array_equal(tilt.weights, printed)  # exact
    assert tilt.durations.tolist() == [2000, 4000, 4000]  # exact
    totals = np.array(list(tilt.totals().values()))
    assert np.abs(totals - [10000 * base, 10000 * (1 - base)]).max() <= 8 * EPS * 10000  # roundoff


def test_a_tilt_moves_only_the_two_domains_it_names():
    tilt = WeightSchedule.tilt({"a": 0.25, "b": 0.5, "c": 0.25}, "c", "a", 0.125, 1.0)
    assert tilt.weights.tolist() == [[0.125, 0.5, 0.375], [0.375, 0.5, 0.125]]  # exact
    # A_ca = ½ ((3/8)² − (1/8)²) = 1/16
    assert tilt.levy_area()[2, 0] == 0.0625  # exact
    assert tilt.levy_area()[0, 1] == -tilt.levy_area()[2, 1]  # exact


def test_a_negative_tilt_is_the_other_order():
    ahead = WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", 0.25, 1.0)
    assert WeightSchedule.tilt({"a": 0.5, "b": 0.5}, "a", "b", -0.25, 1.0) == ahead.reversed()  # exact


def test_a_tilt_by_the_whole_weight_survives_rounding():
    tilt = WeightSchedule.tilt({"a": 1 - 0.9, "b": 0.9}, "a", "b", 0.1, 1.0)
    assert tilt.weights.min() == 0.0  # exact


@given(schedules())
@example(IDLE)
def test_averaging_keeps_domains_duration_and_totals(schedule):
    mean = schedule.averaged()
    assert mean.domains == schedule.domains
    assert mean.durations.tolist() == [schedule.duration]  # exact
    assert roundoff([list(mean.totals().values())], [list(schedule.totals().values())], schedule)


@given(schedules())
def test_the_first_level_of_the_signature_is_the_totals(schedule):
    assert roundoff([schedule.signature(1)[0]], [list(schedule.totals().values())], schedule)


def test_totals_reject_stages_weighed_without_their_durations():
    uneven = WeightSchedule.blocks({"a": 1.0, "b": 3.0})
    assert not roundoff([uneven.weights.sum(axis=0)], [list(uneven.totals().values())], uneven)


def test_blocks_come_in_the_order_of_the_mapping():
    schedule = WeightSchedule.blocks({"b": 1.0, "a": 2.0})
    assert schedule.domains == ("b", "a")
    assert schedule.totals() == {"b": 1.0, "a": 2.0}  # exact


# --- JSON


@given(schedules())
@example(WeightSchedule.constant({"é": 1 / 3, "ж": 2 / 3}, 5e-324))
def test_json_round_trip_is_bitwise(schedule):
    back = WeightSchedule.from_json(schedule.to_json())
    assert back == schedule
    assert hash(back) == hash(schedule)
    assert back.durations.tobytes() == schedule.durations.tobytes()
    assert back.weights.tobytes() == schedule.weights.tobytes()
    assert back.to_json() == schedule.to_json()


def test_json_cut_short_anywhere_is_refused():
    text = SWAP.to_json()
    for end in range(len(text)):
        with pytest.raises(CommuteError):
            WeightSchedule.from_json(text[:end])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "another"}, "not a schedule"),
        ({"version": 2}, "version 2: this package reads version 1"),
        ({"version": True}, "version True"),
        ({"version": "1"}, "version '1'"),
        ({"extra": 0}, "with fields"),
        ({"domains": "ab"}, "tuple of non-empty strings"),
        ({"domains": [1, 2]}, "tuple of non-empty strings"),
        ({"domains": None}, "tuple of non-empty strings"),
        ({"durations": 1.0}, "durations are 1.0: expected a list"),
        ({"durations": ["1", "1"]}, "expected a list of numbers"),
        ({"durations": [True, 1.0]}, "expected a list of numbers"),
        ({"durations": [10**400, 1.0]}, "float64 cannot hold durations: give real numbers"),
        ({"durations": [math.nan, 1.0]}, "stage 0 has duration nan"),
        ({"durations": [1.0]}, "do not fit"),
        ({"weights": {}}, "expected a list of lists"),
        ({"weights": [1.0, 0.0]}, "weights of stage 0"),
        ({"weights": [[1.0, 0.0], [None, 1.0]]}, "weights of stage 1"),
        ({"weights": [[1.0, 0.0], [1.0]]}, "ragged"),
        ({"weights": []}, "do not fit"),
    ],
)
def test_json_with_a_wrong_field_is_refused_with_one_clear_error(change, message):
    text = json.dumps({**json.loads(SWAP.to_json()), **change})
    with pytest.raises(CommuteError, match=message):
        WeightSchedule.from_json(text)


@pytest.mark.parametrize("field", ["format", "version", "domains", "durations", "weights"])
def test_json_without_a_field_is_refused(field):
    data = json.loads(SWAP.to_json())
    del data[field]
    with pytest.raises(CommuteError):
        WeightSchedule.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "[" * 100_000, None, "1" * 5000])
def test_text_that_is_no_schedule_is_refused(text):
    with pytest.raises(CommuteError, match="not "):
        WeightSchedule.from_json(text)


# --- bad input


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: WeightSchedule.constant({"a": -0.5, "b": 1.5}, 1.0),
            "stage 0 has weights .* give finite weights ≥ 0",
        ),
        (lambda: WeightSchedule.constant({"a": 0.5, "b": 0.4}, 1.0), "sum 0.9: divide them by their sum"),
        (lambda: WeightSchedule.constant({"a": math.nan, "b": 1.0}, 1.0), "give finite weights"),
        (lambda: WeightSchedule.constant({"a": math.inf, "b": 1.0}, 1.0), "give finite weights"),
        (lambda: WeightSchedule.constant({"a": "1", "b": 0}, 1.0), "give real numbers"),
        (lambda: WeightSchedule.constant({"a": 1j, "b": 0}, 1.0), "give real numbers"),
        (
            lambda: WeightSchedule.constant({"a": True, "b": 0.0}, 1.0),
            "weights of stage 0 are .* real numbers",
        ),
        (lambda: WeightSchedule.constant({"a": 1.0}, None), "durations are .* give real numbers"),
        (lambda: WeightSchedule.constant(None, 1.0), "weights of stage 0 are None: give a mapping"),
        (lambda: WeightSchedule.constant({}, 1.0), "no domains: give at least one"),
        (lambda: WeightSchedule.constant({"": 1.0}, 1.0), "non-empty strings"),
        (
            lambda: WeightSchedule.constant({"a": 1.0}, 0.0),
            "stage 0 has duration 0.0: give a finite length > 0",
        ),
        (lambda: WeightSchedule.constant({"a": 1.0}, -1.0), "duration -1.0"),
        (lambda: WeightSchedule.constant({"a": 1.0}, math.nan), "duration nan"),
        (lambda: WeightSchedule.constant({"a": 1.0}, math.inf), "duration inf"),
        (lambda: WeightSchedule.piecewise([]), "no stages"),
        (lambda: WeightSchedule.piecewise(None), "no stages in None"),
        (lambda: WeightSchedule.piecewise([1.0]), r"stage 0 is 1.0: give \(duration, weights\)"),
        (lambda: WeightSchedule.piecewise([(1.0,)]), r"stage 0 is \(1.0,\): give \(duration, weights\)"),
        (
            lambda: WeightSchedule.piecewise([(1.0, {"a": 1.0}), (1.0, None)]),
            "weights of stage 1 are None: give a mapping",
        ),
        (
            lambda: WeightSchedule.piecewise([(1, {"a": 1}), (1, {"b": 1})]),
            r"stage 1 names unknown domains \['b'\]",
        ),
        (
            lambda: WeightSchedule.piecewise([(1, {"a": 1, "b": 0}), (1, {"a": 1})]),
            r"stage 1 leaves out \['b'\]",
        ),
        (lambda: WeightSchedule.piecewise([(1, {"a": 1}), (0, {"a": 1})]), "stage 1 has duration 0"),
        (lambda: WeightSchedule.blocks({}), "no domains: give at least one"),
        (lambda: WeightSchedule.blocks(None), "totals are None: give a mapping"),
        (lambda: WeightSchedule.blocks({"a": None}), "totals are .* give real numbers"),
        (lambda: WeightSchedule.blocks({"a": 10**400}), "float64 cannot hold totals"),
        (lambda: WeightSchedule.blocks({"a": 1.0, "b": 0.0}), "stage 1 has duration 0"),
        (lambda: tilt_of(first="x"), r"unknown domains \['x'\]"),
        (lambda: tilt_of(second="x"), r"unknown domains \['x'\]"),
        (lambda: tilt_of(second="a"), "two different domains"),
        (lambda: tilt_of(delta=0.3), r"leaves the simplex: give \|delta\| ≤ 0.25"),
        (lambda: tilt_of(delta=-0.3), "leaves the simplex"),
        (lambda: tilt_of(delta=math.nan), "leaves the simplex"),
        (lambda: tilt_of(delta="0.1"), "delta is '0.1': give a real number"),
        (lambda: tilt_of(delta=None), "delta is None: give a real number"),
        (lambda: tilt_of(delta=10**400), "float64 cannot hold delta"),
        (lambda: tilt_of(stage="1"), "durations are .* give real numbers"),
        (lambda: tilt_of(before="1"), "before is '1': give a real number"),
        (lambda: tilt_of(before=True), "before is True: give a real number"),
        (lambda: tilt_of(weights=[0.25, 0.75]), "weights of the tilt are .* give a mapping"),
        (lambda: tilt_of(weights={"a": "1", "b": 0}), "the weights of the tilt are .* give real numbers"),
        (lambda: tilt_of(first=["a"]), "unknown domains"),
        (lambda: tilt_of(stage=0.0), "duration 0"),
        (lambda: tilt_of(stage=math.nan), "duration nan"),
        (lambda: tilt_of(before=-1.0), "before is -1.0"),
        (lambda: tilt_of(before=math.nan), "before is nan"),
        (lambda: tilt_of(weights={"a": 0.5, "b": 0.25}), "sum 0.75"),
        (lambda: WeightSchedule(("a", "a"), np.ones(1), np.full((1, 2), 0.5)), r"repeat \['a'\]"),
        (lambda: WeightSchedule(("a", "b"), np.ones(2), np.ones((2, 1))), "do not fit 2 domains"),
        (lambda: WeightSchedule(("a",), np.ones((1, 1)), np.ones((1, 1))), "do not fit"),
        (lambda: WeightSchedule(("a",), np.ones(0), np.ones((0, 1))), "at least one stage"),
        (lambda: SWAP.then(WeightSchedule.blocks({"b": 1.0, "a": 1.0})), "same names in one order"),
        (lambda: SWAP.then(None), "give a WeightSchedule"),
        (lambda: WeightSchedule(None, np.ones(1), np.ones((1, 1))), "domains are None"),
        (lambda: WeightSchedule(("a",), None, np.ones((1, 1))), "durations are None: give real numbers"),
        (lambda: WeightSchedule(("a",), [1.0, [2.0]], np.ones((1, 1))), "durations are ragged"),
    ],
)
def test_bad_input_is_refused_with_one_clear_error(build, message):
    with pytest.raises(CommuteError, match=message):
        build()


def tilt_of(weights=None, first="a", second="b", delta=0.125, stage=1.0, before=0.0):
    return WeightSchedule.tilt(weights or {"a": 0.25, "b": 0.75}, first, second, delta, stage, before=before)


def is_the_tilt(schedule):
    """Exact: dyadic numbers, so that fractions are floats."""
    return schedule == tilt_of(delta=0.125, stage=0.5, before=1.0)


def test_fractions_are_real_numbers():
    weights = {"a": Fraction(1, 4), "b": Fraction(3, 4)}
    tilt = WeightSchedule.tilt(weights, "a", "b", Fraction(1, 8), Fraction(1, 2), before=Fraction(1))
    assert is_the_tilt(tilt)
    assert is_the_tilt(WeightSchedule(tilt.domains, [Fraction(d) for d in tilt.durations], tilt.weights))
    assert WeightSchedule.constant(weights, Fraction(3)).totals() == {"a": 0.75, "b": 2.25}  # exact
    thirds = WeightSchedule.constant({"a": Fraction(1, 3), "b": Fraction(2, 3)}, 1)
    assert thirds.weights.tolist() == [[1 / 3, 2 / 3]]  # exact


@pytest.mark.parametrize(
    "planted", [{"delta": Fraction(-1, 8)}, {"delta": Fraction(1, 16)}, {"stage": Fraction(1)}]
)
def test_fractions_of_another_sign_or_size_are_another_tilt(planted):
    arguments = {"delta": Fraction(1, 8), "stage": Fraction(1, 2), "before": Fraction(1)}
    assert not is_the_tilt(tilt_of(**arguments | planted))


def test_a_schedule_cannot_be_changed_through_its_arrays():
    durations, weights = np.ones(1), np.full((1, 2), 0.5)
    schedule = WeightSchedule(("a", "b"), durations, weights)
    durations[0] = weights[0, 0] = 9.0
    assert schedule.totals() == {"a": 0.5, "b": 0.5}  # exact
    with pytest.raises(ValueError, match="read-only"):
        schedule.weights[0, 0] = 1.0


def test_schedules_with_other_numbers_or_names_are_not_equal():
    assert WeightSchedule.blocks({"a": 1.0, "b": 1.0}) == SWAP
    assert WeightSchedule.blocks({"a": 1.0, "c": 1.0}) != SWAP
    assert SWAP.reversed() != SWAP
    assert SWAP != "swap"
