"""What an effect answers: preferences, tilts, violations, sentences, JSON, each against brute force."""

import json
import re
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from commute_verify import CommuteError, OrderEffect, WeightSchedule
from commute_verify.criterion import Cost

DOMAINS = ("en", "ru", "code")
MIXING = {"ru": {"ru": 1.0}, "mixture": {"en": 0.25, "ru": 0.5, "code": 0.25}}
COST = Cost(8, 8, 2, 24, 1.5, 1000)


def effect_of(means, spread=0.01, replicates=8, seed=0, **fields):
    """An effect whose P lies at the means (T, pairs), with a given spread of its replicates."""
    rng = np.random.default_rng(seed)
    P = np.zeros((replicates, len(means), 3, 3))
    for pair, (i, j) in enumerate(combinations(range(3), 2)):
        P[:, :, i, j] = np.array(means)[:, pair] + spread * rng.normal(size=(replicates, len(means)))
        P[:, :, j, i] = -P[:, :, i, j]
    slopes = rng.normal(size=(replicates, len(means), 3))
    mixing = dict(list(MIXING.items())[: len(means)])
    return OrderEffect(DOMAINS, mixing, P, slopes, COST, "double-backward", **fields)


CLEAR = [[2.0, -3.0, 0.5], [-0.2, 4.0, -5.0]]


def test_means_and_errors_are_those_of_the_replicates():
    effect = effect_of(CLEAR, spread=1.0)
    for t, target in enumerate(effect.targets):
        for i in range(3):
            for j in range(3):
                values = effect.P_replicates[:, t, i, j].tolist()
                assert abs(effect.P[target][i, j] - sum(values) / 8) <= 1e-14  # roundoff
                assert abs(effect.stderr[target][i, j] - stats.sem(values)) <= 1e-14


@pytest.mark.parametrize("target", MIXING)
def test_a_positive_P_puts_the_second_domain_first(target):
    effect = effect_of(CLEAR)
    for one, other in permutations(DOMAINS, 2):
        i, j = DOMAINS.index(one), DOMAINS.index(other)
        found = effect.prefer_first(one, other, target)
        assert found.first == (other if effect.P[target][i, j] > 0 else one)
        assert found.first == effect.prefer_first(other, one, target).first
        assert found.excess_per_area == abs(effect.P[target][i, j])
        assert found.resolved
        later = one if found.first == other else other
        assert found.words.startswith(f"Train {found.first} first and {later} after it: {target} loss ends")


def test_a_planted_sign_turns_every_preference():
    effect = effect_of(CLEAR)
    turned = effect_of([[-p for p in row] for row in CLEAR])
    for target in MIXING:
        for one, other in combinations(DOMAINS, 2):
            firsts = {found.prefer_first(one, other, target).first for found in (effect, turned)}
            assert firsts == {one, other}


def test_a_preference_agrees_with_the_excess_of_the_schedules_that_it_compares():
    effect = effect_of(CLEAR)
    for one, other in combinations(DOMAINS, 2):
        found = effect.prefer_first(one, other, "ru")
        excess = {}
        for first, later in ((one, other), (other, one)):
            weights = np.zeros((2, 3))
            weights[0, DOMAINS.index(first)] = weights[1, DOMAINS.index(later)] = 1.0
            blocks = WeightSchedule(DOMAINS, np.array([3.0, 3.0]), weights)
            excess[first] = effect.excess_loss(blocks, lr=1.0)["ru"].value
        assert excess[found.first] < 0 < excess[later if found.first == first else first]
        area = 3.0**2 / 2
        assert abs(excess[found.first] + area * found.excess_per_area) <= 1e-12  # roundoff


def test_a_sign_that_is_not_resolved_is_not_claimed():
    effect = effect_of(CLEAR, spread=50.0)
    found = effect.prefer_first("en", "ru", "mixture")
    assert not found.resolved
    assert found.p_value > 0.05
    assert "is not resolved for mixture loss" in found.words
    assert effect.unresolved() == 6
    assert effect_of(CLEAR).unresolved() == 0


