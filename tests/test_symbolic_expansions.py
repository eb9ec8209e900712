"""Expansions: trees against words, against operators in coordinates, and the theorems that have a name."""

from itertools import combinations

import pytest
import sympy as sp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from commute_verify.errors import CommuteError
from commute_verify.symbolic import expansions
from commute_verify.symbolic.differentials import evaluate_field, evaluate_loss
from commute_verify.symbolic.expansions import (
    excess,
    loss_series,
    of_order,
    parameter_series,
    word_operator,
    words_to_trees,
)
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.iterated import common_ring, signature
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import (
    TARGET,
    combine,
    criterion,
    gradient,
    inner,
    lie_bracket,
    symmetry,
    tree,
    trees,
)
from tests.exact_strategies import flow_schedules, polynomials, rationals, step_schedules

DT, T, DELTA, EPSILON, N, ETA = sp.symbols("Dt t delta epsilon n eta")
HALF = sp.Rational(1, 2)
PLANE = sp.symbols("x y")
SPACE = sp.symbols("x y z")
FEWER = settings().max_examples // 3


def readable(series):
    """Coefficients as expanded expressions, without zeros."""
    expanded = {t: sp.expand(getattr(c, "as_expr", lambda c=c: c)()) for t, c in series.items()}
    return {t: c for t, c in expanded.items() if c != 0}


def scaled(factor, series):
    return readable({t: factor * c for t, c in series.items()})


# --- trees against words


def agree(by_trees, by_words):
    return by_trees == by_words


@pytest.mark.parametrize("order", range(1, 6))
@pytest.mark.parametrize("domains", [1, 2, 3])
def test_the_sum_over_trees_is_the_sum_over_words(domains, order):
    symbols = sp.symbols(f"a1:{domains + 1}")
    schedule = SymbolicSchedule.blocks(dict(enumerate(symbols, start=1)))
    assert agree(loss_series(schedule, order), words_to_trees(signature(schedule, order), tree(TARGET)))


@given(flow_schedules(domains=2, stages=st.integers(1, 2), time_degree=2))
@example(SymbolicSchedule.constant([0, 0], T))
def test_trees_and_words_agree_for_weights_polynomial_in_time(schedule):
    assert agree(loss_series(schedule, 4), words_to_trees(signature(schedule, 4), tree(TARGET)))


@pytest.mark.parametrize("order", range(1, 5))
def test_words_acting_on_the_target_hang_the_parameters_own_series_below_it(order):
    schedule = SymbolicSchedule.tilt([HALF, HALF], 1, 2, DELTA, EPSILON)
    below = {t: c for t, c in loss_series(schedule, order).items() if len(t.children) == 1}
    assert below == inner(parameter_series(schedule, order))


def without_symmetry(monkeypatch):
    monkeypatch.setattr(expansions, "symmetry", lambda t: 1)


def without_signs(monkeypatch):
    monkeypatch.setattr(expansions, "_sign", lambda t: 1)


def with_words_reversed(monkeypatch):
    original = expansions.word_operator
    monkeypatch.setattr(expansions, "word_operator", lambda word, start: original(word[::-1], start))


def with_half_the_symmetry(monkeypatch):
    monkeypatch.setattr(expansions, "symmetry", lambda t: 2 * symmetry(t))


PLANTED = [without_symmetry, without_signs, with_words_reversed, with_half_the_symmetry]


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_error_on_one_way_makes_trees_and_words_disagree(plant, monkeypatch):
    plant(monkeypatch)
    schedule = SymbolicSchedule.blocks({1: sp.Symbol("a"), 2: sp.Symbol("b")})
    assert not agree(loss_series(schedule, 3), words_to_trees(signature(schedule, 3), tree(TARGET)))


def test_words_alone_do_not_describe_gradient_steps():
    schedule = SymbolicSchedule.constant([1], N, ETA)
    assert not agree(loss_series(schedule, 2), words_to_trees(signature(schedule, 2), tree(TARGET)))


def test_a_word_puts_its_latest_letter_deepest_in_the_derivative_and_so_at_the_root():
    assert word_operator((1, 2), tree(TARGET)) == {
        tree(TARGET, tree(1), tree(2)): 1,
        tree(TARGET, tree(2, tree(1))): 1,
    }


# --- trees against operators in coordinates


def losses_follow_the_operators(series, space, losses, target, schedule, order):
    moved = space.along(target, losses, schedule, order)
    return all(
        evaluate_loss(of_order(series, n), space, losses, target) == space.graded(moved, n)
        for n in range(1, order + 1)
    )


