"""Iterated integrals against nested ``sympy.integrate``, iterated sums against loops over all times."""

from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product
from math import factorial, prod

import pytest
import sympy as sp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from commute_verify.errors import CommuteError
from commute_verify.symbolic import iterated
from commute_verify.symbolic.iterated import coefficients, common_ring, signature
from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import TARGET, tree, trees
from tests.exact_strategies import coloured_trees, flow_schedules, lengths, rationals, weights

A, B, C, N, ETA = sp.symbols("a b c n eta")
WORDS = [word for n in range(1, 4) for word in product((1, 2), repeat=n)]


def as_expressions(values):
    return {key: value.as_expr() for key, value in values.items()}


# --- oracles


def simplex_integral(letters, length, stage_weights):
    """∫_{0<t₁<…<t_m<length} of the product, innermost integral first."""
    total, clocks = sp.Integer(1), sp.symbols(f"t1:{len(letters) + 1}")
    for letter, now, upper in zip(letters, clocks, (*clocks, length)[1:], strict=True):
        rate = sp.sympify(stage_weights[letter - 1]).subs(LOCAL_TIME, now)
        total = sp.integrate(sp.expand(rate * total), (now, 0, upper))
    return total


def nested_integral(word, schedule):
    """The integral over t₁ < … < t_n, split by which stage each time falls in."""
    total = sp.Integer(0)
    for stages in combinations_with_replacement(range(len(schedule.stages)), len(word)):
        total += sp.prod(
            simplex_integral([k for k, at in zip(word, stages, strict=True) if at == stage], length, w)
            for stage, (length, w) in enumerate(schedule.stages)
        )
    return sp.expand(total)


def labelled(t):
    colors, parents = [], []

    def visit(node, parent):
        colors.append(node[0])
        parents.append(parent)
        label = len(colors) - 1
        for child in node[1]:
            visit(child, label)

    visit(t, None)
    return colors, parents


def words_of(t):
    """The orders in time of the nodes, children before parents, as words."""
    colors, parents = labelled(t)
    for times in permutations(range(len(colors))):
        if all(times[node] < times[parents[node]] for node in range(1, len(colors))):
            yield tuple(colors[times.index(now)] for now in range(len(colors)))


def brute_force_sum(t, schedule, eta, numbers):
    """Σ over all times of all nodes, children strictly before parents, of the product of the weights."""
    clock = []
    for length, stage_weights in schedule.stages:
        for step in range(int(sp.sympify(length).subs(numbers))):
            values = [sp.sympify(w).subs({**numbers, LOCAL_TIME: step}) for w in stage_weights]
            clock.append([Fraction(int(v.p), int(v.q)) for v in values])
    colors, parents = labelled(t)
    total = Fraction(0)
    for times in product(range(len(clock)), repeat=len(colors)):
        if all(times[node] < times[parents[node]] for node in range(1, len(colors))):
            total += prod(clock[now][color - 1] for now, color in zip(times, colors, strict=True))
    return total * eta ** len(colors)


# --- integrals


def are_the_nested_integrals(values, schedule):
    return all(sp.expand(values[word] - nested_integral(word, schedule)) == 0 for word in values if word)


FLOWS = [
    SymbolicSchedule.blocks({1: A, 2: B}),
    SymbolicSchedule.blocks({2: A, 1: A}),
    SymbolicSchedule.tilt([C, 1 - C], 1, 2, sp.Symbol("delta"), A),
    SymbolicSchedule(((A, (LOCAL_TIME, 1 - LOCAL_TIME**2)), (B, (C, LOCAL_TIME / 2)))),
    SymbolicSchedule(((1, (0, 0)), (sp.Rational(2, 3), (1, sp.Rational(-1, 2))), (A, (LOCAL_TIME**3, 0)))),
]


@pytest.mark.parametrize("schedule", FLOWS)
def test_a_signature_is_the_nested_integrals(schedule):
    assert are_the_nested_integrals(as_expressions(signature(schedule, 3)), schedule)  # exact