def test_p_values_are_corrected_over_all_pairs_and_targets():
    effect = effect_of(CLEAR, spread=3.0)
    raw = [
        stats.ttest_1samp(effect.P_replicates[:, t, i, j], 0.0).pvalue
        for i, j in combinations(range(3), 2)
        for t in range(2)
    ]
    ranked = sorted(raw)
    adjusted = [max(min(1.0, (6 - k) * ranked[k]) for k in range(ranked.index(p) + 1)) for p in raw]
    pairs = [(one, other, t) for one, other in combinations(DOMAINS, 2) for t in MIXING]
    found = [effect.prefer_first(*pair).p_value for pair in pairs]
    assert np.abs(np.array(found) - adjusted).max() <= 1e-12  # roundoff
    assert np.abs(np.array(found) - raw).max() > 1e-3


def test_alpha_decides_what_is_resolved():
    effect = effect_of(CLEAR, spread=3.0)
    p = effect.prefer_first("en", "code", "ru").p_value
    assert effect.prefer_first("en", "code", "ru", alpha=p * 1.01).resolved
    assert not effect.prefer_first("en", "code", "ru", alpha=p * 0.99).resolved


def test_a_value_that_rounding_could_make_is_never_resolved():
    rounding = np.full((2, 3, 3), 1.0)
    effect = effect_of(CLEAR, rounding=rounding)
    assert effect.prefer_first("en", "ru", "ru").resolved  # |P| = 2
    assert not effect.prefer_first("ru", "code", "ru").resolved  # |P| = 0.5
    assert effect.unresolved() == 2
    assert effect.optimality({"en": 0.0, "ru": 0.5, "code": 0.5})[0].target == "mixture"


WEIGHTS = {"en": 0.6, "ru": 0.3, "code": 0.1}


def brute_force_tilt(replicates, weights):
    """Σ_k w_k (P_ik − P_jk) of each replicate, entry by entry."""
    K = len(DOMAINS)
    return np.array(
        [
            [
                [
                    [sum(weights[DOMAINS[k]] * (P[i, k] - P[j, k]) for k in range(K)) for j in range(K)]
                    for i in range(K)
                ]
                for P in targets
            ]
            for targets in replicates
        ]
    )


def test_a_tilt_is_the_weighted_sum_over_the_domains():
    effect = effect_of(CLEAR, spread=0.5)
    expected = brute_force_tilt(effect.P_replicates, WEIGHTS)
    found = effect.tilt(WEIGHTS)
    for t, target in enumerate(effect.targets):
        assert np.abs(found.values[target] - expected[:, t].mean(axis=0)).max() <= 1e-14  # roundoff
        assert np.abs(found.stderr[target] - stats.sem(expected[:, t])).max() <= 1e-14
        assert np.abs(found.values[target] + expected[:, t].mean(axis=0)).max() > 0.1


def test_a_tilt_of_two_domains_alone_is_P_itself():
    effect = effect_of(CLEAR)
    for w in (0.0, 0.3, 1.0):
        found = effect.tilt({"en": w, "ru": 1 - w, "code": 0.0}).values["ru"]
        assert abs(found[0, 1] - effect.P["ru"][0, 1]) <= 1e-14  # roundoff


def test_a_tilt_agrees_with_the_excess_of_the_tilted_schedule():
    """L(θ^ε) − L(θ) = δ ε² P(L_i − L_j, Σ w_k L_k; L), and the schedule's area gives the same."""
    effect = effect_of(CLEAR)
    for one, other in permutations(DOMAINS, 2):
        schedule = WeightSchedule.tilt(WEIGHTS, one, other, 0.1, 4.0)
        found = effect.excess_loss(schedule, lr=1.0)["mixture"].value
        i, j = DOMAINS.index(one), DOMAINS.index(other)
        expected = 0.1 * 4.0**2 * effect.tilt(WEIGHTS).values["mixture"][i, j]
        assert abs(found - expected) <= 1e-13  # roundoff


