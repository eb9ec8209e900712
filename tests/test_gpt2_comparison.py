"""The comparison of GPT-2 runs, on results whose truth is known: signs, ratios, errors, planted mistakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from commute_verify.errors import CommuteError
from experiments.gpt2.comparison import compare
from experiments.gpt2.comparison.agreement import Share, agreement, rank_correlation
from experiments.gpt2.comparison.breakdown import reach
from experiments.gpt2.comparison.cases import select
from experiments.gpt2.comparison.results import read
from tests.gpt2_results import LR, Quadratics, study, with_excess

LADDER = (4, 8, 16, 32)


def of_languages(results, **where):
    comparison = compare(results)
    return select(comparison.cases, targets=comparison.results.domains, **where)


def median_ratios(results, by, kind="orders", tail=False):
    cases = of_languages(results, kind=kind, tail=tail)
    return {w: agreement(select(cases, window=w), by).ratio[1] for w in sorted({c.at.window for c in cases})}


def test_observed_over_predicted_tends_to_one_with_slope_one_in_the_window():
    ratios = median_ratios(study(windows=LADDER, wobble=0.0, noise=0.0), "plain")
    errors = [abs(ratios[w] - 1) for w in LADDER]
    slope = np.log(errors[1] / errors[0]) / np.log(2)
    assert 0.8 < slope < 1.2  # order: 1 and not 2; floor 1e-9 ≪ errors
    assert errors[0] < 0.06  # order: the first neglected term at 4 steps of 0.01, with λ_max = 1


def test_the_preconditioned_bracket_is_right_where_steps_are_preconditioned_and_the_plain_one_is_not():
    results = study(windows=LADDER, wobble=0.0, noise=0.0, preconditioned=True)
    adam, plain = median_ratios(results, "adam"), median_ratios(results, "plain")
    errors = [abs(adam[w] - 1) for w in LADDER]
    assert 0.8 < np.log(errors[1] / errors[0]) / np.log(2) < 1.2  # order: 1 and not 2
    assert abs(plain[4] - 1) > 5 * errors[0]


def swap_orders(results):
    for run in results["runs"]:
        for branch in run["branches"]:
            branch["order"] = {"12": "21", "21": "12", "base": "base"}[branch["order"]]


def scale_effects(results, factor):
    for run in results["runs"]:
        for point in run["checkpoints"]:
            P = point["effects"]["plain"]["P_replicates"]
            point["effects"]["plain"]["P_replicates"] = (factor * np.array(P)).tolist()


def exchange_targets(results):
    for run in results["runs"]:
        for point in run["checkpoints"]:
            mixing = point["effects"]["plain"]["mixing"]
            mixing["en"], mixing["ru"] = mixing["ru"], mixing["en"]


PLANTED = {
    "orders swapped": swap_orders,
    "P halved": lambda results: scale_effects(results, 0.5),
    "P of the other sign": lambda results: scale_effects(results, -1.0),
    "targets exchanged": exchange_targets,
    "tilt of twice the size": lambda results: [
        branch.update(delta=branch["delta"] / 2) for run in results["runs"] for branch in run["branches"]
    ],
}


def the_plain_bracket_is_right(results):
    cases = of_languages(results, kind="orders", tail=False, window=min(LADDER))
    found = agreement(cases, "plain")
    return found.all.count == found.all.total and abs(found.ratio[1] - 1) < 0.06


def test_the_plain_bracket_is_right_at_a_short_window():
    assert the_plain_bracket_is_right(study(windows=LADDER))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_caught(name):
    results = study(windows=LADDER)
    PLANTED[name](results)
    assert not the_plain_bracket_is_right(results)


@pytest.mark.parametrize("kind", ["12", "21"])
def test_each_order_against_the_base_has_the_predicted_sign_too(kind):
    cases = of_languages(study(), kind=kind, tail=False)
    at_longest = agreement(select(cases, window=30), "plain")
    assert at_longest.all.count == at_longest.all.total == 48


def test_the_prediction_of_12_is_delta_times_flow_time_squared_times_P_of_the_model():
    results = study(noise=0.0)
    model = Quadratics()
    theta = model.trained(model.start, (0.5, 0.5), 60)
    (case,) = of_languages(results, run=0, step=60, window=8, kind="12", tail=False)[1:]
    expected = 0.3 * (LR * 8) ** 2 * model.P(theta, np.ones(5), (0.0, 1.0))
    assert case.at.target == "ru"
    assert abs(case.predicted["plain"].value / expected - 1) < 1e-7  # roundoff: of 240 summed steps


def test_a_common_tail_does_not_change_the_prediction_but_the_observation():
    cases = compare(study()).cases
    after = {case.at: case for case in select(cases, tail=True)}
    for case in select(cases, tail=False):
        later = after[case.at._replace(tail=True)]
        one, other = case.predicted["plain"].value, later.predicted["plain"].value
        assert abs(one - other) <= 1e-9 * abs(one)  # roundoff: area of the tail is 0
        assert later.observed.value != case.observed.value


def test_an_excess_is_the_mean_over_seeds_of_branch_less_base_with_its_standard_error():
    results = study()
    branches = results["runs"][1]["branches"]

    def loss(order, delta, seed, when):
        (one,) = (
            b
            for b in branches
            if (b["step"], b["window"], b["order"], b["delta"], b["seed"]) == (120, 30, order, delta, seed)
        )
        return (one["loss"] if when == "before" else one["tail"]["loss"])["ru"]

    cases = compare(results).cases
    for tail, when in ((False, "before"), (True, "after")):
        one, other = (
            np.array([loss(o, 0.06, s, when) - loss("base", 0.0, s, when) for s in range(3)])
            for o in ("12", "21")
        )
        for kind, values in (("12", one), ("21", other), ("orders", (one - other) / 2)):
            (case,) = select(
                cases,
                run=1,
                step=120,
                window=30,
                delta=0.06,
                kind=kind,
                tail=tail,
                targets=("ru",),
            )
            assert case.observed.value == pytest.approx(values.mean(), rel=1e-12)  # roundoff
            error = values.std(ddof=1) / np.sqrt(3)
            assert case.observed.error == pytest.approx(error, rel=1e-9)  # roundoff
            assert case.observed.basis == "seeds"
            assert case.observed.resolved == (abs(values.mean()) > 2 * error)


def test_fewer_seeds_borrow_the_spread_of_others_at_the_same_window_and_never_shrink_it():
    cases = compare(study()).cases

    def errors(delta):
        return {
            c.observed.error
            for c in select(cases, run=0, window=30, delta=delta, kind="12", tail=False, targets=("en",))
        }

    measured = [
        c.observed.values
        for kind in ("12", "21")
        for c in select(cases, run=0, window=30, delta=0.3, kind=kind, tail=False, targets=("en",))
    ]
    spread = np.sqrt(np.mean([np.var(values, ddof=1) for values in measured]))
    assert list(errors(0.15)) == pytest.approx([spread], rel=1e-9)  # roundoff
    assert list(errors(0.45)) == pytest.approx([1.5 * spread], rel=1e-9)  # roundoff


def test_where_no_seed_was_repeated_there_is_no_error_and_nothing_is_resolved():
    cases = select(compare(study()).cases, window=8)
    assert {(case.observed.basis, case.observed.error) for case in cases} == {("none", None)}
    assert not any(case.observed.resolved for case in cases)


def test_signs_ranks_and_ratios_are_those_of_the_listed_cases():
    cases = of_languages(study(), kind="12", tail=False)
    found = agreement(cases, "adam")
    observed = np.array([case.observed.value for case in cases])
    predicted = np.array([case.predicted["adam"].value for case in cases])
    resolved = np.array([case.resolved("adam") for case in cases])
    agree = observed * predicted > 0
    assert (found.all.count, found.all.total) == (agree.sum(), len(cases))
    assert (found.resolved.count, found.resolved.total) == (agree[resolved].sum(), resolved.sum())
    ranks = [np.argsort(np.argsort(x)) for x in (observed, predicted)]
    assert found.rank == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-9)  # roundoff; no ties
    assert found.ratio == pytest.approx(np.percentile(observed / predicted, [10, 50, 90]), rel=1e-12)


@pytest.mark.parametrize(("count", "total"), [(0, 8), (7, 8), (15, 16), (16, 16)])
def test_the_interval_of_a_share_leaves_two_and_a_half_percent_on_each_side(count, total):
    low, high = Share(count, total).interval
    if count:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.025, abs=1e-9)  # roundoff
    if count < total:
        assert binom.cdf(count, total, high) == pytest.approx(0.025, abs=1e-9)  # roundoff
    assert (low, high)[count == total] in (0.0, 1.0) or 0 < count < total


def test_a_share_of_nothing_and_a_rank_of_equal_figures_are_not_made_up():
    assert (Share(0, 0).share, Share(0, 0).interval) == (None, (0.0, 1.0))
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert rank_correlation([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_one_curvature_for_all_is_the_bracket_where_all_curvatures_are_the_same():
    comparison = compare(study(alike=True, noise=0.0))
    for case in comparison.cases:
        exact, rule = case.predicted["plain"].value, case.predicted["curvature"].value
        assert rule == pytest.approx(exact, rel=1e-7)  # roundoff


def test_the_cheap_rules_say_what_they_are_called():
    results = study()
    for run in results["runs"]:
        for point in run["checkpoints"]:
            point["gradients"] = {"cosine": -0.5, "norms": {"en": 2.0, "ru": 1.0}}
    cases = compare(results).cases
    one, two, mean = select(cases, run=0, step=60, window=8, kind="12", tail=False)
    assert [case.at.target for case in (one, two, mean)] == ["en", "ru", "mean"]
    for case, last in ((one, 1), (two, -1)):
        assert np.sign(case.predicted["last"].value) == last  # 12 raises en first: en ends higher
        assert np.sign(case.predicted["cosine"].value) == last
    assert mean.predicted["last"] is None
    assert mean.predicted["norms"].value > 0  # the larger gradient is en's: first is the wrong place
    assert mean.predicted["curvature"].value > 0
    other = select(cases, run=0, step=60, window=8, kind="21", tail=False)[0]
    assert other.predicted["last"].value == -one.predicted["last"].value


def test_a_gradient_that_is_lost_in_noise_makes_no_call():
    results = study()
    for run in results["runs"]:
        for point in run["checkpoints"]:
            point["gradients"] = {"cosine": None, "norms": {"en": None, "ru": 1.0}}
    case = compare(results).cases[0]
    assert [case.predicted[rule] for rule in ("cosine", "norms", "curvature")] == [None] * 3


def test_prediction_stops_working_where_the_signs_are_planted_to_turn():
    def excess(branch, name):
        right = {"12": 1, "21": -1}[branch["order"]] * {"en": 1, "ru": -1}[name]
        return 1e-3 * right * (-1 if branch["window"] == 30 else 1)

    cases = of_languages(with_excess(study(), excess), kind="orders", tail=False)
    found = reach(cases, "last")
    assert (found.signs, found.against, found.sizes) == (8, (30,), None)
    assert (found.better, found.undecided) == ((2, 8), ())


def test_a_right_size_is_a_median_within_a_factor_of_two():
    cases = of_languages(study(), kind="orders", tail=False)
    assert reach(cases, "plain").sizes == 30
    scaled = study()
    scale_effects(scaled, 1.5)  # 0.54 … 0.62 of the prediction at 30 steps becomes less than a half
    assert reach(of_languages(scaled, kind="orders", tail=False), "plain").sizes == 8


def broken(change):
    results = study()
    change(results)
    return results


def rename(results, name):
    """The second domain under another name wherever the comparison reads it."""
    text = json.dumps(results).replace('"ru"', json.dumps(name))
    results.update(json.loads(text))


BAD = {
    "an order that is none": (lambda r: r["runs"][0]["branches"][1].update(order="1"), "order '1'"),
    "unequal tokens": (
        lambda r: r["runs"][0]["branches"][1]["tokens"].update(en=1.0),
        "has tokens .* its base",
    ),
    "unequal flow time": (
        lambda r: r["runs"][0]["branches"][1]["flow_time"].update(en=0.0, ru=0.04),
        "has flow_time .* its base",
    ),
    "another learning rate than the branches'": (
        lambda r: r["runs"][0]["checkpoints"][0].update(lr=2 * LR),
        "flow time .* learning rate",
    ),
    "a branch that comes twice": (
        lambda r: r["runs"][0]["branches"].append(dict(r["runs"][0]["branches"][0])),
        "comes twice",
    ),
    "no runs": (lambda r: r["runs"].clear(), "at least one run"),
    "three domains": (
        lambda r: (r["domains"].append("fr"), r["data"].update(fr={"bytes_per_token": 1.0})),
        "two domains",
    ),
    "a domain called mean": (lambda r: rename(r, "mean"), "a domain is called 'mean'"),
    "a name that no formula can hold": (lambda r: rename(r, "r$u"), r"a domain is called 'r\$u'"),
    "a piece missing": (lambda r: r["runs"][0]["checkpoints"][0].pop("lr"), "KeyError"),
    "a loss that is no number": (
        lambda r: r["runs"][0]["branches"][1]["loss"].update(en=float("nan")),
        "finite",
    ),
    "a target missing": (
        lambda r: r["runs"][0]["checkpoints"][0]["effects"]["plain"]["mixing"].update(
            mix={"en": 1.0, "ru": 0.0}
        ),
        "no target with weights",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_results_that_cannot_be_compared_are_refused_in_one_line(name):
    change, message = BAD[name]
    with pytest.raises(CommuteError, match=message) as caught:
        compare(broken(change))
    assert "\n" not in str(caught.value)


def test_the_comparison_survives_a_study_that_is_not_finished():
    results = study()
    run = results["runs"][0]
    run["branches"] = [b for b in run["branches"] if b["step"] != 20 or b["order"] != "21"]
    run["checkpoints"].pop()
    steps = {case.at.step for case in select(compare(results).cases, run=0)}
    assert steps == {60, 120}


def test_curvature_without_an_error_of_its_own_is_read_as_such():
    results = study()
    assert read(results).runs[0].checkpoints[0].curvature_error == {}
    results["runs"][0]["checkpoints"][0]["curvature_error"] = {"plain": 0.1, "adam": 0.2}
    assert read(results).runs[0].checkpoints[0].curvature_error == {"plain": 0.1, "adam": 0.2}


def test_branches_that_are_compared_with_nothing_are_counted():
    results = study()
    first, second = results["runs"]
    assert [run.left_out for run in read(results).runs] == [0, 0]
    first["branches"] = [
        b for b in first["branches"] if (b["step"], b["window"], b["order"]) != (20, 8, "base")
    ]
    at = [b for b in second["branches"] if b["step"] == 60 and b["window"] == 30 and b["seed"] == 0]
    second["branches"].remove(next(b for b in at if b["order"] == "21"))
    second["checkpoints"] = [point for point in second["checkpoints"] if point["step"] != 200]
    gone = sum(b["step"] == 200 for b in second["branches"])
    assert [run.left_out for run in read(results).runs] == [2, 1 + gone]


def test_reading_is_pure():
    results = study()
    before = json.dumps(results, sort_keys=True)
    held = read(results)
    compare(results)
    assert json.dumps(results, sort_keys=True) == before
    with pytest.raises(AttributeError):
        held.parameters = 3
    assert replace(held, parameters=3).parameters == 3
