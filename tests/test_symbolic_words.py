"""Words: shuffle and Chen identities, log and exp, Baker–Campbell–Hausdorff, Lie elements, Lyndon bases."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import combinations, product
from math import factorial

import pytest
import sympy as sp
from hypothesis import assume, example, given
from hypothesis import strategies as st

from commute_verify.errors import CommuteError
from commute_verify.symbolic import words as W
from commute_verify.symbolic.iterated import common_ring, signature
from commute_verify.symbolic.schedules import SymbolicSchedule
from tests.exact_strategies import flow_schedules, fractions, step_schedules

X, Y = W.letter(1), W.letter(2)


def nonzero(series):
    return {word: c for word, c in series.items() if c}


def linear(*terms):
    total = defaultdict(Fraction)
    for factor, series in terms:
        for word, c in series.items():
            total[word] += factor * c
    return nonzero(total)


def concatenated(x, y):
    total = defaultdict(Fraction)
    for (u, a), (v, b) in product(x.items(), y.items()):
        total[u + v] += a * b
    return nonzero(total)


def bracket(x, y):
    return linear((1, concatenated(x, y)), (-1, concatenated(y, x)))


def shuffles(u, v):
    """Every interleaving of two words, with repetitions."""
    for places in combinations(range(len(u) + len(v)), len(u)):
        first, second = iter(u), iter(v)
        yield tuple(next(first) if p in places else next(second) for p in range(len(u) + len(v)))


word_series = st.dictionaries(
    st.lists(st.sampled_from((1, 2)), max_size=4).map(tuple), fractions(), max_size=5
)
without_constant = word_series.map(lambda series: {word: c for word, c in series.items() if word and c})


# --- signatures


def satisfies_the_shuffle_identity(s, depth):
    return all(
        s[u] * s[v] == sum(s[w] for w in shuffles(u, v))
        for u, v in product(s, repeat=2)
        if u and v and len(u) + len(v) <= depth
    )


@given(flow_schedules(stages=st.integers(1, 2), time_degree=1))
@example(SymbolicSchedule.constant([0, 0], 1))
@example(SymbolicSchedule.blocks({2: sp.Symbol("b"), 1: sp.Symbol("a")}))
def test_products_of_iterated_integrals_are_sums_over_shuffles(schedule):
    assert satisfies_the_shuffle_identity(signature(schedule, 4), 4)  # exact


@given(step_schedules(domains=2, stages=st.integers(1, 2), steps=st.integers(1, 3)))
def test_products_of_iterated_sums_are_shuffles_and_the_diagonal(schedule):
    s = signature(schedule, 2)
    for i, j in product((1, 2), repeat=2):
        diagonal = sum(
            length * schedule.step**2 * weights[i - 1] * weights[j - 1] for length, weights in schedule.stages
        )
        assert s[i,] * s[j,] == s[i, j] + s[j, i] + s[()].ring.from_expr(sp.sympify(diagonal))


def half_of_depth_two(s):
    return {w: c / 2 if len(w) == 2 else c for w, c in s.items()}


def without_the_last_letter(s):
    return {w: c if len(w) < 3 else s[w[:-1]] for w, c in s.items()}


SYMBOLIC = SymbolicSchedule.blocks({1: sp.Symbol("a"), 2: sp.Symbol("b")}).then(
    SymbolicSchedule.constant([sp.Symbol("w"), 1], sp.Symbol("c"))
)


@pytest.mark.parametrize("planted", [half_of_depth_two, without_the_last_letter])
def test_a_wrong_factor_in_a_signature_breaks_the_shuffle_identity(planted):
    assert not satisfies_the_shuffle_identity(planted(signature(SYMBOLIC, 3)), 3)


def test_iterated_sums_do_not_satisfy_the_shuffle_identity():
    assert not satisfies_the_shuffle_identity(signature(SymbolicSchedule.blocks({1: 1, 2: 1}, 1), 2), 2)


def follows_chen(earlier, later, product_of, depth):
    ring = common_ring(earlier, later)
    parts = signature(earlier, depth, ring), signature(later, depth, ring)
    return product_of(*parts) == nonzero(signature(earlier.then(later), depth, ring))


def split_once_too_few(x, y):
    return linear((1, W.multiply(x, y, 4)), (-1, {w: c for w, c in y.items() if len(w) == 1}))


@given(st.data())
def test_the_signature_of_one_schedule_after_another_is_the_product_of_theirs(data):
    domains = data.draw(st.integers(1, 3))
    earlier = data.draw(flow_schedules(domains, st.integers(1, 2), time_degree=1))
    later = data.draw(flow_schedules(domains, st.integers(1, 2), time_degree=1))
    assert follows_chen(earlier, later, lambda x, y: W.multiply(x, y, 3), 3)  # exact


@given(st.data())
def test_iterated_sums_follow_chen_too(data):
    eta = data.draw(fractions().filter(lambda eta: eta > 0))
    first, second = (data.draw(step_schedules(time_degree=1)).stages for _ in range(2))
    earlier, later = SymbolicSchedule(first, eta), SymbolicSchedule(second, eta)
    assert follows_chen(earlier, later, lambda x, y: W.multiply(x, y, 3), 3)  # exact


@pytest.mark.parametrize(
    "planted",
    [lambda x, y: W.multiply(y, x, 4), lambda x, y: linear((1, x), (1, y)), split_once_too_few],
    ids=["swapped order", "sum", "a term missing"],
)
def test_a_wrong_product_breaks_the_chen_identity(planted):
    later = SymbolicSchedule.blocks({2: sp.Symbol("p"), 1: sp.Symbol("q")})
    assert not follows_chen(SYMBOLIC, later, planted, 4)


# --- exp and log


@given(word_series, word_series)
def test_multiplication_is_concatenation_cut_at_the_order(x, y):
    whole = concatenated(x, y)
    for order in (1, 3, 8):
        assert W.multiply(x, y, order) == {w: c for w, c in whole.items() if len(w) <= order}


@given(without_constant)
@example({})
@example({(1,): Fraction(1), (1, 1): Fraction(-1, 2)})
def test_the_logarithm_undoes_the_exponential(x):
    assert W.log(W.exp(x, 4), 4) == {w: c for w, c in x.items() if len(w) <= 4}  # exact


@given(without_constant)
def test_the_exponential_undoes_the_logarithm(x):
    grown = {(): Fraction(1), **x}
    assert W.exp(W.log(grown, 4), 4) == grown  # exact


@given(fractions(), st.integers(1, 6))
def test_the_exponential_of_a_letter_is_the_exponential_series(a, order):
    expected = nonzero({(1,) * n: a**n / factorial(n) for n in range(order + 1)})
    assert W.exp({(1,): a}, order) == expected


@pytest.mark.parametrize("wrong", [{(): Fraction(2), (1,): Fraction(1)}, {(1,): Fraction(1)}])
def test_a_logarithm_asks_for_a_constant_term_of_one(wrong):
    with pytest.raises(CommuteError, match="constant term"):
        W.log(wrong, 3)


def test_an_exponential_asks_for_no_constant_term():
    with pytest.raises(CommuteError, match="constant term"):
        W.exp({(): Fraction(1), (1,): Fraction(1)}, 3)


# --- Baker–Campbell–Hausdorff


def textbook_bch_4():
    xy = bracket(X, Y)
    return linear(
        (1, X),
        (1, Y),
        (Fraction(1, 2), xy),
        (Fraction(1, 12), bracket(X, xy)),
        (Fraction(-1, 12), bracket(Y, xy)),
        (Fraction(-1, 24), bracket(Y, bracket(X, xy))),
    )


def nilpotent(entries):
    matrix = sp.zeros(6, 6)
    for i, entry in enumerate(entries):
        matrix[i, i + 1] = entry
        if i + 2 < 6:
            matrix[i, i + 2] = 1 - entry
    return matrix


def evaluated(series, matrices):
    return sum((c * sp.prod([matrices[k - 1] for k in w]) for w, c in series.items()), sp.zeros(6, 6))


def is_the_matrix_logarithm(series):
    """Words up to length 5 are all that survives on strictly triangular 6 × 6 matrices."""
    a, b = nilpotent([1, 2, -1, 3, 1]), nilpotent([2, -1, 1, 1, 2])

    def exponential(m):
        return sum((m**n / factorial(n) for n in range(1, 6)), sp.eye(6))

    rest = exponential(a) * exponential(b) - sp.eye(6)
    logarithm = sum((sp.Rational((-1) ** (n + 1), n) * rest**n for n in range(1, 6)), sp.zeros(6, 6))
    exact = {w: sp.Rational(c.numerator, c.denominator) for w, c in series.items()}
    return evaluated(exact, (a, b)) == logarithm


PLANTED_BCH = {
    "swapped order": lambda: W.bch(5, Y, X),
    "sign of the bracket": lambda: linear((1, W.bch(5)), (-1, bracket(X, Y))),
    "factor ½": lambda: linear((1, W.bch(5)), (Fraction(1, 2), bracket(X, Y))),
    "missing third order": lambda: {w: c for w, c in W.bch(5).items() if len(w) != 3},
}


def test_bch_is_the_textbook_series_through_degree_four():
    assert W.bch(4) == textbook_bch_4()  # exact


def test_bch_is_the_logarithm_of_a_product_of_matrix_exponentials():
    assert is_the_matrix_logarithm(W.bch(5))  # exact


@pytest.mark.parametrize("planted", PLANTED_BCH)
def test_a_wrong_bch_is_neither_the_textbooks_nor_the_matrix_logarithm(planted):
    series = PLANTED_BCH[planted]()
    assert {w: c for w, c in series.items() if len(w) <= 4} != textbook_bch_4()
    assert not is_the_matrix_logarithm(series)


def test_the_part_of_bch_linear_in_one_letter_has_bernoulli_numbers():
    series = W.bch(8)
    for n in range(1, 8):
        bernoulli = Fraction(int(sp.bernoulli(n).p), int(sp.bernoulli(n).q)) / factorial(n)
        assert series.get((1,) * n + (2,), 0) == bernoulli
        assert series.get((1,) + (2,) * n, 0) == bernoulli


def test_the_symmetric_part_of_bch_vanishes_above_degree_one():
    symmetric = Counter()
    for word, c in W.bch(8).items():
        symmetric[tuple(sorted(word))] += c
    assert {content: c for content, c in symmetric.items() if c} == {(1,): 1, (2,): 1}


@given(fractions(), fractions())
@example(Fraction(1), Fraction(-1))
@example(Fraction(0), Fraction(0))
def test_bch_of_commuting_elements_is_their_sum(a, b):
    assert W.bch(5, nonzero({(1,): a}), nonzero({(1,): b})) == nonzero({(1,): a + b})


@given(without_constant)
def test_bch_with_zero_is_the_other_element(x):
    assert W.bch(4, {}, x) == W.bch(4, x, {}) == x


@given(without_constant, without_constant)
def test_bch_reversed_and_negated_is_negated(x, y):
    assert W.bch(4, linear((-1, y)), linear((-1, x))) == linear((-1, W.bch(4, x, y)))


def test_bch_of_degree_eight_is_lie_and_its_lyndon_coordinates_rebuild_it():
    series = W.bch(8)
    assert W.is_lie(series)
    coordinates = W.lyndon_coordinates(series, (1, 2), 8)
    assert linear(*((c, dict(W.standard_bracket(word))) for word, c in coordinates.items())) == series
    of_degree = Counter(map(len, coordinates))
    assert [of_degree[n] for n in range(1, 9)] == [2, 1, 2, 1, 6, 5, 18, 17]  # even orders lack pure words


# --- Lie elements


def nested(word):
    total = W.letter(word[0])
    for k in word[1:]:
        total = bracket(total, W.letter(k))
    return total


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple))
def test_the_left_bracket_of_a_word_is_its_nested_commutator(word):
    assert W.left_bracket(word) == nested(word)


def is_a_projection_onto_lie_elements(project):
    samples = [textbook_bch_4(), {(1, 2): Fraction(1)}, {(1, 1, 2): Fraction(2), (2, 1): Fraction(1)}]
    return project(samples[0]) == samples[0] and all(project(project(x)) == project(x) for x in samples)


@given(word_series)
def test_the_dynkin_operator_is_idempotent_and_its_image_is_lie(x):
    assert W.dynkin(W.dynkin(x)) == W.dynkin(x)  # exact
    assert W.is_lie(W.dynkin(x))


def dynkin_without_its_factor(x):
    return linear(*((a, W.left_bracket(word)) for word, a in x.items() if word))


def dynkin_of_symmetric_brackets(x):
    return linear((1, W.dynkin(x)), (1, {w[::-1]: c for w, c in W.dynkin(x).items()}))


def test_the_dynkin_operator_is_a_projection():
    assert is_a_projection_onto_lie_elements(W.dynkin)


@pytest.mark.parametrize("planted", [dynkin_without_its_factor, dynkin_of_symmetric_brackets])
def test_a_wrong_dynkin_operator_is_no_projection(planted):
    assert not is_a_projection_onto_lie_elements(planted)


def lyndon_by_definition(letters, length):
    return [w for w in product(letters, repeat=length) if all(w < w[i:] + w[:i] for i in range(1, length))]


def witt(letters, length):
    return (
        sum(
            int(sp.functions.combinatorial.numbers.mobius(d)) * letters ** (length // d)
            for d in sp.divisors(length)
        )
        // length
    )


@pytest.mark.parametrize(("letters", "order"), [((1,), 4), ((1, 2), 8), ((1, 2, 3), 5), ((2, 5, 7, 9), 4)])
def test_lyndon_words_are_the_least_of_their_rotations_and_witt_counts_them(letters, order):
    found = list(W.lyndon_words(letters, order))
    assert found == sorted(w for n in range(1, order + 1) for w in lyndon_by_definition(letters, n))
    assert [sum(len(w) == n for w in found) for n in range(1, order + 1)] == [
        witt(len(letters), n) for n in range(1, order + 1)
    ]


def test_standard_brackets_are_lie_and_lead_with_their_word():
    for word in W.lyndon_words((1, 2), 6):
        series = dict(W.standard_bracket(word))
        assert W.is_lie(series)
        assert (min(series), series[word]) == (word, 1)


THREE_LETTERS = tuple(W.lyndon_words((1, 2, 3), 4))


@given(st.dictionaries(st.sampled_from(THREE_LETTERS), fractions().filter(bool), max_size=5))
@example({})
def test_lyndon_coordinates_are_read_back_from_the_element_they_make(coordinates):
    element = linear(*((c, dict(W.standard_bracket(word))) for word, c in coordinates.items()))
    assert W.is_lie(element)
    assert W.lyndon_coordinates(element, (1, 2, 3), 4) == coordinates  # exact


@given(without_constant)
def test_lyndon_coordinates_exist_for_lie_elements_and_no_others(x):
    if W.is_lie(x):
        coordinates = W.lyndon_coordinates(x, (1, 2), 4)
        assert linear(*((c, dict(W.standard_bracket(w))) for w, c in coordinates.items())) == x
    else:
        with pytest.raises(CommuteError, match="not a Lie element"):
            W.lyndon_coordinates(x, (1, 2), 4)


@given(flow_schedules(domains=2, stages=st.integers(1, 3), time_degree=1))
def test_the_logarithm_of_a_signature_is_lie(schedule):
    assert W.is_lie(W.log(signature(schedule, 4), 4))


@given(flow_schedules(domains=2, stages=st.integers(1, 2)), fractions().filter(bool))
def test_a_series_that_is_not_group_like_has_a_logarithm_that_is_not_lie(schedule, extra):
    series = signature(schedule, 3)
    series[1, 1] += series[()].ring.domain(extra.numerator, extra.denominator)
    assert not W.is_lie(W.log(series, 3))


@given(step_schedules(domains=2))
def test_the_logarithm_of_iterated_sums_is_not_lie(schedule):
    assume(any(w for _, weights in schedule.stages for w in weights))
    assert not W.is_lie(W.log(signature(schedule, 2), 2))


def test_a_constant_is_not_a_lie_element():
    assert not W.is_lie({(): Fraction(1), (1,): Fraction(1)})


def are_totals_and_levy_areas(coordinates, s, domains):
    expected = {(k,): s[k,] for k in domains}
    expected |= {(i, j): (s[i, j] - s[j, i]) / 2 for i, j in combinations(domains, 2)}
    return nonzero(expected) == coordinates


@given(flow_schedules(domains=st.integers(2, 4), stages=st.integers(1, 3), time_degree=1))
def test_the_second_order_of_a_log_signature_is_its_levy_areas(schedule):
    s = signature(schedule, 2)
    coordinates = W.lyndon_coordinates(W.log(s, 2), schedule.domains, 2)
    assert are_totals_and_levy_areas(coordinates, s, schedule.domains)  # exact


def test_domain_one_first_has_a_positive_area_of_half_the_product():
    a, b = sp.symbols("a b")
    coordinates = W.lyndon_coordinates(
        W.log(signature(SymbolicSchedule.blocks({1: a, 2: b}), 2), 2), (1, 2), 2
    )
    assert coordinates[1, 2].as_expr() == a * b / 2


@pytest.mark.parametrize("planted", [lambda c: -c, lambda c: c / 2, lambda c: c * 2])
def test_a_wrong_sign_or_factor_is_no_levy_area(planted):
    s = signature(SYMBOLIC, 2)
    coordinates = W.lyndon_coordinates(W.log(s, 2), (1, 2), 2)
    wrong = {w: planted(c) if len(w) == 2 else c for w, c in coordinates.items()}
    assert are_totals_and_levy_areas(coordinates, s, (1, 2))
    assert not are_totals_and_levy_areas(wrong, s, (1, 2))


@pytest.mark.parametrize("order", [0, -1, 1.0, "2"])
@pytest.mark.parametrize("call", [W.bch, lambda n: W.exp(X, n), lambda n: W.log({(): 1, **X}, n)])
def test_an_order_below_one_or_not_whole_is_refused(call, order):
    with pytest.raises(CommuteError, match="whole number of at least 1"):
        call(order)