def parameters_follow_the_operators(series, space, losses, schedule, order):
    moved = [space.along(x, losses, schedule, order) for x in space.variables]
    return all(
        evaluate_field(of_order(series, n), space, losses) == tuple(space.graded(m, n) for m in moved)
        for n in range(1, order + 1)
    )


@st.composite
def problems(draw, schedules, most=3):
    schedule = draw(schedules)
    variables = draw(st.sampled_from([PLANE, SPACE]))
    space = Coordinates(variables, sorted(schedule.symbols, key=str))
    losses = [draw(polynomials(space, variables, 3, most)) for _ in schedule.domains]
    return schedule, space, losses, draw(polynomials(space, variables, 3, most))


FLOWS = flow_schedules(domains=st.integers(2, 3), stages=st.integers(1, 3))
IN_TIME = flow_schedules(domains=2, stages=st.integers(1, 2), time_degree=2)
SYMBOLIC = st.sampled_from(
    [
        SymbolicSchedule.blocks({1: DT, 2: DT}),
        SymbolicSchedule.blocks({2: DT, 1: T}),
        SymbolicSchedule.tilt([HALF, HALF], 1, 2, DELTA, EPSILON),
        SymbolicSchedule.blocks({3: T, 1: DT, 2: DT}),
    ]
)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@given(data=st.data())
@settings(max_examples=FEWER)
def test_every_order_of_a_flow_is_what_the_operators_give_in_coordinates(order, data):
    schedule, space, losses, target = data.draw(problems(FLOWS | SYMBOLIC))
    assert losses_follow_the_operators(
        loss_series(schedule, order), space, losses, target, schedule, order
    )  # exact
    assert parameters_follow_the_operators(
        parameter_series(schedule, order), space, losses, schedule, order
    )  # exact


@given(problems(IN_TIME, most=2))
@settings(max_examples=FEWER)
def test_weights_polynomial_in_time_give_what_the_operators_give(problem):
    schedule, space, losses, target = problem
    assert losses_follow_the_operators(loss_series(schedule, 3), space, losses, target, schedule, 3)  # exact
    assert parameters_follow_the_operators(parameter_series(schedule, 3), space, losses, schedule, 3)  # exact


@given(problems(step_schedules(domains=2, stages=st.integers(1, 2), steps=st.integers(1, 2), time_degree=1)))
@settings(max_examples=FEWER)
def test_gradient_steps_give_what_substituting_step_by_step_gives(problem):
    schedule, space, losses, target = problem
    assert losses_follow_the_operators(loss_series(schedule, 3), space, losses, target, schedule, 3)  # exact
    assert parameters_follow_the_operators(parameter_series(schedule, 3), space, losses, schedule, 3)  # exact


def with_numbers(series, numbers):
    return {t: c.as_expr().subs(numbers) for t, c in series.items()}


@pytest.mark.parametrize("steps", [1, 2, 3])
@given(data=st.data())
@settings(max_examples=FEWER)
def test_a_symbolic_number_of_steps_becomes_one_two_or_three(steps, data):
    weights = data.draw(st.lists(rationals, min_size=2, max_size=2))
    symbolic = SymbolicSchedule(((N, (1, 0)), (N, tuple(weights))), ETA)
    whole = SymbolicSchedule(((steps, (1, 0)), (steps, tuple(weights))), ETA)
    space = Coordinates(PLANE, (ETA,))
    losses = [data.draw(polynomials(space, PLANE, 2, 3)) for _ in range(2)]
    target = data.draw(polynomials(space, PLANE, 2, 3))
    series = with_numbers(loss_series(symbolic, 3), {N: steps})
    assert losses_follow_the_operators(series, space, losses, target, whole, 3)  # exact


X, Y = PLANE
ROUGH = [X**3 / 3 + X * Y, X * Y**2 - Y**3 + X**2, X**2 + X**2 * Y + Y]


@pytest.mark.parametrize("plant", [without_symmetry, without_signs, with_half_the_symmetry])
def test_a_planted_error_in_the_trees_is_seen_in_coordinates(plant, monkeypatch):
    schedule = SymbolicSchedule.blocks({1: DT, 2: DT})
    space = Coordinates(PLANE, (DT,))
    *losses, target = map(space, ROUGH)
    arguments = space, losses, target, schedule, 3
    assert losses_follow_the_operators(loss_series(schedule, 3), *arguments)
    plant(monkeypatch)
    assert not losses_follow_the_operators(loss_series(schedule, 3), *arguments)
    assert not parameters_follow_the_operators(parameter_series(schedule, 3), space, losses, schedule, 3)