@given(flow_schedules(domains=2, stages=st.integers(1, 2), time_degree=2), st.sampled_from(WORDS))
@settings(max_examples=settings().max_examples // 2)
def test_random_signatures_are_the_nested_integrals(schedule, word):
    value = signature(schedule, 3)[word].as_expr()
    assert are_the_nested_integrals({word: value}, schedule)  # exact


def test_signatures_with_the_letters_swapped_or_a_factor_lost_are_not_the_nested_integrals():
    schedule = FLOWS[3]
    values = as_expressions(signature(schedule, 3))
    assert not are_the_nested_integrals({word: values[word[::-1]] for word in WORDS}, schedule)
    assert not are_the_nested_integrals({word: values[word] * len(word) for word in WORDS}, schedule)
    assert not are_the_nested_integrals({word: -values[word] for word in WORDS}, schedule)


PLANTED_ACCUMULATORS = {
    "factor lost": lambda p: iterated._by_terms(p, lambda power: {power + 1: Fraction(1)}),
    "power not raised": lambda p: iterated._by_terms(p, lambda power: {power: Fraction(1, power + 1)}),
    "sign": lambda p: -iterated.antiderivative(p),
    "sum for integral": iterated.antidifference,
}


@pytest.mark.parametrize("planted", PLANTED_ACCUMULATORS)
def test_a_wrong_antiderivative_does_not_give_the_nested_integrals(planted, monkeypatch):
    monkeypatch.setattr(iterated, "_accumulator", lambda schedule, ring: PLANTED_ACCUMULATORS[planted])
    assert not are_the_nested_integrals(as_expressions(signature(FLOWS[3], 2)), FLOWS[3])


def test_a_schedule_with_a_weight_missing_does_not_give_the_nested_integrals():
    (first, second) = FLOWS[3].stages
    planted = SymbolicSchedule((first, (second[0], (1, second[1][1]))))
    assert not are_the_nested_integrals(as_expressions(signature(planted, 2)), FLOWS[3])


def are_sums_over_orders_in_time(values, words):
    return all(value == sum(words[word] for word in words_of(t)) for t, value in values.items())


@given(st.lists(coloured_trees(st.integers(1, 4)), min_size=1, max_size=4), flow_schedules(2, time_degree=1))
def test_the_integral_of_a_tree_is_the_sum_over_orders_of_its_nodes_in_time(shapes, schedule):
    assert are_sums_over_orders_in_time(coefficients(schedule, shapes), signature(schedule, 4))


def test_the_integral_of_a_tree_that_forgets_a_branch_is_no_such_sum():
    shapes = list(trees(3, (1, 2)))
    values = coefficients(FLOWS[3], shapes)
    planted = {t: coefficients(FLOWS[3], [tree(t.color, *t.children[:1])]).popitem()[1] for t in shapes}
    assert are_sums_over_orders_in_time(values, signature(FLOWS[3], 3))
    assert not are_sums_over_orders_in_time(planted, signature(FLOWS[3], 3))


# --- sums


def are_the_brute_force_sums(values, schedule, counts=(1, 2, 3, 4)):
    for n in counts:
        numbers = {N: n, ETA: sp.Rational(1, 3)}
        for t, value in values.items():
            expected = brute_force_sum(t, schedule, Fraction(1, 3), numbers)
            if value.as_expr().subs(numbers) != sp.Rational(expected.numerator, expected.denominator):
                return False
    return True


STEPS = [
    SymbolicSchedule.constant([1, 2], N, ETA),
    SymbolicSchedule.constant([LOCAL_TIME**2, 1 - LOCAL_TIME], N, ETA),
    SymbolicSchedule(((2, (sp.Rational(1, 2), 1)), (N, (LOCAL_TIME, -1))), ETA),
]
SMALL_TREES = [t for n in range(1, 4) for t in trees(n, (1, 2))]


@pytest.mark.parametrize("schedule", STEPS)
def test_sums_over_a_symbolic_number_of_steps_are_the_loops_over_one_to_four(schedule):
    assert are_the_brute_force_sums(coefficients(schedule, SMALL_TREES), schedule)  # exact


def test_sums_over_two_symbolic_blocks_are_the_loops_over_one_to_three():
    schedule = SymbolicSchedule.blocks({1: N, 2: N}, ETA)
    assert are_the_brute_force_sums(coefficients(schedule, SMALL_TREES), schedule, (1, 2, 3))


@given(coloured_trees(st.integers(1, 4)), weights(2, time_degree=2))
@example(tree(1, tree(2), tree(2), tree(1)), (LOCAL_TIME, 1))
def test_sums_of_any_tree_are_the_loops(t, stage_weights):
    schedule = SymbolicSchedule.constant(stage_weights, N, ETA)
    assert are_the_brute_force_sums(coefficients(schedule, [t]), schedule, (1, 2, 4))  # exact


PLANTED_SUMS = {
    "an integral": iterated.antiderivative,
    "children not strictly before parents": lambda p: iterated.antidifference(p) + p,
    "sign": lambda p: -iterated.antidifference(p),
    "one step too few": lambda p: iterated.antidifference(p) - p.compose(p.ring.gens[-1], p.ring.zero),
}


@pytest.mark.parametrize("planted", PLANTED_SUMS)
def test_a_wrong_antidifference_does_not_give_the_loops(planted, monkeypatch):
    def accumulator(schedule, ring):
        return lambda p: ring.from_expr(ETA) * PLANTED_SUMS[planted](p)

    monkeypatch.setattr(iterated, "_accumulator", accumulator)
    assert not are_the_brute_force_sums(coefficients(STEPS[1], SMALL_TREES), STEPS[1])


def test_sums_without_the_step_size_are_not_the_loops(monkeypatch):
    monkeypatch.setattr(iterated, "_accumulator", lambda schedule, ring: iterated.antidifference)
    assert not are_the_brute_force_sums(coefficients(STEPS[1], SMALL_TREES), STEPS[1])


@pytest.mark.parametrize("power", range(8))
def test_a_power_sum_is_the_sum_of_powers(power):
    total = iterated.power_sum(power)
    for n in range(6):
        assert sum(c * n**e for e, c in total.items()) == sum(Fraction(m) ** power for m in range(n))


def time_polynomials():
    ring = common_ring(SymbolicSchedule.constant([A], 1))
    terms = st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 4)), st.integers(-3, 3), max_size=4)
    return terms.map(lambda d: ring.from_dict({m: ring.domain(c) for m, c in d.items() if c}))