def test_violations_are_the_active_pairs_whose_tilt_is_resolved_and_their_move_lowers_the_loss():
    effect = effect_of(CLEAR)
    weights = {"en": 0.4, "ru": 0.6, "code": 0.0}
    found = effect.optimality(weights)
    assert {(v.target, frozenset((v.earlier, v.later))) for v in found} == {
        (target, frozenset(("en", "ru"))) for target in MIXING
    }
    for violation in found:
        tilted = WeightSchedule.tilt(weights, violation.earlier, violation.later, 0.1, 4.0)
        gained = -effect.excess_loss(tilted, lr=1.0)[violation.target].value
        assert gained > 0
        assert abs(gained - 0.1 * 4.0**2 * violation.value) <= 1e-13  # roundoff
        assert f"move {violation.later} later and {violation.earlier} earlier" in violation.words


def test_violations_of_all_active_pairs_are_corrected_over_pairs_and_targets():
    effect = effect_of(CLEAR, spread=3.0)
    tilts = brute_force_tilt(effect.P_replicates, WEIGHTS)
    pairs = [(t, i, j) for t in range(2) for i, j in combinations(range(3), 2)]
    raw = [stats.ttest_1samp(tilts[:, t, i, j], 0.0).pvalue for t, i, j in pairs]
    ranked = sorted(raw)
    adjusted = [max(min(1.0, (6 - k) * ranked[k]) for k in range(ranked.index(p) + 1)) for p in raw]
    expected = {
        (effect.targets[t], frozenset((DOMAINS[i], DOMAINS[j])))
        for (t, i, j), p in zip(pairs, adjusted, strict=True)
        if p < 0.05
    }
    found = {(v.target, frozenset((v.earlier, v.later))) for v in effect.optimality(WEIGHTS)}
    assert 0 < len(expected) < 6
    assert found == expected


def test_one_active_domain_can_violate_nothing():
    assert effect_of(CLEAR).optimality({"en": 1.0, "ru": 0.0, "code": 0.0}) == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"en": 0.5, "ru": 0.5}, "weights miss code; name en, ru, code"),
        (WEIGHTS | {"es": 0.0}, "weights name es; name en, ru, code"),
        ({"en": 0.5, "ru": 0.3, "code": 0.1}, "sum to 1"),
        ({"en": 1.5, "ru": -0.5, "code": 0.0}, "numbers ≥ 0"),
        ({"en": float("nan"), "ru": 0.5, "code": 0.5}, "numbers ≥ 0"),
    ],
)
def test_weights_that_are_no_mixture_are_refused(weights, words):
    for ask in (effect_of(CLEAR).tilt, effect_of(CLEAR).optimality):
        with pytest.raises(CommuteError, match=words):
            ask(weights)


def test_questions_that_make_no_sense_are_refused():
    effect = effect_of(CLEAR)
    with pytest.raises(CommuteError, match="no domain 'es'; the domains are en, ru, code"):
        effect.prefer_first("en", "es", "ru")
    with pytest.raises(CommuteError, match="give two different domains"):
        effect.prefer_first("en", "en", "ru")
    with pytest.raises(CommuteError, match="no target 'en'; the targets are ru, mixture"):
        effect.prefer_first("en", "ru", "en")
    with pytest.raises(CommuteError, match="between 0 and 1"):
        effect.prefer_first("en", "ru", "ru", alpha=5)


def test_the_default_target_is_the_mixture_or_the_only_one():
    assert effect_of(CLEAR).prefer_first("en", "ru").words.count("mixture loss") == 1
    assert "ru loss" in effect_of(CLEAR[:1]).prefer_first("en", "ru").words


def test_the_text_is_a_sentence_for_each_target_and_a_row_for_each_pair():
    text = repr(effect_of(CLEAR))
    sentences, table = text.split("\n\n")
    assert max(map(len, text.splitlines())) <= 100
    assert [line.split(":")[0] for line in sentences.replace("\n  ", " ").splitlines()] == [
        "Train en first and code after it",
        "Train ru first and code after it",
    ]
    rows = table.splitlines()
    assert len(rows) == 1 + 2 * 3
    assert rows[0].split() == ["target", "first", "then", "gain", "per", "area", "stderr", "p", "resolved"]
    assert rows[1].split()[:3] == ["ru", "ru", "en"]
    assert all(row.split()[-1] == "yes" for row in rows[1:])


