"""``auto``: which rung it asks first, what it keeps, and when it abstains."""

from dataclasses import replace

import numpy as np
import pytest

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.lanczos import AsymmetryError
from commute_verify.criterion.prediction import ladder, local, trajectory
from commute_verify.criterion.prediction.asking import Options, Setting, ask
from commute_verify.criterion.prediction.local import local_price
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.trajectory import trajectory_price
from tests.test_prediction_ladder import SCHEDULE, TARGETS, THETA, Point, asked, bent, data, warmed


def test_auto_takes_the_cheapest_rung_that_answers():
    short, longer = asked(1e-3), asked(0.02)
    assert {short[name].predictor for name in short} == {"local"}
    assert [one.predictor for one in longer.tried] == ["local", "frozen-curvature"]
    assert longer.answered
    assert longer.cost.gradients == sum(one.cost.gradients for one in longer.tried)
    assert "valid" in repr(longer)
    assert "frozen-curvature" not in repr(short)


def nearly_alike(replicates):
    """Batches for a trajectory of every replicate; replicates differ by a thousandth."""
    return {
        name: [(A, b + 1e-3 * r) for r in range(replicates) for A, b in found * int(SCHEDULE.durations.sum())]
        for name, found in data().items()
    }


def test_auto_asks_the_trajectory_of_replicates_and_not_frozen_curvature_which_costs_more():
    batches = nearly_alike(2)
    found = asked(0.02, batches=batches, replicates=2)
    assert [one.predictor for one in found.tried] == ["trajectory"]
    assert found.answered
    dearer = asked(0.02, batches=batches, replicates=2, predictor="frozen-curvature")
    assert dearer.answered
    assert dearer.cost.gradient_equivalents > 4 * found.cost.gradient_equivalents
    close = [[one[name].value for name in TARGETS] for one in (found, dearer)]
    assert np.abs(np.subtract(*close)).max() < 0.02 * np.abs(close).max()


def many(batches, times):
    """The same losses, of as many times as many batches."""
    return {name: found * times for name, found in batches.items()}


def test_auto_asks_the_trajectory_first_where_local_goes_through_many_more_batches():
    found = asked(1e-3, batches=many(nearly_alike(2), 8), replicates=2)
    assert [one.predictor for one in found.tried] == ["trajectory"]
    assert found.answered
    alone = asked(1e-3, batches=many(nearly_alike(2), 8), replicates=2, predictor="local")
    assert alone.answered
    assert alone.cost.gradient_equivalents > found.cost.gradient_equivalents


def test_auto_asks_local_first_where_it_is_the_cheaper():
    found = asked(1e-3, batches=nearly_alike(2), replicates=2, exchange=3)
    assert [one.predictor for one in found.tried] == ["local"]
    assert found.answered


@pytest.mark.parametrize(("eta", "times"), [(1e-3, 8), (0.02, 1)])
def test_auto_asks_nothing_dearer_that_knows_less_where_a_trajectory_abstains(eta, times):
    batches = many(nearly_alike(2), times)
    found = asked(eta, batches=batches, replicates=2, points=1)  # a sweep is held against nothing
    assert [one.predictor for one in found.tried] == ["trajectory"]
    assert not found.answered


def assert_foretold(questions, tally, rung, price, search=0):
    """What a rung took is what was foretold, but for at most ``search`` gradients for differences' steps."""
    told = sum(price(question) for question in questions)
    ladder.predicted(rung, questions, tally)
    taken = questions[0].cost(tally).gradient_equivalents
    assert told <= taken <= told + search


PRICES = [("local", local_price), ("trajectory", trajectory_price)]


def question(method, setting=None, **options):
    return ask(
        Point(THETA),
        bent,
        nearly_alike(2),
        SCHEDULE,
        TARGETS,
        many(data(5), 2),
        setting or Setting(1e-3),
        Options(2, method=method, **options),
    )


