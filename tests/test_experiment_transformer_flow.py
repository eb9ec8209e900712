"""Predictions for a small GPT-2 against its gradient flows: orders, derivatives, and errors that show."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.nn import functional as F

from commute_verify import lie_bracket
from commute_verify.errors import CommuteError
from commute_verify.report import Document, Figure, Paragraph, Table, to_html, to_markdown
from experiments.quadratic.predictions import signature_difference
from tests.criterion_models import EPS

pytest.importorskip("transformers", reason="the gpt2 extra brings it")

from experiments.transformer_flow import PARTS, Settings, ladder, predictions, tables
from experiments.transformer_flow.flows import displacement, excess, in_other_steps
from experiments.transformer_flow.languages import alphabets, sentences
from experiments.transformer_flow.page import blocks, glance, sentence
from experiments.transformer_flow.problem import EACH, MIXTURE, trained, untrained

SMOKE = Settings.smoke()
LADDERS = ("swap", "tilt_even", "tilt_skewed")
ORDERS = ((2, 1), (3, 2))


@pytest.fixture(scope="module")
def results():
    return {name: part(SMOKE) for name, part in PARTS.items()}


@pytest.fixture(scope="module")
def problem():
    return trained(SMOKE)


@pytest.fixture(scope="module")
def at(problem):
    return predictions.derivatives(problem.written_out())


def window_of(result):
    return ladder.Window(result["weight"], result["delta"])


def slopes(result, at, order):
    """Slopes of |observed/predicted − 1| at the two shortest windows, predicted again from derivatives."""
    found = {}
    for target, weights in ladder.TARGETS.items():
        for training in ladder.TRAININGS:
            unit = signature_difference(window_of(result).schedule(training, 1.0))
            expansion = predictions.expansion(at, weights, unit)
            cells = tables.column(result, target, training, order)[:2]
            errors = [abs(c["observed"] / expansion.to_order(order, c["dt"]) - 1) for c in cells]
            found[target, training] = np.log(errors[1] / errors[0]) / np.log(cells[1]["dt"] / cells[0]["dt"])
    return found


def assert_slopes(found, expected):
    """Order: p, and not p + 1 or p − 1."""
    assert all(expected - 0.25 < slope < expected + 0.25 for slope in found.values()), found


@pytest.mark.parametrize(("order", "slope"), ORDERS)
@pytest.mark.parametrize("name", LADDERS)
def test_the_error_has_slope_one_at_order_two_and_slope_two_at_order_three(results, at, name, order, slope):
    assert_slopes(slopes(results[name], at, order), slope)
    listed = {
        (s["target"], s["training"]): s["slope"] for s in results[name]["slopes"] if s["order"] == order
    }
    assert_slopes(listed, slope)


def test_the_errors_stand_far_above_the_stated_error_of_what_was_observed(results):
    for name in LADDERS:
        for cell in results[name]["cells"]:
            assert abs(cell["error"]) > 1000 * cell["uncertainty"]


def scaled(at):
    return replace(at, Tgg=1.1 * at.Tgg)


def third_derivatives_left_out(at):
    return replace(at, Tgg=np.zeros_like(at.Tgg))


def languages_exchanged_in_third_derivatives(at):
    return replace(at, Tgg=at.Tgg[::-1])


def hessians_transposed_between_languages(at):
    return replace(at, Hg=at.Hg.swapaxes(0, 1))


def hessians_exchanged(at):
    return replace(at, Hg=at.Hg[::-1])


@pytest.mark.parametrize(
    ("plant", "order", "slope"),
    [
        (scaled, 3, 2),
        (third_derivatives_left_out, 3, 2),
        (languages_exchanged_in_third_derivatives, 3, 2),
        (hessians_transposed_between_languages, 3, 2),
        (hessians_exchanged, 3, 2),
        (hessians_exchanged, 2, 1),
    ],
)
def test_a_planted_error_in_a_derivative_collapses_a_slope(results, at, plant, order, slope):
    with pytest.raises(AssertionError):
        assert_slopes(slopes(results["swap"], plant(at), order), slope)


def test_pytorchs_own_layer_norm_collapses_the_slope_of_order_three(results, problem):
    if results["model"]["third_derivative_gap"] < 1e-6:
        pytest.skip("this PyTorch has a layer_norm with a right third derivative")
    with pytest.raises(AssertionError):
        assert_slopes(slopes(results["swap"], predictions.derivatives(problem), 3), 2)


def negated(kernel):
    return lambda *arguments: -kernel(*arguments)


def letters_reversed(kernel):
    return lambda d1, d2, d3, *rest: kernel(d1, d2, d3.swapaxes(-1, -3), *rest)


@pytest.mark.parametrize(
    ("name", "plant", "order", "slope"),
    [("excess_loss_2", negated, 2, 1), ("excess_loss_3", letters_reversed, 3, 2)],
)
def test_a_planted_error_in_a_kernel_collapses_a_slope(monkeypatch, results, at, name, plant, order, slope):
    kernels = predictions.numpy_kernels
    monkeypatch.setattr(kernels, name, plant(getattr(kernels, name)))
    with pytest.raises(AssertionError):
        assert_slopes(slopes(results["swap"], at, order), slope)


def test_order_two_of_a_swap_is_half_the_squared_window_times_the_bracket_of_the_criterion(problem, at):
    model = with_parameters(problem, problem.theta)
    R = lie_bracket(model, mean_loss, *problem.tokens)
    flat = torch.cat([entry.flatten() for entry in R.values()]).numpy()
    unit = signature_difference(ladder.SWAP.schedule("12", 1.0))
    for weights in ladder.TARGETS.values():
        u = problem.gradient(weights, problem.theta)
        found = predictions.expansion(at, weights, unit).to_order(2, 0.1)
        scale = np.linalg.norm(flat) * np.linalg.norm(u)
        assert abs(found - 0.5 * 0.1**2 * flat @ u) <= 1e3 * EPS * scale  # roundoff: C = 1e3


def with_parameters(problem, theta):
    """A copy of the model that holds a flat vector as its parameters."""
    model = copy.deepcopy(problem.model).requires_grad_()
    torch.nn.utils.vector_to_parameters(torch.tensor(theta), model.parameters())
    return model


def mean_loss(model, tokens):
    logits = model(tokens).logits[:, :-1]
    return F.cross_entropy(logits.mT, tokens[:, 1:]), 1.0


def gradient_of_the_model(problem, theta, language):
    model = with_parameters(problem, theta)
    loss, _ = mean_loss(model, problem.tokens[language])
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()


def test_losses_and_gradients_are_those_of_the_model_itself(problem):
    for k, each in enumerate(EACH):
        loss, gradient = gradient_of_the_model(problem, problem.theta, k)
        assert abs(problem.losses(problem.theta)[k] - loss) <= 64 * EPS * loss  # roundoff: C = 64
        gap = np.abs(problem.gradient(each, problem.theta) - gradient).max()
        assert gap <= 1e3 * EPS * np.abs(gradient).max()  # roundoff: C = 1e3


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def central(f, theta, direction, h=1e-5):
    return (f(theta + h * direction) - f(theta - h * direction)) / (2 * h)


FD = 1e3 * EPS ** (2 / 3)
"""Roundoff and truncation of a central difference with h ~ eps^⅓, C = 1e3."""


def assert_derivatives(problem, at):
    """Products against differences of gradients, third derivatives against differences of products."""
    for i, each in enumerate(EACH):

        def gradient(theta, each=each):
            return problem.gradient(each, theta)

        for j in range(2):

            def product(theta, each=each, j=j):
                vector = torch.from_numpy(at.g[j])
                return replace(problem, theta=theta).hessian_product(each)(vector).numpy()

            assert relative(at.Hg[i, j], central(gradient, problem.theta, at.g[j])) <= FD
            for k in range(2):
                assert relative(at.Tgg[i, j, k], central(product, problem.theta, at.g[k])) <= FD


def test_second_and_third_derivatives_are_those_of_differences(problem, at):
    assert_derivatives(problem, at)


@pytest.mark.parametrize("plant", [scaled, languages_exchanged_in_third_derivatives])
def test_wrong_third_derivatives_are_seen_by_differences(problem, at, plant):
    with pytest.raises(AssertionError):
        assert_derivatives(problem, plant(at))


def test_the_model_written_out_has_the_same_losses_and_derivatives_to_second_order(problem, at):
    twin, own = problem.written_out(), predictions.derivatives(problem)
    assert not any(isinstance(module, torch.nn.LayerNorm) for module in twin.model.modules())
    assert np.abs(twin.losses(problem.theta) / problem.losses(problem.theta) - 1).max() <= 64 * EPS
    assert relative(at.g, own.g) <= 1e3 * EPS  # roundoff: C = 1e3
    assert relative(at.Hg, own.Hg) <= 1e3 * EPS


def test_the_report_says_how_far_pytorchs_own_third_derivative_is_off(results, problem, at):
    gap = results["model"]["third_derivative_gap"]
    assert (
        abs(gap - relative(predictions.derivatives(problem).Tgg, at.Tgg)) <= 1e-7 * gap
    )  # 8 digits are kept
    for value, words in ((0.42, "wrong by 42%"), (1e-14, "the same here")):
        changed = results | {"model": results["model"] | {"third_derivative_gap": value}}
        assert any(words in block.text for block in blocks(changed) if isinstance(block, Paragraph))


@pytest.fixture(scope="module")
def rk45(problem):
    """Losses (K,) at the end of each schedule by another integrator, of θ itself, and the model itself."""

    def losses(stages):
        theta = problem.theta
        for duration, weights in stages:

            def descent(_, point, weights=weights):
                return -sum(
                    w * gradient_of_the_model(problem, point, k)[1] for k, w in enumerate(weights) if w
                )

            solved = solve_ivp(descent, (0, duration), theta, method="RK45", rtol=1e-9, atol=1e-12)
            theta = solved.y[:, -1]
        return np.array([gradient_of_the_model(problem, theta, k)[0] for k in range(2)])

    dt = SMOKE.windows[-1]
    base = losses([(2 * dt, (0.5, 0.5))])
    return {
        "12": losses([(dt, (1, 0)), (dt, (0, 1))]) - base,
        "21": losses([(dt, (0, 1)), (dt, (1, 0))]) - base,
    }


def assert_observed(result, rk45):
    for target, weights in ladder.TARGETS.items():
        for training, differences in rk45.items():
            seen = tables.column(result, target, training, 2)[-1]["observed"]
            # order: RK45 holds θ to 1e-9 or so; the differences of losses keep 1e-13 of numbers ~ 1e-5
            assert abs(seen - weights @ differences) <= 1e-5 * np.abs(differences).max()


def test_what_was_observed_is_seen_by_another_integrator_of_the_model_itself(results, rk45):
    assert_observed(results["swap"], rk45)


def test_training_in_the_other_order_would_be_noticed(results, rk45):
    with pytest.raises(AssertionError):
        assert_observed(results["swap"], {"12": rk45["21"], "21": rk45["12"]})


def test_an_excess_is_the_difference_of_losses_and_keeps_its_digits_where_that_does_not(problem):
    base, gap = np.zeros_like(problem.theta), 0.1 * problem.gradient(EACH[0], problem.theta)
    straight = problem.losses(problem.theta + gap) - problem.losses(problem.theta)
    assert np.abs(excess(problem, base, gap, 10) - straight).max() <= 64 * EPS * np.abs(straight).max() * 10
    tiny = 1e-12 * gap
    linear = np.array([problem.gradient(each, problem.theta) @ tiny for each in EACH])
    assert np.abs(excess(problem, base, tiny, 4) / linear - 1).max() <= 1e-9  # order: O(|tiny|)
    straight = problem.losses(problem.theta + tiny) - problem.losses(problem.theta)
    assert np.abs(straight / linear - 1).max() > 1e-6


def test_cutting_stages_changes_the_steps_and_not_the_flow(problem):
    schedule = ladder.SWAP.schedule("12", 1e-2)
    cut = in_other_steps(schedule)
    assert len(cut.durations) == 3
    assert cut.totals() == pytest.approx(schedule.totals(), rel=4 * EPS)  # roundoff: C = 4
    whole, pieces = (displacement(problem, s, SMOKE.rtol) for s in (schedule, cut))
    assert 0 < relative(pieces, whole) <= 10 * SMOKE.rtol  # order: rtol a step


def test_the_same_settings_give_the_same_numbers(results):
    trained.cache_clear()
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert json.dumps(PARTS["tilt_skewed"](SMOKE)) == json.dumps(results["tilt_skewed"])  # exact


def test_another_seed_gives_another_model_and_other_sentences():
    other = replace(SMOKE, seed=SMOKE.seed + 1)
    assert not np.array_equal(untrained(SMOKE).theta, untrained(other).theta)
    assert not np.array_equal(sentences(SMOKE), sentences(other))


def test_the_languages_share_words_and_have_words_of_their_own():
    first, second = alphabets(16)
    assert set(first) & set(second) == set(range(8))
    assert set(first) | set(second) == set(range(16))
    tokens = sentences(replace(SMOKE, rows=200))
    for batch, alphabet in zip(tokens, (first, second), strict=True):
        assert set(batch.ravel()) == set(alphabet)


def test_training_lowers_the_loss_of_each_language_and_the_mixture_is_their_mean(problem, results):
    model = results["model"]
    assert all(after < before for before, after in zip(model["losses_before"], model["losses"], strict=True))
    theta = torch.from_numpy(problem.theta)
    mean = problem.losses(problem.theta).mean()
    assert abs(float(problem.loss(MIXTURE, theta)) - mean) <= 64 * EPS * mean  # roundoff: C = 64


def test_the_largest_curvature_is_that_of_the_dense_hessian(problem, results):
    product = problem.hessian_product(MIXTURE)
    H = torch.stack([product(e) for e in torch.eye(problem.theta.size, dtype=torch.float64)]).numpy()
    truth = np.linalg.eigvalsh((H + H.T) / 2)[-1]
    assert abs(results["model"]["lambda_max"] - truth) <= 1e-7 * truth  # roundoff: results keep 8 digits


def test_the_page_is_a_pure_function_of_the_results(results):
    shown = blocks(json.loads(json.dumps(results, sort_keys=True)))
    assert shown == blocks(results)
    assert [block.name for block in shown if isinstance(block, Figure)] == ["transformer-flow"]
    document = Document("Title", Paragraph(sentence(results)), (*glance(results), *shown))
    for text in (to_html(document), to_markdown(document)):
        assert "Where it fails" in text
    ratio = f"{1 + tables.column(results['swap'], 'L', '12', 2)[0]['error']:.3f}"
    assert glance(results)[1].rows[0][2] == ratio


def test_wrong_signs_and_a_worse_order_three_are_counted(results):
    assert "signs are wrong" in tables.failures(results)
    changed = json.loads(json.dumps(results))
    cells = [cell for name in LADDERS for cell in changed[name]["cells"]]
    for cell in cells:
        cell.update(observed=1.0, predicted=1.0, error=0.1 if cell["order"] == 2 else 0.0)
    assert "0 of 54 signs are wrong. At order 3, 0 of 54" in tables.failures(changed)
    assert "Order 3 is nowhere further off" in tables.failures(changed)
    cells[0].update(predicted=-1.0)
    cells[1].update(error=0.2)
    assert "At order 2, 1 of 54 signs are wrong, the first at" in tables.failures(changed)
    assert "further off than order 2 in 1 of 54 cells" in tables.failures(changed)


def test_the_reach_of_a_prediction_ends_at_its_first_failure(results):
    changed = json.loads(json.dumps(results))
    for name in LADDERS:
        for cell in changed[name]["cells"]:
            at = changed[name]["windows"].index(cell["dt"])
            cell.update(error=(0.005, 0.6, 0.005)[at], observed=1.0, predicted=1.0)
    table = next(b for b in blocks(changed) if isinstance(b, Table) and b.columns[2] == "1% up to")
    reach = changed["swap"]["lambda_max"] * np.array(SMOKE.windows)
    assert table.rows[0][2:6] == (f"{reach[0]:.2g}", f"{reach[0]:.2g}", f"{reach[1]:.2g}", "never")


@pytest.mark.parametrize(
    "change",
    [
        {"windows": (0.1,)},
        {"windows": (0.2, 0.1)},
        {"windows": ()},
        {"tilt_even": (0.5, 0.6)},
        {"tilt_skewed": (0.9, 0.2)},
        {"momentum": 1.0},
        {"width": 7},
        {"nodes": 2},
        {"rows": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(change):
    with pytest.raises(CommuteError, match="expected"):
        replace(SMOKE, **change)