@pytest.mark.parametrize(
    "planted",
    [
        SymbolicSchedule.blocks({2: DT, 1: DT}),
        SymbolicSchedule(((DT, (1, 0)), (DT, (HALF, 1)))),
        SymbolicSchedule.blocks({1: DT, 2: 2 * DT}),
    ],
    ids=["swapped order", "wrong weight", "wrong length"],
)
def test_the_series_of_another_schedule_is_seen_in_coordinates(planted):
    schedule = SymbolicSchedule.blocks({1: DT, 2: DT})
    space = Coordinates(PLANE, (DT,))
    *losses, target = map(space, ROUGH)
    assert not losses_follow_the_operators(loss_series(planted, 2), space, losses, target, schedule, 2)


# --- the named theorems


def bracket(i, j):
    return lie_bracket(gradient(i), gradient(j))


SWAP = SymbolicSchedule.blocks({1: DT, 2: DT})
SWAPPED = SymbolicSchedule.blocks({2: DT, 1: DT})


def test_a_swap_moves_the_parameters_by_half_the_square_of_its_length_times_the_bracket():
    moved = excess(SWAP, SWAP.straight(), 3)
    assert of_order(moved, 1) == {}
    assert readable(of_order(moved, 2)) == scaled(DT**2 / 2, bracket(1, 2))
    assert of_order(moved, 3) != {}


def test_the_other_order_moves_the_other_way_at_order_two_and_not_at_order_three():
    first, other = excess(SWAP, SWAP.straight(), 3), excess(SWAPPED, SWAP.straight(), 3)
    total = combine((1, first), (1, other))
    assert of_order(total, 2) == {}
    assert of_order(total, 3) != {}


def test_the_mixture_of_a_swap_is_its_straight_schedule():
    mixture = SymbolicSchedule.constant([HALF, HALF], 2 * DT)
    assert excess(mixture, SWAP.straight(), 4) == {}


def test_a_swap_raises_the_target_by_half_the_square_times_the_criterion():
    raised = excess(SWAP, SWAP.straight(), 2, loss_series)
    assert readable(raised) == scaled(DT**2 / 2, criterion(1, 2))


@pytest.mark.parametrize(
    "planted",
    [
        scaled(DT**2, criterion(1, 2)),
        scaled(DT**2 / 2, criterion(2, 1)),
        scaled(DT**2 / 2, {tree(TARGET, tree(2, tree(1))): 1, tree(TARGET, tree(1, tree(2))): 1}),
        scaled(-(DT**2) / 2, criterion(1, 2)),
    ],
    ids=["factor ½", "swapped order", "sign inside the bracket", "sign"],
)
def test_a_swap_with_a_planted_error_is_not_what_is_derived(planted):
    assert readable(excess(SWAP, SWAP.straight(), 2, loss_series)) != planted


@pytest.mark.parametrize("domains", [2, 3, 4])
def test_a_tilt_raises_the_target_by_delta_epsilon_squared_times_the_criterion_of_the_mixture(domains):
    weights = dict(enumerate(sp.symbols(f"w1:{domains + 1}"), start=1))
    tilt = SymbolicSchedule.tilt(list(weights.values()), 1, 2, DELTA, EPSILON)
    raised = excess(tilt, tilt.straight(), 2, loss_series)
    expected = scaled(DELTA * EPSILON**2, criterion({1: 1, 2: -1}, weights))
    assert readable(raised) == expected
    assert readable(raised) != scaled(DELTA * EPSILON**2, criterion(1, 2))  # the weights are missing
    assert readable(raised) != scaled(DELTA * EPSILON**2 / 2, criterion({1: 1, 2: -1}, weights))


def test_a_full_tilt_of_the_even_mixture_is_a_swap():
    tilt = SymbolicSchedule.tilt([HALF, HALF], 1, 2, HALF, DT)
    assert excess(tilt, SWAP, 4, loss_series) == {}


def levy_form(schedule, depth_two_sign=-1):
    s = signature(schedule, 2)
    areas = {(i, j): (s[i, j] + depth_two_sign * s[j, i]) / 2 for i, j in combinations(schedule.domains, 2)}
    return combine(*((area, bracket(i, j)) for (i, j), area in areas.items()))


