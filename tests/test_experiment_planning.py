"""The planning experiment: its oracles against SciPy, determinism, and errors that it would notice."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from commute_verify import WeightSchedule
from commute_verify.errors import CommuteError
from commute_verify.report import Figure, Table
from experiments.planning import PARTS, Settings, orders
from experiments.planning.descents import first_variation
from experiments.planning.every_order import all_orders, every_order
from experiments.planning.orders import criterion, one_problem
from experiments.planning.page import blocks, sentence
from tests.planning_oracles import criterion as criterion_by_hand
from tests.planning_oracles import flow, loss

SMALL = replace(Settings.smoke(), dimension=4, domain_counts=(3,), spans=(0.05,), draws=12)
TOTALS = np.array([0.3, 0.5, 0.2])


def test_all_orders_are_all_permutations():
    assert sorted(map(tuple, all_orders(4).orders.tolist())) == list(permutations(range(4)))
    assert all_orders(4).orders[all_orders(4).find((2, 0, 3, 1))].tolist() == [2, 0, 3, 1]


def assert_every_order(draw):
    problem = one_problem(SMALL, 3, draw)
    A, b, theta = problem.losses.hessians, problem.losses.centers, problem.start
    found = every_order(problem, TOTALS, np.eye(3))
    constant = flow(A, b, [TOTALS], [1.0], theta)
    for row, order in enumerate(all_orders(3).orders.tolist()):
        end = flow(A, b, np.eye(3)[order], TOTALS[order], theta)
        for k in range(3):
            assert abs(found[k, row] - loss(A, b, k, end) + loss(A, b, k, constant)) <= 1e-12  # roundoff


@pytest.mark.parametrize("draw", [0, 5])
def test_every_order_ends_where_scipys_matrix_exponentials_end(draw):
    assert_every_order(draw)


def test_a_planted_error_in_the_flow_is_caught(monkeypatch):
    kept = one_problem

    def planted(*given):
        problem = kept(*given)
        spectra = replace(problem.spectra, values=0.99 * problem.spectra.values)
        return replace(problem, spectra=spectra)

    monkeypatch.setitem(globals(), "one_problem", planted)
    with pytest.raises(AssertionError):
        assert_every_order(0)


def test_the_criterion_is_the_one_written_out():
    problem = one_problem(SMALL, 3, 1)
    expected = criterion_by_hand(problem.losses.hessians, problem.losses.centers, 2, problem.start)
    assert np.abs(criterion(problem, np.eye(3)[2]) - expected).max() <= 1e-12  # roundoff


def variation_by_differences(problem, schedule, h=1e-5):
    A, b = problem.losses.hessians, problem.losses.centers
    found = np.zeros(schedule.weights.shape)
    for at in np.ndindex(found.shape):
        moved = np.zeros_like(found)
        moved[at] = h
        both = (
            loss(A, b, 0, flow(A, b, schedule.weights + sign * moved, schedule.durations, problem.start))
            for sign in (1, -1)
        )
        found[at] = np.subtract(*both) / (2 * h * schedule.durations[at[0]])
    return found


def test_the_first_variation_is_that_of_the_flow():
    problem, rng = one_problem(SMALL, 3, 2), np.random.default_rng(0)
    schedule = WeightSchedule(("1", "2", "3"), np.array([0.5, 1.0, 0.25]), rng.dirichlet(np.ones(3), 3))
    found = first_variation(problem, schedule, np.eye(3)[0])
    assert np.abs(found - variation_by_differences(problem, schedule)).max() <= 1e-8  # order: h² and eps/h
    assert np.abs(found + variation_by_differences(problem, schedule)).max() > 1e-2


def shares(settings):
    return [(cell["found"]["share"], cell["regrets"]) for cell in PARTS["orders"](settings)["cells"]]


def test_on_short_runs_the_best_order_is_found_and_its_reverse_is_the_worst():
    for share, regrets in shares(SMALL):
        assert share == 1
        assert regrets["planned"]["mean"] == 0
        assert regrets["reversed"]["mean"] > 0.99


@pytest.mark.parametrize("planted", [lambda P: -P, lambda P: np.abs(P)])
def test_a_planted_sign_in_P_is_noticed(monkeypatch, planted):
    kept = orders.criterion
    monkeypatch.setattr(orders, "criterion", lambda *given: (lambda P: (P - P.T) / 2)(planted(kept(*given))))
    for share, regrets in shares(SMALL):
        assert share < 1
        assert regrets["planned"]["mean"] > 0.1


@pytest.fixture(scope="module")
def results():
    return {
        name: json.loads(json.dumps(part(Settings.smoke()), allow_nan=False)) for name, part in PARTS.items()
    }


def test_results_are_the_same_when_computed_again(results):
    for name in ("orders", "tilts", "noise"):
        assert json.loads(json.dumps(PARTS[name](Settings.smoke()))) == results[name]


def test_tilts_gain_on_short_runs_and_opposite_ones_lose(results):
    for cell in results["tilts"]["cells"]:
        if cell["T"] == 0.1:
            assert cell["gains"]["share"] == cell["opposite_loses"]["share"] == 1
            assert 0.8 < cell["median"] < 1.2


def test_no_advice_is_given_where_there_is_nothing_to_gain(results):
    null = [cell for cell in results["noise"]["cells"] if cell["signal"] == 0]
    assert all(cell["truth"]["mean"] == 0 for cell in null)
    assert all(cell["advised_count"] <= 3 for cell in null)  # statistical: α < 1e-2 at 5% of 20, fixed seed
    assert any(cell["advised_count"] > 10 for cell in results["noise"]["cells"] if cell["signal"] == 3)


def test_descent_gains_no_less_than_the_tilt_planned_at_the_start(results):
    for cell in results["descents"]["cells"]:
        assert cell["descent"]["mean"] >= cell["tilt"]["mean"] - 1e-4
        assert cell["descent"]["mean"] > 0


def test_the_page_is_a_pure_function_of_the_results(results):
    shown = blocks(results)
    assert shown == blocks(json.loads(json.dumps(results, sort_keys=True)))
    assert [block.name for block in shown if isinstance(block, Figure)] == ["planned-orders"]
    tables = [block for block in shown if isinstance(block, Table)]
    assert [len(table.rows) for table in tables] == [8, 4, 6, 2]
    assert "the planned order is the best of all in" in sentence(results)


@pytest.mark.parametrize(
    "change", [{"draws": 0}, {"spans": ()}, {"level": 1.0}, {"decay": 1.5}, {"domain_counts": (9,)}]
)
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(CommuteError, match="expected"):
        replace(Settings.smoke(), **change)
