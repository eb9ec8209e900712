"""Bounded tilts against all vertices, SciPy's linear programs and exact flows; tilts for many targets."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog

from commute_verify import CommuteError
from commute_verify.planning import pareto, pareto_tilt, plan_tilt, tilt_program, window
from commute_verify.planning.tilt_program import TiltBounds, best_shift, best_switch
from tests.planning_oracles import (
    NAMES,
    antisymmetric,
    criterion,
    effect_of,
    flow,
    loss,
    quadratics,
    vertices,
)

WEIGHTS = {"en": 0.5, "ru": 0.2, "code": 0.25, "web": 0.05}
W = np.array(list(WEIGHTS.values()))
STEPS, LR = 100, 0.01
ROUNDOFF = 1e-9  # roundoff: sums of at most 6 numbers below 10


def boxes(K, count=6):
    rng = np.random.default_rng(K)
    for number in range(count):
        gain = rng.integers(-3, 4, size=K).astype(float) if number % 2 else rng.normal(size=K)
        yield gain, rng.uniform(0, 1, size=K), rng.uniform(0, 1, size=K)


def assert_shifts_are_best(K):
    for gain, below, above in boxes(K):
        D = best_shift(gain, below, above)
        assert abs(D.sum()) <= ROUNDOFF
        assert ((-below - ROUNDOFF <= D) & (above + ROUNDOFF >= D)).all()
        assert abs(gain @ D - max(gain @ vertex for vertex in vertices(below, above))) <= ROUNDOFF


@pytest.mark.parametrize("K", [2, 3, 4, 6])
def test_the_best_shift_is_the_best_of_all_vertices(K):
    assert_shifts_are_best(K)


@pytest.mark.parametrize(
    "plant", [lambda g, b, a: (-g, b, a), lambda g, b, a: (g, a, b), lambda g, b, a: (g, b, b)]
)
def test_a_planted_sign_or_bound_is_caught(monkeypatch, plant):
    kept = best_shift
    monkeypatch.setitem(globals(), "best_shift", lambda *given: kept(*plant(*given)))
    with pytest.raises(AssertionError):
        assert_shifts_are_best(4)


def tilt_by_linprog(gain, bounds, T):
    """The best (D, a) with a free, from the bounds as they are meant: both stages within up and down."""
    K = len(gain)
    eye, one = np.eye(K), np.ones((K, 1))
    rows = [
        (eye, -bounds.up[:, None], 0),  # w + D/a ≤ w + up
        (-eye, -bounds.down[:, None], 0),
        (-eye, bounds.up[:, None], T * bounds.up),  # w − D/(T − a) ≤ w + up
        (eye, bounds.down[:, None], T * bounds.down),
    ]
    found = linprog(
        np.append(-gain, 0.0),
        A_ub=np.vstack([np.hstack([D, a * one if a.shape == (K, 1) else a]) for D, a, _ in rows]),
        b_ub=np.concatenate([np.broadcast_to(b, K) for *_, b in rows]),
        A_eq=[[*np.ones(K), 0.0]],
        b_eq=[0.0],
        bounds=[*[(None, None)] * K, (0, T)],
    )
    return -found.fun


@pytest.mark.parametrize("K", [2, 3, 5])
def test_the_switch_is_as_good_as_the_linear_program_in_which_it_is_free(K):
    T = 4000
    for gain, up, down in boxes(K):
        bounds = TiltBounds(up, down)
        a = best_switch(gain, bounds, T)
        value = float(gain @ best_shift(gain, *bounds.box(a, T)))
        free = tilt_by_linprog(gain, bounds, T)
        assert value <= free * (1 + 1e-6)
        assert value >= free * (1 - 2 / T) - 1e-6  # whole steps: the value is concave, 0 at both ends
        each = [float(gain @ best_shift(gain, *bounds.box(n, T))) for n in range(1, T, 7)]
        assert value >= max(each) - ROUNDOFF * T


def test_with_the_same_bounds_up_and_down_equal_halves_are_best():
    for gain, up, _ in boxes(4):
        assert best_switch(gain, TiltBounds(up, up), 50) == 25


def test_without_bounds_the_tilt_of_two_domains_is_two_blocks():
    P = np.array([[[0.0, -1.0], [1.0, 0.0]]])
    plan = plan_tilt(effect_of(P), {"en": 0.9, "ru": 0.1}, 100, 1.0)
    assert plan.tilted.durations.tolist() == [90, 10]
    assert plan.tilted.weights.round(12).tolist() == [[1, 0], [0, 1]]


# --- the plan -----------------------------------------------------------------------------------------------


def plan_of(spread=0.05, seed=1, targets=1, **options):
    effect = effect_of(antisymmetric(np.random.default_rng(seed), targets, 4, 4), spread)
    given = {"steps": STEPS, "max_tilt": 0.1, "lr": LR, "target": "to en"} | options
    return effect, plan_tilt(effect, WEIGHTS, **given)


@pytest.mark.parametrize(
    "options", [{}, {"windows": 3}, {"switch": "half"}, {"limits": {"en": (0.45, 0.52)}}]
)
def test_the_gain_is_the_effects_own_excess_and_totals_and_bounds_are_kept(options):
    effect, plan = plan_of(**options)
    tilted = plan.tilted
    assert abs(plan.gain + effect.excess_loss(tilted, LR)["to en"].value) <= 1e-14  # roundoff
    assert np.abs(tilted.durations @ tilted.weights - STEPS * W).max() <= 1e-12 * STEPS
    assert np.abs(tilted.weights - W).max() <= 0.1 + 1e-12
    low, high = options.get("limits", {}).get("en", (0, 1))
    assert (tilted.weights[:, 0] >= low - 1e-12).all()
    assert (tilted.weights[:, 0] <= high + 1e-12).all()
    assert tilted.durations.sum() == STEPS
    assert plan.recommended


def test_no_tilt_of_two_domains_gains_more_and_the_best_of_them_is_named():
    effect, plan = plan_of(switch="half")
    P, gains = effect.P["to en"], {}
    for i, j in combinations(range(4), 2):
        delta = min(0.1, W[i], W[j])
        gains[NAMES[i], NAMES[j]] = abs(delta * (LR * STEPS / 2) ** 2 * (P[i] - P[j]) @ W)
    assert plan.pair == max(gains, key=gains.__getitem__)
    assert abs(plan.pair_gain - max(gains.values())) <= 1e-12
    assert plan.gain >= plan.pair_gain


@pytest.mark.parametrize("seed", range(4))
def test_on_short_windows_exact_flows_gain_what_was_predicted(seed):
    A, b, theta = quadratics(np.random.default_rng(seed), 4)
    effect = effect_of(criterion(A, b, 0, theta)[None], 0.0)
    plan = plan_tilt(effect, WEIGHTS, STEPS, 0.1, lr=1e-4)
    tilted = plan.tilted
    constant = loss(A, b, 0, flow(A, b, [W], [1e-4 * STEPS], theta))
    end = loss(A, b, 0, flow(A, b, tilted.weights, 1e-4 * tilted.durations, theta))
    assert 0.9 < (constant - end) / plan.gain < 1.1  # order: the remainder is O(T) of the gain
    assert not 0.9 < (end - constant) / plan.gain < 1.1


@pytest.mark.parametrize("factor", [-1.0, 0.5])
def test_a_planted_sign_or_factor_in_the_window_is_caught(monkeypatch, factor):
    kept = window.given.of_target

    def planted(effect, name):
        P, replicates, rounding = kept(effect, name)
        return factor * P, factor * replicates, rounding

    monkeypatch.setattr(window.given, "of_target", planted)
    with pytest.raises(AssertionError):
        test_the_gain_is_the_effects_own_excess_and_totals_and_bounds_are_kept({})


def test_windows_with_effects_of_their_own_tilt_in_their_own_ways():
    P = antisymmetric(np.random.default_rng(2), 1, 4, 4)
    first, opposite = effect_of(P), effect_of(-P)
    plan = plan_tilt([first, opposite], WEIGHTS, STEPS, 0.1)
    one, other = plan.windows
    assert one.early == other.late
    assert plan.recommended


def test_a_change_of_P_just_beyond_the_turn_makes_another_tilt_better():
    effect, plan = plan_of(switch="half")
    turn, P = plan.turn, effect.P["to en"]
    i, j = NAMES.index(turn.first), NAMES.index(turn.then)
    delta, bound = plan.tilted.weights[0] - W, np.minimum(0.1, W)
    move = np.zeros(4)
    move[i], move[j] = -1e-3, 1e-3
    assert (np.abs(delta + move) <= bound + 1e-12).all()
    before = move @ P @ W
    assert before > 0  # the loss would rise
    assert abs(before / 1e-3 - turn.change) <= 1e-9


def test_leave_it_as_it_is_where_the_gain_may_be_luck():
    _, plan = plan_of(spread=10.0)
    assert not plan.recommended
    assert plan.schedule.weights.tolist() == [pytest.approx(W.tolist(), abs=1e-15)]
    assert "leave the weights as they are" in str(plan)


def test_a_plan_that_is_sure_says_what_to_train_when():
    _, plan = plan_of()
    assert str(plan).startswith("For to en loss: for 50 of 100 steps, train more ")
    assert "Moving only" in str(plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limits": {"ru": (0.3, 1.0)}}, r"the weight 0.2 of ru is not within its limits \[0.3, 1\]"),
        ({"limits": {"mars": (0.3, 1.0)}}, "limits for mars"),
        ({"max_tilt": 0.0}, "max_tilt is 0"),
        ({"max_tilt": 5}, "max_tilt is 5, and a weight moves by at most 1"),
        ({"steps": 5, "windows": 3}, "5 steps in 3 windows"),
        ({"weights": {**WEIGHTS, "en": 0.6}}, "sum to 1"),
        ({"switch": "late"}, "switch='late'"),
        ({"effect": []}, "0 effects"),
        ({"windows": 3, "effect": "two"}, "2 effects for 3 windows"),
    ],
)
def test_what_cannot_be_planned_is_named(change, message):
    effect, _ = plan_of()
    if change.get("effect") == "two":
        change = change | {"effect": [effect, effect]}
    with pytest.raises(CommuteError, match=message):
        plan_tilt(**{"effect": effect, "weights": WEIGHTS, "steps": STEPS, "max_tilt": 0.1} | change)


# --- several targets ----------------------------------------------------------------------------------------


def pareto_of(P, spread=0.02, **options):
    effect = effect_of(P, spread)
    weights = dict.fromkeys(effect.domains, 1 / P.shape[1])
    return effect, pareto_tilt(effect, weights, STEPS, 0.1, lr=LR, **options)


def best_alone(P, w):
    """For each target the best gain over all vertices, and the vertices with their gains (V, T)."""
    bound = np.minimum(w, 0.1) * STEPS / 2
    points = np.array(list(vertices(bound, bound)))
    gains = -0.5 * LR**2 * STEPS * np.einsum("vk,tkl,l->vt", points, P, w)
    return gains.max(axis=0), gains


@pytest.mark.parametrize(("K", "T"), [(3, 2), (4, 4), (3, 6), (4, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_the_share_is_proved_from_both_sides(K, T, seed):
    P = antisymmetric(np.random.default_rng([K, T, seed]), T, K, K)
    _, found = pareto_of(P)
    w = np.full(K, 1 / K)
    alone, gains = best_alone(P, w)
    weighed = gains / alone @ np.array(list(found.certificate.values()))
    assert abs(sum(found.certificate.values()) - 1) <= 1e-12
    assert min(found.certificate.values()) >= 0
    assert (
        abs(weighed.max() - found.bound) <= 1e-9
    )  # no vertex, hence no tilt, gains more of the weighted targets
    assert found.share <= found.bound + 1e-9
    assert abs(found.share - found.bound) <= 1e-6  # the solver's tolerance
    D = (np.array(list(found.window.early.values())) - w) * STEPS / 2
    real = -0.5 * LR**2 * STEPS * np.einsum("k,tkl,l->t", D, P, w)
    assert abs((real / alone).min() - found.share) <= 1e-9
    assert found.improves == (found.share > 1e-6)


def test_opposite_targets_have_no_common_tilt_and_the_certificate_weighs_them_equally():
    P = antisymmetric(np.random.default_rng(0), 1, 3, 3)[0]
    _, found = pareto_of(np.stack([P, -2 * P]))
    assert not found.improves
    assert not found.recommended
    assert found.schedule.weights.tolist() == [[1 / 3] * 3]
    assert [round(x, 9) for x in found.certificate.values()] == [0.5, 0.5]
    assert "No tilt within the bounds improves to en, to ru all at once" in str(found)


def test_a_planted_sign_in_the_targets_or_the_multipliers_is_caught(monkeypatch):
    kept = pareto.most_even
    monkeypatch.setattr(pareto, "most_even", lambda gains, below, above: kept(-gains, below, above))
    with pytest.raises(AssertionError):
        test_the_share_is_proved_from_both_sides(3, 2, 0)
    monkeypatch.setattr(pareto, "most_even", lambda *given: (kept(*given)[0], np.eye(len(given[0]))[0]))
    with pytest.raises(AssertionError):
        test_the_share_is_proved_from_both_sides(4, 4, 0)


def test_targets_that_agree_are_all_improved_and_advised_only_beyond_luck():
    P = antisymmetric(np.random.default_rng(4), 1, 3, 3)[0]
    _, sure = pareto_of(np.stack([P, 2 * P]))
    assert sure.recommended
    assert abs(sure.share - 1) <= 1e-6
    _, luck = pareto_of(np.stack([P, 2 * P]), spread=20.0)
    assert luck.improves
    assert not luck.recommended
    assert str(luck).startswith("Leave the weights as they are.")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"targets": []}, "name at least one"), ({"targets": ["to en", "to en"]}, "each once")],
)
def test_targets_that_make_no_question_are_refused(options, message):
    with pytest.raises(CommuteError, match=message):
        pareto_of(antisymmetric(np.random.default_rng(0), 2, 3, 3), **options)


def test_nothing_to_gain_is_one_clear_error():
    with pytest.raises(CommuteError, match="no tilt within the bounds moves any target"):
        pareto_of(np.zeros((2, 3, 3)), spread=0.0)


def test_the_bounds_of_a_window_hold_in_both_stages():
    bounds = TiltBounds.around(NAMES[:4], W, 0.3, {})
    for a in (1, 30, 99):
        below, above = bounds.box(a, STEPS)
        for D in vertices(below, above):
            for row in (W + D / a, W - D / (STEPS - a)):
                assert row.min() >= -1e-12
                assert np.abs(row - W).max() <= 0.3 + 1e-12
    assert tilt_program.worth(np.ones(3), np.array([1.0, 2.0, 3.0])) == 6