@pytest.mark.parametrize("domains", [2, 3, 4, 5])
@given(data=st.data())
@settings(max_examples=FEWER)
def test_the_second_order_of_any_schedule_is_its_levy_areas_times_the_brackets(domains, data):
    schedule = data.draw(flow_schedules(domains, stages=st.integers(1, 4), time_degree=1))
    moved = excess(schedule, schedule.straight(), 2)
    assert readable(moved) == readable(levy_form(schedule))  # exact; order 1 is absent
    raised = excess(schedule, schedule.straight(), 2, loss_series)
    assert readable(raised) == readable(inner(levy_form(schedule)))


def test_a_symmetric_area_or_a_swapped_schedule_is_not_the_second_order():
    schedule = SymbolicSchedule.blocks({1: 1, 3: 2, 2: 1})
    moved = readable(excess(schedule, schedule.straight(), 2))
    backwards = SymbolicSchedule(tuple(reversed(schedule.stages)))
    assert moved == readable(levy_form(schedule))
    assert moved != readable(levy_form(schedule, depth_two_sign=1))
    assert moved != readable(levy_form(backwards))
    assert moved != scaled(2, levy_form(schedule))


@pytest.mark.parametrize("domains", [2, 3, 4, 5])
def test_a_schedule_without_area_has_no_excess_at_order_two_but_one_at_order_three(domains):
    there = SymbolicSchedule.blocks(dict.fromkeys(range(1, domains + 1), DT))
    schedule = there.then(SymbolicSchedule(tuple(reversed(there.stages))))
    moved = excess(schedule, schedule.straight(), 3)
    assert of_order(moved, 1) == of_order(moved, 2) == {}
    assert of_order(moved, 3) != {}


def test_a_drift_common_to_both_domains_adds_the_bracket_of_their_difference_with_it():
    with_drift = bracket({1: 1, 3: 1}, {2: 1, 3: 1})
    assert with_drift == combine((1, bracket(1, 2)), (1, bracket({1: 1, 2: -1}, 3)))
    assert with_drift != combine((1, bracket(1, 2)), (-1, bracket({1: 1, 2: -1}, 3)))


def test_a_swap_under_a_common_drift_moves_the_parameters_by_the_bracket_with_the_drift_in_it():
    swap = SymbolicSchedule(((DT, (1, 0, 1)), (DT, (0, 1, 1))))
    moved = readable(excess(swap, swap.straight(), 2))
    assert moved == scaled(DT**2 / 2, bracket({1: 1, 3: 1}, {2: 1, 3: 1}))
    assert moved != scaled(DT**2 / 2, bracket(1, 2))


STEP_SWAP = SymbolicSchedule.blocks({1: N, 2: N}, ETA)
STEP_MIXTURE = SymbolicSchedule.constant([HALF, HALF], 2 * N, ETA)
HESSIANS_APART = {
    tree(i, tree(j)): sign for i, j, sign in ((1, 1, 1), (1, 2, -1), (2, 1, -1), (2, 2, 1))
}  # (H1 − H2)(g1 − g2)


def step_theorem(correction_sign=-1):
    return readable(
        combine(
            (N**2 * ETA**2 / 2, bracket(1, 2)),
            (correction_sign * N * ETA**2 / 4, HESSIANS_APART),
        )
    )


def test_steps_add_a_correction_one_power_of_n_below_the_bracket():
    moved = excess(STEP_SWAP, STEP_MIXTURE, 2)
    assert of_order(moved, 1) == {}
    assert readable(of_order(moved, 2)) == step_theorem()
    raised = excess(STEP_SWAP, STEP_MIXTURE, 2, loss_series)
    assert readable(raised) == inner(step_theorem())


