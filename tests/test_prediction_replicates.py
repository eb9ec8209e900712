"""Several replicates of a trajectory are judged as their mean; more targets than domains are mixed after."""

import numpy as np
import pytest

from commute_verify.criterion.prediction import trajectory
from commute_verify.criterion.prediction.predict import predict_excess_loss
from commute_verify.criterion.prediction.rung import Replicated
from commute_verify.criterion.prediction.trajectory import Path, judged
from commute_verify.schedules import WeightSchedule
from tests.test_prediction_trajectory import NAMES, STEPS, language_model, next_token_loss, one_thread, tokens

NODES, WIDTHS = np.polynomial.legendre.leggauss(3)
PLACES = (NODES + 1) / 2


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def parabola(scale, missing):
    """Slopes 1 + x + x², whose integral is 11/6, and losses that rise by ``missing`` more than they say."""
    rise = PLACES + PLACES**2 / 2 + PLACES**3 / 3
    told = scale * (rise + missing * (rise[-1] - rise[0]) * (PLACES > 0.5))
    return Path(PLACES, WIDTHS / 2, scale * (1 + PLACES + PLACES**2)[:, None], told[:, None])


def test_slopes_that_explain_their_losses_integrate_to_the_excess():
    found = parabola(2.0, 0.0)
    assert found.excess == pytest.approx([2 * 11 / 6])  # roundoff
    (verdict,) = judged([found])
    assert verdict.valid
    assert verdict.value < 1e-12  # roundoff


@pytest.mark.parametrize(
    ("missing", "valid"),
    [((0.3, -0.3), True), ((0.3, 0.3), False), ((0.0, 0.3), False), ((0.0, 0.1), True)],
    ids=["opposite", "alike", "one", "a little in one"],
)
def test_what_is_judged_is_what_the_mean_leaves_unexplained(missing, valid):
    paths = [parabola(1.0, each) for each in missing]
    (verdict,) = judged(paths)
    assert verdict.valid is valid
    assert verdict.value == pytest.approx(abs(np.mean(missing)) * _share(), abs=1e-12)  # roundoff
    worst = max(judged([path])[0].value for path in paths)
    assert worst >= verdict.value  # planted: the worst replicate would abstain for "opposite"
    assert (worst <= trajectory.UNEXPLAINED) == (max(map(abs, missing)) * _share() <= trajectory.UNEXPLAINED)


def _share():
    """The rise between the outer points over the whole integral."""
    rise = PLACES + PLACES**2 / 2 + PLACES**3 / 3
    return (rise[-1] - rise[0]) / (11 / 6)


def test_replicates_that_cancel_are_not_answered_by_sign():
    paths = [parabola(1.0, 0.0), parabola(-1.0, 0.0), parabola(1.1, 0.0)]
    found = Replicated(np.stack([one.excess for one in paths]), judged(paths))
    (value,), (stderr,), (verdict,) = found.mean()
    assert value == pytest.approx(11 / 6 * 1.1 / 3)
    assert stderr == pytest.approx(11 / 6 * np.std([1, -1, 1.1], ddof=1) / np.sqrt(3))
    assert "p-value" in verdict.words
    assert not verdict.valid


def asked(targets, **options):
    tilt = WeightSchedule.tilt(dict.fromkeys(NAMES, 1 / 3), "a", "b", 0.2, STEPS // 2)
    return predict_excess_loss(
        language_model(),
        next_token_loss,
        tokens(0),
        tilt,
        targets,
        optimizer=0.3,
        held_out=tokens(5, 2),
        predictor="trajectory",
        **options,
    )


ALONE = {name: {name: 1.0} for name in NAMES}
MIXED = {"mixture": {"a": 0.2, "b": 0.3, "c": 0.5}}


def test_more_targets_than_domains_cost_no_more_and_are_the_same():
    found, alone, mixture = asked(ALONE | MIXED), asked(ALONE), asked(MIXED)
    for name in NAMES:
        assert found[name].value == alone[name].value
    assert found["mixture"].value == pytest.approx(mixture["mixture"].value, rel=1e-10)  # roundoff
    assert found["mixture"].verdict.value == pytest.approx(mixture["mixture"].verdict.value, rel=1e-6)
    assert found.cost == alone.cost


def test_a_mixture_that_is_put_together_by_other_weights_is_told_apart():
    found, swapped = asked(ALONE | MIXED), asked(ALONE | {"mixture": {"a": 0.5, "b": 0.3, "c": 0.2}})
    assert abs(swapped["mixture"].value / found["mixture"].value - 1) > 0.1  # planted: swapped order


def test_domains_that_no_target_weighs_are_not_swept():
    two = {"a": {"a": 1.0}, "b": {"b": 1.0}, "both": {"a": 0.5, "b": 0.5}}
    found = asked(two)
    assert found["both"].value == pytest.approx((found["a"].value + found["b"].value) / 2)  # roundoff
    assert found.cost.products < asked(ALONE).cost.products