def test_the_page_says_the_same_with_names_escaped():
    effect = effect_of(CLEAR)
    page = effect._repr_html_()
    assert page.count("<tr>") == 1 + 2 * 3
    assert "Train en first and code after it" in page
    P, slopes = effect.P_replicates[:, :1], effect.slope_replicates[:, :1]
    hostile = OrderEffect(("<b>", "&", "c"), {"<i>": {"&": 1.0}}, P, slopes, COST, "")._repr_html_()
    assert "<b>" not in hostile
    assert "<i>" not in hostile
    assert "&lt;b&gt;" in hostile


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-300, 1.0, 1e300]))
def test_json_goes_out_and_back_bitwise(seed, scale):
    fields = {"looks": 3, "stopped": "x", "notes": ("a", "b")}
    effect = effect_of(np.array(CLEAR) * scale, spread=scale, seed=seed, **fields)
    back = OrderEffect.from_json(effect.to_json())
    for name in ("P_replicates", "slope_replicates", "rounding"):
        assert getattr(back, name).tobytes() == getattr(effect, name).tobytes()
    for name in ("domains", "targets", "cost", "method", "looks", "stopped", "notes"):
        assert getattr(back, name) == getattr(effect, name)
    assert back.mixing == effect.mixing
    assert back.to_json() == effect.to_json()


@given(st.data())
def test_text_that_is_cut_short_is_refused(data):
    text = effect_of(CLEAR).to_json()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(CommuteError):
        OrderEffect.from_json(text[:cut])


def test_an_effect_from_before_the_start_up_was_timed_is_read():
    record = json.loads(effect_of(CLEAR).to_json())
    del record["cost"]["start_up_seconds"]
    assert OrderEffect.from_json(json.dumps(record)).cost.start_up_seconds == 0


GOOD = json.loads(effect_of(CLEAR).to_json())
HOSTILE = [
    {"format": "another"},
    {"version": 2},
    {"version": True},
    {"domains": "enru"},
    {"domains": ["en", "ru", 3]},
    {"domains": ["en", "en", "ru"]},
    {"domains": []},
    {"mixing": []},
    {"mixing": {"ru": 1.0, "mixture": {}}},
    {"mixing": {"ru": {"ru": "x"}, "mixture": {"en": 1.0}}},
    {"mixing": {"ru": {"es": 1.0}, "mixture": {"en": 1.0}}},
    {"mixing": {}},
    {"P_replicates": []},
    {"P_replicates": [[1.0], [1.0, 2.0]]},
    {"P_replicates": "text"},
    {"P_replicates": None},
    {"P_replicates": GOOD["P_replicates"][:1]},
    {"P_replicates": GOOD["P_replicates"][:5]},
    {"P_replicates": np.abs(GOOD["P_replicates"]).tolist()},
    {"P_replicates": (np.array(GOOD["P_replicates"]) + np.inf).tolist()},
    {"slope_replicates": [[["x"]]]},
    {"slope_replicates": GOOD["P_replicates"]},
    {"rounding": [-1.0]},
    {"rounding": {}},
    {"cost": None},
    {"cost": {}},
    {"cost": GOOD["cost"] | {"seconds": "soon"}},
    {"cost": GOOD["cost"] | {"other": 1}},
    {"method": 3},
    {"looks": 1.5},
    {"looks": True},
    {"looks": -1},
    {"stopped": None},
    {"notes": "a note"},
    {"notes": [1]},
    {"another": 1},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: next(iter(change)))
def test_a_field_that_is_not_what_was_written_is_refused(change):
    with pytest.raises(CommuteError):
        OrderEffect.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("name", GOOD)
def test_a_field_that_is_missing_is_refused(name):
    with pytest.raises(CommuteError):
        OrderEffect.from_json(json.dumps({k: v for k, v in GOOD.items() if k != name}))


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "[" * 100_000, "{" * 9, b"\xff", None, 7])
def test_text_that_is_no_effect_is_refused(text):
    with pytest.raises(CommuteError):
        OrderEffect.from_json(text)


