"""The quadratic experiment: predictions against flows, determinism, and errors that it would notice."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import binom

from commute_verify.data import published
from commute_verify.errors import CommuteError
from commute_verify.report import Figure, Table
from experiments.quadratic import PARTS, Settings, predictions, table1
from experiments.quadratic.many_domains import cells as many_cells
from experiments.quadratic.many_domains import random_schedule
from experiments.quadratic.page import blocks, glance, sentence
from experiments.quadratic.plane import LOSSES
from experiments.quadratic.problems import Stream, chunks, fixed, sample
from experiments.quadratic.statistics import share_of
from experiments.quadratic.table1 import cells, table1_fresh

SMALL = replace(
    Settings.smoke(), dimension=8, draws=24, times=(0.3,), windows=(0.08, 0.04, 0.02, 0.01), chunk=24
)
LADDER = np.array(SMALL.windows)


def median_errors(order, training="12", target="L"):
    """Median of |observed/predicted − 1| over the draws, at each window."""
    found = dict(cells(SMALL, sample(SMALL, Stream.FRESH, range(SMALL.draws))))
    pairs = [found[0.3, dt, target, training, order] for dt in SMALL.windows]
    return np.array([np.median(np.abs(pair.observed / pair.predicted - 1)) for pair in pairs])


def last_slope(errors):
    return np.log(errors[-2] / errors[-1]) / np.log(LADDER[-2] / LADDER[-1])


def assert_slope(errors, expected):
    assert expected - 0.2 < last_slope(errors) < expected + 0.2  # order: p and not p + 1; floor 1e-9 ≪ errors


@pytest.mark.parametrize("target", ["L", "L1", "L2"])
@pytest.mark.parametrize("training", ["12", "21"])
@pytest.mark.parametrize(("order", "slope"), [(2, 1), (3, 2)])
def test_the_ratio_tends_to_one_with_slope_one_at_order_two_and_slope_two_at_order_three(
    order, slope, training, target
):
    assert_slope(median_errors(order, training, target), slope)


def negated(kernel):
    return lambda *arguments: -kernel(*arguments)


def halved(kernel):
    return lambda *arguments: 0.5 * kernel(*arguments)


def areas_transposed(kernel):
    return lambda d1, d2, *rest: kernel(d1, d2.swapaxes(-1, -2), *rest)


def a_tenth_of_the_letters_reversed(kernel):
    return lambda d1, d2, d3, *rest: kernel(d1, d2, d3 + 0.1 * d3.swapaxes(-1, -3), *rest)


PLANTED = [
    ("excess_loss_2", negated, 2, 1),
    ("excess_loss_2", halved, 2, 1),
    ("excess_loss_2", areas_transposed, 2, 1),
    ("excess_loss_3", a_tenth_of_the_letters_reversed, 3, 2),
]


@pytest.mark.parametrize(("name", "plant", "order", "slope"), PLANTED)
def test_a_planted_error_in_a_prediction_collapses_the_slope(monkeypatch, name, plant, order, slope):
    kernels = predictions.numpy_kernels
    monkeypatch.setattr(kernels, name, plant(getattr(kernels, name)))
    with pytest.raises(AssertionError):
        assert_slope(median_errors(order), slope)


def test_training_in_the_other_order_is_noticed(monkeypatch):
    monkeypatch.setattr(table1, "TRAININGS", {"12": (1, 0), "21": (0, 1)})
    with pytest.raises(AssertionError):
        assert_slope(median_errors(2), 1)


def test_order_two_is_half_the_squared_window_times_the_criterion():
    problem = sample(SMALL, Stream.FRESH, range(6))
    at = predictions.local_terms(problem.losses, problem.start, [np.array([0.5, 0.5])])[0]
    P = predictions.numpy_kernels.order_criterion(at.g, at.Hu)[:, 0, 1]
    predicted = predictions.expansion(at, table1.swap_signature("12")).to_order(2, 0.1)
    scale = np.max(np.abs(at.g)) ** 2 * SMALL.dimension
    assert (
        np.max(np.abs(predicted - 0.5 * 0.1**2 * P)) <= 64 * np.finfo(float).eps * scale
    )  # roundoff: C = 64


def test_the_observed_excess_is_that_of_scipys_matrix_exponentials():
    settings = replace(SMALL, windows=(0.1,))
    problem = sample(settings, Stream.FRESH, range(3))
    found = dict(cells(settings, problem))
    A, b = problem.losses.hessians, problem.losses.centers

    def flow(draw, w, time, theta):
        generator = np.zeros((9, 9))
        generator[:8, :8] = -sum(w[k] * A[draw, k] for k in range(2))
        generator[:8, 8] = sum(w[k] * A[draw, k] @ b[draw, k] for k in range(2))
        return (expm(time * generator) @ np.append(theta, 1.0))[:8]

    def losses(draw, theta):
        return np.array([0.5 * (theta - b[draw, k]) @ A[draw, k] @ (theta - b[draw, k]) for k in range(2)])

    half, ones = np.array([0.5, 0.5]), np.eye(2)
    for draw in range(3):
        theta = flow(draw, half, 0.3, problem.start[draw])
        base = losses(draw, flow(draw, half, 0.2, theta))
        for training, (i, j) in (("12", (0, 1)), ("21", (1, 0))):
            end = losses(draw, flow(draw, ones[j], 0.1, flow(draw, ones[i], 0.1, theta)))
            for target, w in (("L", half), ("L1", ones[0]), ("L2", ones[1])):
                observed = found[0.3, 0.1, target, training, 2].observed[draw]
                limit = 64 * np.finfo(float).eps * np.max(base + end)  # roundoff: C = 64, κ = |L|
                assert abs(observed - w @ (end - base)) <= limit


@pytest.mark.parametrize("domains", [3, 5])
@pytest.mark.parametrize(("order", "slope"), [(2, 1), (3, 2)])
def test_random_schedules_of_many_domains_are_predicted_to_the_order_claimed(domains, order, slope):
    found = dict(many_cells(replace(SMALL, spans=SMALL.windows), domains, range(24)))
    pairs = [found[domains, T, "L", order] for T in SMALL.windows]
    assert_slope([np.median(np.abs(pair.observed / pair.predicted - 1)) for pair in pairs], slope)


def test_a_draw_does_not_depend_on_the_chunk_that_it_is_computed_in():
    one = sample(SMALL, Stream.FRESH, range(5, 6))
    many = sample(SMALL, Stream.FRESH, range(0, 8))
    assert np.array_equal(one.losses.hessians[0], many.losses.hessians[5])  # exact
    assert np.array_equal(one.start[0], many.start[5])  # exact
    assert random_schedule(SMALL, 3, 5) == random_schedule(SMALL, 3, 5)
    assert [draw for chunk in chunks(10, 4) for draw in chunk] == list(range(10))
    assert table1_fresh(SMALL) == table1_fresh(replace(SMALL, chunk=5))  # exact, after rounding to 8 digits


def test_another_seed_gives_other_draws():
    other = replace(SMALL, seed=SMALL.seed + 1)
    assert not np.array_equal(
        sample(SMALL, Stream.FRESH, range(1)).start, sample(other, Stream.FRESH, range(1)).start
    )


def test_the_matrices_have_the_spectrum_of_appendix_b_and_are_turned_independently():
    problem = sample(SMALL, Stream.FRESH, range(2))
    for draw, k in np.ndindex(2, 2):
        eigenvalues = np.linalg.eigvalsh(problem.losses.hessians[draw, k])[::-1]
        assert (
            np.max(np.abs(eigenvalues - 0.7 ** np.arange(8))) <= 64 * np.finfo(float).eps
        )  # roundoff: C = 64
    A1, A2 = problem.losses.hessians[0]
    assert np.linalg.norm(A1 @ A2 - A2 @ A1) > 0.01


def test_the_fixed_reading_keeps_its_matrices_and_draws_only_the_starts():
    problem = fixed(SMALL, 0)
    assert problem.losses.hessians.shape == (2, 8, 8)
    assert problem.start.shape == (SMALL.draws, 8)
    assert not np.array_equal(problem.losses.hessians, fixed(SMALL, 1).losses.hessians)


def test_orthogonal_matrices_have_no_preferred_sign():
    n, draws = 2, 4000
    vectors = sample(replace(SMALL, dimension=n), Stream.FRESH, range(draws), domains=1).spectra.vectors
    positive = int(np.sum(vectors[:, 0, 0, 0] > 0))
    # statistical: α = 1e-6, seed of SMALL, n = 4000 draws; without the sign correction all are of one sign
    assert binom.ppf(5e-7, draws, 0.5) <= positive <= binom.ppf(1 - 5e-7, draws, 0.5)


@pytest.mark.parametrize(("count", "total"), [(0, 20), (3, 20), (20, 20), (1, 1000)])
def test_the_interval_is_where_the_binomial_tails_are_half_of_the_level(count, total):
    interval = share_of(count, total, 0.95)
    limit = 1e-9  # roundoff: accuracy of scipy's inverse beta, amplified by the tail's slope ≤ total
    if count > 0:
        assert abs(binom.sf(count - 1, total, interval["low"]) - 0.025) <= limit
    if count < total:
        assert abs(binom.cdf(count, total, interval["high"]) - 0.025) <= limit
    assert interval["low"] <= interval["share"] <= interval["high"]


@pytest.fixture(scope="module")
def results():
    return {name: part(Settings.smoke()) for name, part in PARTS.items()}


def test_results_are_plain_and_finite_and_the_same_when_computed_again(results):
    text = json.dumps(results, allow_nan=False)
    assert json.loads(text) == results
    again = {name: part(Settings.smoke()) for name, part in PARTS.items()}
    assert json.dumps(again) == text


def test_every_cell_keeps_its_sign_failures(results):
    for part in ("table1_fresh", "many_domains"):
        for cell in results[part]["cells"]:
            assert cell["low"] <= cell["share"] <= cell["high"]
            share = cell["sign_failures"] / results[part]["draws"]
            assert abs(cell["share"] - share) <= 5e-8 * share  # roundoff: results keep 8 digits
    assert len(results["table1_fresh"]["cells"]) == 4 * 3 * 3 * 2 * 2
    assert {len(cell["sign_failures"]) for cell in results["table1_fixed"]["cells"]} == {3}


def test_the_bracket_closes_the_gap_of_figure_one_to_third_order(results):
    ladder = results["figure1"]["ladder"]
    assert 1.95 < ladder["gap_slope"] < 2.05  # order 2 and not 3
    assert 2.95 < ladder["remainder_slope"] < 3.05  # order 3 and not 4
    for path in results["figure1"]["paths"]:
        gap = np.array(path["12"][-1]) - np.array(path["21"][-1])
        assert np.max(np.abs(gap - path["gap"])) <= 1e-7  # roundoff: results keep 8 digits of numbers ≤ 3


def test_the_curves_of_figure_two_end_at_the_optimum_and_the_mixture_never_rises(results):
    figure2 = results["figure2"]
    curves = np.array(figure2["curves"])
    mixture = curves.mean(axis=-1)
    floor = 1e-7 * mixture.max()  # roundoff: results keep 8 digits
    assert np.max(np.diff(mixture, axis=1)) <= floor
    assert all(entry["mixture"] == 0 for entry in figure2["rising"])
    assert figure2["rising_curves"] > 0
    A, b = LOSSES.hessians, LOSSES.centers
    best = np.linalg.solve(A[0] + A[1], A[0] @ b[0] + A[1] @ b[1])
    expected = [0.5 * (best - b[k]) @ A[k] @ (best - b[k]) for k in range(2)]
    assert np.max(np.abs(curves[:, -1] - expected)) <= floor


def test_the_page_is_a_pure_function_of_the_results_and_shows_the_published_table(results):
    shown = blocks(json.loads(json.dumps(results, sort_keys=True)))
    assert shown == blocks(results)
    names = [block.name for block in shown if isinstance(block, Figure)]
    assert names == ["table-1", "quadratic-paths", "quadratic-losses", "many-domains"]
    _, at_a_glance = glance(results)
    both_readings = next(block for block in shown if isinstance(block, Table))
    table = published()["table1"]
    for at, row in enumerate(table["rows"]):
        for column in range(3):
            expected = f"{row['median'][column]:.3f} ± {row['range'][column]:.3f}"
            cells = at_a_glance.rows[at][1 + 2 * column], both_readings.rows[3 * at + column][2]
            assert [cell.replace("\u00a0", " ") for cell in cells] == [expected, expected]
    assert "signs are wrong" in sentence(results)


@pytest.mark.parametrize(
    "change", [{"draws": 0}, {"windows": ()}, {"times": (0.1, -1.0)}, {"level": 1.0}, {"decay": 1.5}]
)
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(CommuteError, match="expected"):
        replace(Settings.smoke(), **change)