@given(time_polynomials())
def test_the_antidifference_telescopes_and_starts_at_zero(p):
    time, total = p.ring.gens[-1], iterated.antidifference(p)
    assert total.compose(time, time + 1) - total == p
    assert total.compose(time, p.ring.zero) == 0


@given(time_polynomials())
def test_the_antiderivative_has_the_integrand_as_derivative_and_starts_at_zero(p):
    time, total = p.ring.gens[-1], iterated.antiderivative(p)
    assert total.diff(time) == p
    assert total.compose(time, p.ring.zero) == 0


# --- invariances


@given(flow_schedules(domains=2, time_degree=1), lengths)
def test_running_faster_for_less_time_changes_no_integral(schedule, speed):
    faster = SymbolicSchedule(
        tuple(
            (length / speed, tuple((w * speed).subs(LOCAL_TIME, speed * LOCAL_TIME) for w in stage_weights))
            for length, stage_weights in schedule.stages
        )
    )
    assert as_expressions(signature(faster, 3)) == as_expressions(signature(schedule, 3))


@given(weights(2, time_degree=1), lengths, lengths)
def test_a_change_of_clock_that_is_not_linear_changes_no_integral(stage_weights, a, b):
    clock = a * LOCAL_TIME + b * LOCAL_TIME**2
    warped = [sp.sympify(w).subs(LOCAL_TIME, clock) * clock.diff(LOCAL_TIME) for w in stage_weights]
    original = SymbolicSchedule.constant(stage_weights, a + b)
    assert signature(SymbolicSchedule.constant(warped, 1), 3) == signature(original, 3)


@given(weights(2, time_degree=1), lengths, lengths)
def test_cutting_a_stage_in_two_changes_no_integral(stage_weights, a, b):
    later = [sp.sympify(w).subs(LOCAL_TIME, LOCAL_TIME + a) for w in stage_weights]
    cut = SymbolicSchedule(((a, stage_weights), (b, later)))
    assert signature(cut, 3) == signature(SymbolicSchedule.constant(stage_weights, a + b), 3)