def test_an_effect_does_not_take_on_later_changes_of_what_it_was_built_from():
    effect = effect_of(CLEAR)
    with pytest.raises(ValueError, match="read-only"):
        effect.P_replicates[0, 0, 0, 1] = 7.0
    with pytest.raises(AttributeError):
        effect.method = "another"


NUMBER = r"(-?[\d.]+(?:e[-+]\d+)?)"


def interval_of(words):
    """The level and the two ends that a sentence names."""
    (level, low, high) = re.findall(rf"\({NUMBER}%: {NUMBER} to {NUMBER}[;)]", words)[0]
    return float(level), float(low), float(high)


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("spread", [0.5, 50.0])
def test_sentences_name_the_level_of_their_interval_and_give_its_ends(alpha, spread):
    effect = effect_of(CLEAR, spread=spread)
    values = effect.P_replicates[:, 1, 1, 2]
    low, high = stats.t.interval(1 - alpha, 7, values.mean(), stats.sem(values))
    expected = (low, high) if values.mean() > 0 else (-high, -low)
    found = effect.prefer_first("ru", "code", "mixture", alpha=alpha)
    level, *ends = interval_of(found.words)
    assert level == 100 * (1 - alpha)
    assert np.abs(np.array(ends) / expected - 1).max() <= 0.006  # three digits are printed
    assert "±" not in found.words + repr(effect)


def test_a_violation_names_the_level_of_its_interval_and_gives_its_ends():
    effect = effect_of(CLEAR, spread=0.5)
    for alpha in (0.05, 0.1):
        for violation in effect.optimality(WEIGHTS, alpha=alpha):
            i, j = (DOMAINS.index(name) for name in (violation.later, violation.earlier))
            tilts = brute_force_tilt(effect.P_replicates, WEIGHTS)
            values = tilts[:, effect.targets.index(violation.target), i, j]
            low, high = stats.t.interval(1 - alpha, 7, values.mean(), stats.sem(values))
            level, *ends = interval_of(violation.words)
            assert level == 100 * (1 - alpha)
            assert np.abs(np.array(ends) / (low, high) - 1).max() <= 0.006  # three digits are printed


def many(K=5, replicates=6, resolved=9):
    """Five domains, each a target, and the mixture; the first pairs are clear, the others noise."""
    rng = np.random.default_rng(1)
    domains = tuple(f"domain {k}" for k in range(K))
    mixing = {name: {name: 1.0} for name in domains} | {"mixture": dict.fromkeys(domains, 1 / K)}
    P = rng.normal(size=(replicates, K + 1, K, K))
    P[:, 0] += 100 * np.triu(np.ones((K, K)), 1) * (np.arange(K * K).reshape(K, K) < resolved)
    P = np.triu(P, 1) - np.swapaxes(np.triu(P, 1), 2, 3)
    slopes = rng.normal(size=(replicates, K + 1, K))
    return OrderEffect(domains, mixing, P, slopes, COST, "double-backward")


def test_a_long_table_shows_its_clearest_rows_and_how_many_more_there_are():
    effect = many()
    lines = repr(effect).splitlines()
    table = lines[lines.index("") + 1 :]
    assert len(table) == 1 + 12 + 1
    assert table[-1].startswith("… and 48 more, less clear")
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 6 * 3 + 1 + 14
    found = {
        (target, frozenset(pair)): effect.prefer_first(*pair, target)
        for target in effect.targets
        for pair in combinations(effect.domains, 2)
    }
    clearest = sorted(found, key=lambda key: found[key].p_value)
    assert sum(row.endswith("yes") for row in table) == effect.unresolved() * -1 + 60 > 3
    assert [row.split("  ")[0] for row in table[1:-1]] == sorted(
        (target for target, _ in clearest[:12]), key=effect.targets.index
    )
    page = effect._repr_html_()
    assert page.count("<tr>") == 1 + 12
    assert "… and 48 more" in page