@pytest.mark.parametrize("options", [{}, {"points": 1}, {"points": 2, "exchange": 3}])
@pytest.mark.parametrize(("method", "search"), [("double-backward", 0), ("finite-difference", 2 * 3 * 20)])
@pytest.mark.parametrize(("rung", "price"), PRICES)
def test_prices_are_foretold(rung, price, method, search, options):
    assert_foretold(*question(method, **options), rung, price, search)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(1e-3, clip_norm=1e6),
        Setting(1e-3, lr=[1e-3, 2e-3, 3e-3, 1e-3, 1e-3, 1e-3]),
        Setting(1e-3, WeightSchedule.constant({"a": 0.5, "b": 0.25, "c": 0.25}, 6)),
        Setting(1e-3, WeightSchedule(("a", "b", "c"), np.array([3.0, 3.0]), np.eye(3)[:2])),
    ],
    ids=["clipped", "rates", "against", "without-c"],
)
@pytest.mark.parametrize(("rung", "price"), PRICES)
def test_prices_know_what_a_setting_adds(rung, price, setting):
    assert_foretold(*question("double-backward", setting), rung, price)


@pytest.mark.parametrize(("rung", "price"), PRICES)
def test_products_that_a_price_leaves_out_are_caught(rung, price, monkeypatch):
    for module in (local, trajectory):
        monkeypatch.setattr(module, "PRODUCT", 0)
    with pytest.raises(AssertionError):
        assert_foretold(*question("double-backward"), rung, price)


def test_auto_keeps_what_an_earlier_rung_answers(monkeypatch):
    right = ladder.predicted

    def half(rung, questions, tally):
        """Local answers the first target alone, and later rungs neither."""
        found = right(rung, questions, tally)
        names = ["a"] if rung == "local" else []
        told = {
            name: one._replace(verdict=one.verdict._replace(valid=name in names))
            for name, one in found.excess.items()
        }
        return replace(found, excess=told)

    monkeypatch.setattr(ladder, "predicted", half)
    found = asked(1e-3)
    assert [found[name].predictor for name in TARGETS] == ["local", "frozen-curvature"]
    assert [found[name].answered for name in TARGETS] == [True, False]


def test_auto_goes_on_where_products_are_too_noisy_for_a_rung(monkeypatch):
    def noisy(questions):
        raise AsymmetryError("the operator is not symmetric")

    monkeypatch.setitem(ladder.RUNGS, "local", noisy)
    found = asked(0.02)
    assert found.answered
    assert not found.tried[0].answered
    assert found.tried[0]["a"].verdict.quantity == "products that noise hides"
    assert "not symmetric" in found.tried[0]["a"].verdict.words


def test_one_replicate_of_the_trajectory_comes_after_what_answers_for_other_batches():
    found = asked(0.02, batches=nearly_alike(1))
    assert [one.predictor for one in found.tried] == ["local", "frozen-curvature"]


def test_auto_goes_to_the_trajectory_where_the_optimizer_remembers():
    model, optimizer = warmed()
    batches = {name: found * 6 for name, found in data().items()}
    found = predict_excess_loss(model, bent, batches, SCHEDULE, TARGETS, optimizer=optimizer, points=3)
    assert {found[name].predictor for name in found} == {"trajectory"}
    with pytest.raises(CommuteError, match="optimizer that remembers"):
        predict_excess_loss(model, bent, data(), SCHEDULE, TARGETS, optimizer=optimizer)


def test_auto_abstains_where_no_rung_is_valid():
    found = asked(3.0)
    assert not found.answered
    assert "abstains" in repr(found)


def test_auto_says_that_the_trajectory_was_not_tried_for_want_of_batches():
    left_out = "the trajectory was not tried: it takes "
    each = "a batch of every domain for each of 6 steps, and domain 'a' has 1"
    assert left_out + each in asked(3.0).notes
    replicated = asked(3.0, batches={name: each * 2 for name, each in data().items()}, replicates=2)
    assert f"{left_out}{each} in each of 2 replicates" in replicated.notes
    halves = WeightSchedule.blocks({"a": 2.5, "b": 1.5, "c": 2.0})
    assert f"{left_out}whole steps, and durations are [2.5, 1.5, 2.0]" in asked(3.0, halves).notes
    assert left_out not in asked(1e-3).notes
    assert left_out not in asked(3.0, batches={name: found * 6 for name, found in data().items()}).notes