def test_steps_without_the_correction_or_with_its_sign_changed_are_not_what_is_derived():
    moved = readable(excess(STEP_SWAP, STEP_MIXTURE, 2))
    assert moved != step_theorem(correction_sign=1)
    assert moved != step_theorem(correction_sign=0)
    assert moved != step_theorem(correction_sign=-2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_theorem_for_steps_holds_in_coordinates_for_one_two_and_three_steps(steps):
    space = Coordinates(PLANE, (ETA,))
    *losses, _ = map(space, ROUGH)

    def end(stages):
        schedule = SymbolicSchedule(stages, ETA)
        return [space.graded(space.along(x, losses, schedule, 2), 2) for x in space.variables]

    swap, mixture = end(((steps, (1, 0)), (steps, (0, 1)))), end(((2 * steps, (HALF, HALF)),))
    difference = tuple(a - b for a, b in zip(swap, mixture, strict=True))
    derived = {t: c.subs(N, steps) for t, c in step_theorem().items()}
    assert difference == evaluate_field(derived, space, losses)


def test_many_small_steps_become_the_flow():
    limit = {
        t: sp.limit(c.subs(ETA, DT / N), N, sp.oo)
        for t, c in readable(parameter_series(STEP_SWAP, 3)).items()
    }
    assert limit == readable(parameter_series(SWAP, 3))


def test_a_learning_rate_that_varies_gives_a_first_order_term_before_the_bracket():
    fast, slow = sp.symbols("gamma1 gamma2")
    swap = SymbolicSchedule(((DT, (fast, 0)), (DT, (0, slow))))
    mixture = SymbolicSchedule(((DT, (fast / 2, fast / 2)), (DT, (slow / 2, slow / 2))))
    moved = readable(of_order(excess(swap, mixture, 2), 1))
    change = {
        k: after - before
        for k, after, before in zip(swap.domains, swap.totals(), mixture.totals(), strict=True)
    }
    assert moved == scaled(-1, gradient(change))
    assert moved == readable({tree(1): DT * (slow - fast) / 2, tree(2): DT * (fast - slow) / 2})
    assert moved != scaled(1, gradient(change))
    assert {c.subs(slow, fast) for c in moved.values()} == {0}


@given(flow_schedules(2, time_degree=1), flow_schedules(2, time_degree=1))
def test_the_first_order_of_any_excess_is_minus_the_change_of_totals_times_the_gradients(schedule, reference):
    pairs = zip(schedule.domains, schedule.totals(), reference.totals(), strict=True)
    moved = excess(schedule, reference, 1)
    assert readable(moved) == scaled(-1, gradient({k: after - before for k, after, before in pairs}))


@given(flow_schedules(2, time_degree=1), flow_schedules(2, time_degree=1))
def test_the_excess_is_antisymmetric_and_vanishes_against_itself(schedule, reference):
    assert excess(schedule, schedule, 3) == {}
    assert excess(schedule, reference, 3) == combine((-1, excess(reference, schedule, 3)))


@given(st.data())
def test_a_schedule_of_one_domain_depends_on_its_total_alone(data):
    schedule = data.draw(flow_schedules(domains=1, time_degree=2))
    assume(schedule.totals()[0] != 0)
    assert excess(schedule, schedule.straight(), 4, loss_series) == {}


def test_a_weight_that_grows_with_time_runs_behind_one_that_falls():
    schedule = SymbolicSchedule.constant([1 - LOCAL_TIME, LOCAL_TIME], 1)
    assert readable(excess(schedule, schedule.straight(), 2)) == scaled(sp.Rational(1, 12), bracket(1, 2))


def test_the_terms_of_all_orders_together_are_the_series():
    series = parameter_series(SWAP, 4)
    assert combine(*((1, of_order(series, n)) for n in range(5))) == series
    assert all(set(of_order(series, n)) <= set(trees(n, (1, 2))) for n in range(1, 5))


@pytest.mark.parametrize("order", [0, -1, 2.0, "2"])
@pytest.mark.parametrize("expansion", [parameter_series, loss_series])
def test_an_order_below_one_or_not_whole_is_refused(expansion, order):
    with pytest.raises(CommuteError, match="whole number of at least 1"):
        expansion(SWAP, order)


def test_schedules_over_different_domains_are_refused():
    with pytest.raises(CommuteError, match="2 and 3 domains"):
        excess(SWAP, SymbolicSchedule.constant([1, 1, 1], 1), 2)


def test_a_ring_without_the_schedules_symbols_is_refused():
    with pytest.raises(CommuteError, match="not a polynomial"):
        parameter_series(SWAP, 2, common_ring(SymbolicSchedule.constant([1, 1], 1)))


def test_trees_are_evaluated_by_the_function_for_their_root():
    space = Coordinates(PLANE)
    *losses, target = map(space, ROUGH)
    with pytest.raises(CommuteError, match="evaluate_loss"):
        evaluate_field({tree(TARGET, tree(1)): 1}, space, losses)
    with pytest.raises(CommuteError, match="evaluate_field"):
        evaluate_loss({tree(1): 1}, space, losses, target)