@given(flow_schedules(domains=3, stages=st.integers(1, 2)), st.permutations((1, 2, 3)))
def test_renaming_the_domains_renames_the_letters(schedule, names):
    renamed = SymbolicSchedule(
        tuple((length, tuple(w[names.index(k)] for k in schedule.domains)) for length, w in schedule.stages)
    )
    original, moved = signature(schedule, 2), signature(renamed, 2)
    assert all(moved[tuple(names[k - 1] for k in word)] == value for word, value in original.items())


@given(flow_schedules(domains=2, stages=st.integers(1, 3)))
def test_running_backwards_reverses_the_words(schedule):
    backwards = SymbolicSchedule(tuple(reversed(schedule.stages)))
    original, moved = signature(schedule, 3), signature(backwards, 3)
    assert all(moved[word[::-1]] == value for word, value in original.items())


@given(flow_schedules(time_degree=2))
@example(SymbolicSchedule.constant([0], 1))
@example(SymbolicSchedule.blocks({1: N, 2: 2 * N}, ETA))
def test_the_straight_schedule_has_powers_of_the_totals_and_is_its_own(schedule):
    straight, totals = schedule.straight(), schedule.totals()
    assert straight.totals() == totals
    assert straight.straight() == straight
    for word, value in signature(straight, 3).items():
        power = sp.prod(totals[k - 1] for k in word) / factorial(len(word))
        assert sp.expand(value.as_expr() - power) == 0


@given(weights(2), lengths)
def test_the_straight_schedule_of_a_constant_one_is_that_constant_one(stage_weights, length):
    constant = SymbolicSchedule.constant(stage_weights, length)
    assert signature(constant.straight(), 4) == signature(constant, 4)


@given(flow_schedules(domains=2, time_degree=1), st.lists(rationals, min_size=2, max_size=2))
def test_symbolic_answers_hold_after_numbers_are_put_in(schedule, values):
    assume(values[1] > 0)
    symbolic = schedule.then(SymbolicSchedule.constant([A, 1], B))
    numeric = schedule.then(SymbolicSchedule.constant([values[0], 1], values[1]))
    put_in = {A: values[0], B: values[1]}
    left, right = as_expressions(signature(symbolic, 2)), as_expressions(signature(numeric, 2))
    assert {word: value.subs(put_in) for word, value in left.items()} == right


def test_the_symbols_of_a_schedule_are_those_of_weights_lengths_and_step_without_the_local_time():
    schedule = SymbolicSchedule(((A, (LOCAL_TIME * B, 1)), (N, (C, 0))), ETA)
    assert schedule.symbols == {A, B, C, N, ETA}
    assert common_ring(schedule).symbols == (A, B, C, ETA, N, LOCAL_TIME)


# --- what is refused


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: SymbolicSchedule.constant([0.5, 0.5], 1), "float"),
        (lambda: SymbolicSchedule.constant([1], 0.1), "float"),
        (lambda: SymbolicSchedule.constant([0.1 * A], 1), "float"),
        (lambda: SymbolicSchedule.constant([1j], 1), "float"),
        (lambda: SymbolicSchedule.constant([1], 1, 0.01), "float"),
        (lambda: SymbolicSchedule.tilt([1, 1], 1, 2, 0.25, 1), "float"),
        (lambda: SymbolicSchedule.constant(["1/2"], 1), "text"),
        (lambda: SymbolicSchedule.constant([1], "t"), "text"),
        (lambda: SymbolicSchedule.constant([1], 1, "eta"), "text"),
        (lambda: SymbolicSchedule.tilt([1, 1], 1, 2, "1/4", 1), "text"),
        (lambda: SymbolicSchedule.constant([None], 1), "None"),
        (lambda: SymbolicSchedule.constant([True], 1), "True"),
        (lambda: SymbolicSchedule.constant([1], -1), "above 0"),
        (lambda: SymbolicSchedule.constant([1], 0), "above 0"),
        (lambda: SymbolicSchedule.constant([1], sp.Symbol("t", negative=True)), "above 0"),
        (lambda: SymbolicSchedule.constant([1], sp.I), "above 0"),
        (lambda: SymbolicSchedule.constant([1], sp.oo), "above 0"),
        (lambda: SymbolicSchedule.constant([1], 1, 0), "above 0"),
        (lambda: SymbolicSchedule.constant([1], 1, -(ETA**0)), "above 0"),
        (lambda: SymbolicSchedule.constant([1], LOCAL_TIME), "free of s"),
        (lambda: SymbolicSchedule.constant([1], A + LOCAL_TIME), "free of s"),
        (lambda: SymbolicSchedule.constant([1], N, LOCAL_TIME), "free of s"),
        (lambda: SymbolicSchedule.constant([1], sp.Rational(3, 2), ETA), "whole steps"),
        (lambda: SymbolicSchedule.constant([object()], 1), "give an int"),
        (lambda: SymbolicSchedule(()), "at least one"),
        (lambda: SymbolicSchedule(None), "None for the stages"),
        (lambda: SymbolicSchedule("ab"), "'ab' for the stages"),
        (lambda: SymbolicSchedule((1,)), "stage 1; give a .length, weights. pair"),
        (lambda: SymbolicSchedule(((1,),)), "pair"),
        (lambda: SymbolicSchedule(((1, None),)), "None for the weights"),
        (lambda: SymbolicSchedule.constant(None, 1), "None for the weights"),
        (lambda: SymbolicSchedule.constant("12", 1), "'12' for the weights"),
        (lambda: SymbolicSchedule.constant([1], 1).then(None), "give a SymbolicSchedule"),
        (lambda: SymbolicSchedule.constant([], 1), "at least one"),
        (lambda: SymbolicSchedule(((1, (1,)), (1, (1, 0)))), "one per domain"),
        (lambda: SymbolicSchedule.constant([1], 1).then(SymbolicSchedule.constant([1, 0], 1)), "per domain"),
        (lambda: SymbolicSchedule.constant([1], 1).then(SymbolicSchedule.constant([1], 1, ETA)), "steps"),
        (lambda: SymbolicSchedule.blocks({}), "at least one"),
        (lambda: SymbolicSchedule.blocks(None), "mapping from domains"),
        (lambda: SymbolicSchedule.blocks({True: 1}), "from 1"),
        (lambda: SymbolicSchedule.blocks({0: 1, 1: 1}), "from 1"),
        (lambda: SymbolicSchedule.blocks({"code": 1}), "from 1"),
        (lambda: SymbolicSchedule.tilt([1, 1], 1, 1, A, 1), "two different"),
        (lambda: SymbolicSchedule.tilt([1, 1], 1, 3, A, 1), "two different"),
        (lambda: SymbolicSchedule.tilt([1, 1], 0, 1, A, 1), "two different"),
        (lambda: SymbolicSchedule.tilt([1, 1], [1], 2, A, 1), "two different"),
        (lambda: SymbolicSchedule.tilt(None, 1, 2, A, 1), "None for the weights"),
    ],
)
def test_a_schedule_that_is_not_exact_or_not_a_schedule_is_refused(make, why):
    with pytest.raises(CommuteError, match=why):
        make()


@pytest.mark.parametrize(
    "weight", [sp.sqrt(2), sp.pi, sp.I, 1 / A, sp.sin(LOCAL_TIME), sp.oo, sp.nan, abs(A)]
)
def test_a_weight_that_is_no_rational_polynomial_is_refused_by_its_integrals(weight):
    with pytest.raises(CommuteError, match="not a polynomial with rational coefficients"):
        signature(SymbolicSchedule.constant([weight], 1), 1)


@pytest.mark.parametrize("order", [0, -2, 1.5, "3", None])
def test_a_signature_of_an_order_below_one_or_not_whole_is_refused(order):
    with pytest.raises(CommuteError, match="whole number of at least 1"):
        signature(SymbolicSchedule.constant([1], 1), order)


@pytest.mark.parametrize("t", [tree(TARGET, tree(1)), tree(3), tree(1, tree(3))])
def test_a_tree_of_a_colour_that_the_schedule_does_not_have_is_refused(t):
    with pytest.raises(CommuteError, match="over 2 domains"):
        coefficients(SymbolicSchedule.constant([1, 1], 1), [t])
