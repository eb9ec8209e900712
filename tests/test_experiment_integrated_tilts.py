"""The study of tilts at Gauss points: its pieces are what the library answers, and its page."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest

import commute_verify as cv
from commute_verify.errors import CommuteError
from commute_verify.report import Table
from experiments.integrated_tilts import Settings, page, sizes, statistics
from experiments.integrated_tilts.__main__ import parts
from experiments.integrated_tilts.run import pieces
from experiments.integrated_tilts.settings import Cell, Counts
from experiments.integrated_tilts.sizes import parts as sizes_parts
from experiments.integrated_tilts.statistics import PREDICTOR, name, summed_up
from experiments.integrated_tilts.tilts import observed, predicted
from experiments.optimizer_windows.observed import observed as every_case
from experiments.optimizer_windows.predicted import TARGET_WEIGHTS
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import checkpoints, loss_fn

SMALL = replace(
    Settings.smoke(),
    windows=replace(Settings.smoke().windows, starts=((1e-3, 6),), held_out_rows=8),
    counts=(Counts(1, 2, 3), Counts(2, 2, 3, 2)),
)
CELL, K = SMALL.cells[0], 2


@pytest.fixture(scope="module")
def found():
    return {key: work() for key, work in pieces(SMALL).items()}


@pytest.fixture(scope="module")
def summary(found):
    return summed_up(SMALL, found)


def told_by(verdict):
    """A verdict without what it measured, which near 0 is roundoff."""
    return re.sub(r"(?<= is )[^ ,]+(?=, )", "", verdict)


def asked(points):
    start = checkpoints(SMALL.windows)[SMALL.windows.starts[0]]
    tilt, mirror = SMALL.case(CELL, K).schedules(SMALL.windows)
    seeds = SMALL.predicted(K)
    windows = [texts(SMALL.windows).window(seed) for seed in seeds]
    return cv.predict_excess_loss(
        start.model,
        loss_fn,
        {domain: [batch for one in windows for batch in one[domain][: 2 * K]] for domain in "abcd"},
        tilt,
        TARGET_WEIGHTS,
        against=mirror,
        optimizer=start.optimizer,
        held_out={
            domain: list(rows) * len(seeds) for domain, rows in texts(SMALL.windows).held_out().items()
        },
        predictor="trajectory",
        replicates=len(seeds),
        exchange=K,
        points=points,
    )


def test_the_pieces_together_are_what_the_library_answers(summary):
    told = asked(SMALL.of(K).points)
    rows = [row for row in summary["rows"] if row["k"] == K]
    assert [row["target"] for row in rows] == list(told)
    for row in rows:
        one = told[row["target"]]
        assert row["predicted"] == pytest.approx(one.value, rel=1e-6)  # roundoff: eight digits are kept
        assert row["predicted_stderr"] == pytest.approx(one.stderr, rel=1e-6)
        assert row["answered"] == one.answered
        assert told_by(row["verdict"]) == told_by(one.verdict.words)
        looked = 2  # a gradient of every domain, trained on and held out: which parameters it reaches
        assert row["training_steps"] + looked == pytest.approx(told.cost.training_steps)


def test_a_study_that_forgot_to_exchange_batches_would_be_told_apart(summary):
    row = next(row for row in summary["rows"] if row["k"] == K and row["target"] == "a")
    for points in (1, 3):  # planted: other points
        assert asked(points)["a"].value != pytest.approx(row["predicted"], rel=1e-6)
    seed = SMALL.predicted(K)[0]
    again = predicted(SMALL, CELL, K, seed)
    other = predicted(SMALL, CELL, K, seed + 1)
    assert again["slopes"] != other["slopes"]  # planted: the same batches twice


def test_what_is_observed_is_what_the_study_of_windows_observes():
    start = checkpoints(SMALL.windows)[SMALL.windows.starts[0]]
    whole = every_case(SMALL.windows, start, 1)[SMALL.case(CELL, K).name]
    assert observed(SMALL, CELL, K, 1) == pytest.approx(whole, abs=1e-12)  # roundoff
    assert observed(SMALL, CELL, K, 0) != pytest.approx(whole, abs=1e-6)  # planted: another seed


def test_predicted_seeds_are_never_observed_ones():
    full = Settings.full()
    predicted = {seed for k in full.windows.lengths for seed in full.predicted(k)}
    for told in full.counts:
        seen = full.observed(told.k)
        assert len(set(seen)) == told.observed
        assert len(full.predicted(told.k)) == told.predicted
        assert not predicted & set(seen)
    names = [part.name for part in parts()]
    each = sum(told.observed + told.predicted for told in full.counts)
    assert len(set(names)) == len(names) == len(full.cells) * each


def test_shares_and_ratios_are_counted_by_hand(summary, monkeypatch):
    rows = summary["rows"]
    resolved = [row for row in rows if row["p"] < 0.05]
    told = summary["all"]["predictors"][PREDICTOR]
    assert summary["all"]["cases"] == len(rows) == 10
    assert told["judged"] == len(resolved)
    assert told["right"]["count"] == sum(row["predicted"] * row["observed"] > 0 for row in resolved)
    assert told["answered_of_all"] == sum(row["answered"] for row in rows)
    ratio = np.median([row["observed"] / row["predicted"] for row in resolved])
    assert told["ratio"]["median"] == pytest.approx(ratio, rel=1e-6)
    last = summary["all"]["predictors"]["last wins"]
    own = [row for row in resolved if row["target"] in "ab"]
    assert last["right"]["count"] == sum((row["observed"] > 0) == (row["target"] == "a") for row in own)


def flipped(found):
    """Planted: the first order of the two taken for the second in what is predicted."""
    wrong = copy.deepcopy(found)
    for key, piece in wrong.items():
        if "predicted" in key:
            for turned in ("slopes", "ends"):
                piece[turned] = (-np.array(piece[turned])).tolist()
    return wrong


def test_a_sign_that_is_turned_shows_in_the_aims_and_is_named(found, summary):
    wrong = summed_up(SMALL, flipped(found))
    assert {goal["what"]: goal["met"] for goal in wrong["goals"]}["all tilts: right of the answered"] is False
    text = page._abstained(wrong)
    assert "a before b, k = " in text
    assert "Answers whose observed sign is another one: none." in page._abstained(summary)


def test_replicates_one_by_one_are_counted_as_a_single_one_would_answer(found, summary):
    rows = {(row["k"], row["target"]): row for row in summary["rows"]}
    for told in summary["alone"]:
        k, counted = told["k"], [0, 0, 0, 0]
        for seed in SMALL.predicted(k):
            piece = {key: np.array(value) for key, value in found[name(CELL, k, "predicted", seed)].items()}
            excess, change = piece["shares"] @ piece["slopes"], piece["ends"][1] - piece["ends"][0]
            for target, value, seen in zip(TARGET_WEIGHTS, excess, change, strict=True):
                valid = abs(value - seen) <= 0.1 * max(abs(value), abs(seen))
                judged = valid and rows[k, target]["p"] < 0.05
                right = judged and value * rows[k, target]["observed"] > 0
                counted = [n + one for n, one in zip(counted, (1, valid, judged, right), strict=True)]
        assert [told[key] for key in ("cases", "answered", "judged", "right")] == counted
    turned = summed_up(SMALL, flipped(found))["alone"]  # planted: every sign is the other one
    for told, wrong in zip(summary["alone"], turned, strict=True):
        assert wrong["right"] == told["judged"] - told["right"]


def test_each_half_of_the_seeds_is_the_study_with_these_seeds_alone(found, summary):
    first = SMALL.predicted_from
    for half, seeds in ((0, [first]), (1, [first + 1, first + 2])):
        for told in summary["halves"][half::2]:
            k, ratios = told["k"], []
            for row in (row for row in summary["rows"] if row["k"] == k and row["p"] < 0.05):
                t = list(TARGET_WEIGHTS).index(row["target"])
                pieces_ = [found[name(CELL, k, "predicted", seed)] for seed in seeds]
                mean = np.mean([np.dot(one["shares"], np.array(one["slopes"])[:, t]) for one in pieces_])
                ratios.append(row["observed"] / mean)
            assert (told["seeds"], told["resolved"]) == (len(seeds), len(ratios))
            assert told["right"] == sum(ratio > 0 for ratio in ratios)
            if ratios:
                assert told["ratio"] == pytest.approx(np.median(ratios), rel=1e-6)  # eight digits are kept
    turned = summed_up(SMALL, flipped(found))["halves"]  # planted: every sign is the other one
    assert [one["right"] for one in turned] == [one["resolved"] - one["right"] for one in summary["halves"]]


def test_a_prediction_is_priced_beside_running_the_same_tilt(summary):
    for told, shown in zip(SMALL.counts, page._prices(summary).rows, strict=True):
        runs = told.predicted * 2 * 2 * 2 * told.k  # sets, schedules, orders of batches, two stages
        steps = next(row["training_steps"] for row in summary["rows"] if row["k"] == told.k)
        assert shown == (
            str(told.k),
            str(told.predicted),
            f"{steps:,.0f}",
            f"{runs:,}",
            f"{steps / runs:.0f}",
        )


def test_the_page_shows_the_larger_study_and_the_small_one_beside_it(summary):
    alone, both = page.blocks({"small": summary}), page.blocks({"small": summary, "full": summary})
    assert len(both) == len(alone) + 3
    assert sum(isinstance(block, Table) for block in alone) == 7
    assert "Committed" in repr(both)
    assert "Committed" not in repr(alone)
    assert page.sentence({"small": summary}) in page.sentence({"small": summary, "full": summary})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"counts": (Counts(1, 1, 2), Counts(2, 2, 2))}, "counts .* at least 2 seeds"),
        ({"counts": (Counts(1, 2, 1), Counts(2, 2, 2))}, "counts .* at least 2 seeds"),
        ({"counts": (Counts(1, 2, 2),)}, "counts .* one for each of"),
        ({"cells": ()}, "cells .* at least one"),
        ({"cells": (Cell(5, "a", "b"),)}, "cells .* a start below"),
        ({"delta": 0.0}, "delta"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(wrong, told):
    with pytest.raises(CommuteError, match=told):
        replace(SMALL, **wrong)


def test_names_tell_pieces_apart():
    each = [name(c, k, kind, 0) for c in (CELL, Cell(0, "b", "a")) for k in (1, 10) for kind in ("o", "p")]
    assert len(set(each)) == len(each)
    assert statistics.PREDICTOR != statistics.LAST


def test_every_size_has_batches_of_its_own():
    sizes_ = (Settings.full(), *Settings.other_sizes())
    assert [size.delta for size in sizes_] == [0.15, 0.05, 0.3]
    taken = []
    for size in sizes_:
        predicted_ = {seed for told in size.counts for seed in size.predicted(told.k)}
        observed_ = {seed for told in size.counts for seed in size.observed(told.k)}
        assert not predicted_ & observed_
        taken.append(predicted_ | observed_)
    assert not taken[0] & taken[1]
    assert not (taken[0] | taken[1]) & taken[2]
    names = [part.name for part in sizes_parts()]
    assert len(set(names)) == len(names)


def test_sizes_are_summed_up_apart(found, summary, monkeypatch):
    other = replace(SMALL, delta=0.05)
    monkeypatch.setattr(sizes, "SIZES", (SMALL, other))
    pieces_of = {f"{size.delta:g}-{key}": piece for size in (SMALL, other) for key, piece in found.items()}
    every = sizes.together(pieces_of)["sizes"]
    assert [one["settings"]["delta"] for one in every] == [0.15, 0.05]
    assert every[0] == summary
    turned = sizes.together(pieces_of | {f"0.05-{key}": piece for key, piece in flipped(found).items()})
    assert turned["sizes"][0] == summary  # planted: one size is turned, and shows in that one alone
    assert turned["sizes"][1]["rows"] != every[1]["rows"]


def sized(summary, delta, turned=False):
    """The same study, as one of tilts by ``delta``; planted where turned: predictions of the other sign."""
    other = copy.deepcopy(summary)
    other["settings"]["delta"] = delta
    for row in other["rows"] if turned else ():
        row["predicted"] *= -1
    return other


def test_sizes_together_are_counted_by_hand(summary):
    whole = statistics.of_every_size([sized(summary, 0.3), sized(summary, 0.05, turned=True)])
    assert [group["key"] for group in whole["sizes"]] == [[0.05], [0.3]]
    wrong, right = (group["predictors"][PREDICTOR] for group in whole["sizes"])
    once = summary["all"]["predictors"][PREDICTOR]
    assert (right["right"]["count"], wrong["right"]["count"]) == (
        once["right"]["count"],
        once["judged"] - once["right"]["count"],
    )
    told = whole["all"]["predictors"][PREDICTOR]
    assert (told["cases"], told["judged"]) == (2 * once["cases"], 2 * once["judged"])
    assert told["answered_of_all"] == 2 * once["answered_of_all"]
    assert [group["key"] for group in whole["lengths"]] == [[told.k] for told in SMALL.counts]
    right_of_answered, answered = whole["goals"]
    assert right_of_answered["value"] == pytest.approx(told["answered_right"]["count"] / told["answered"])
    assert answered["value"] == pytest.approx(told["answered_of_all"] / told["cases"])


def test_the_page_shows_every_size_beside_the_full_study(summary):
    others = {"sizes": [sized(summary, 0.05), sized(summary, 0.3)]}
    without = page.blocks({"small": summary, "full": summary})
    blocks = page.blocks({"small": summary, "full": summary, "sizes": others})
    shown = repr([block for block in blocks if block not in without])
    for words in ("Smaller and larger tilts", "Tilts of 0.05: a before b from step 6", "Tilts of 0.3 alone"):
        assert words in shown
        assert words not in repr(without)
    told = page.sentence({"small": summary, "full": summary, "sizes": others})
    assert f"of {3 * len(summary['rows'])} tilts and targets" in told
    assert f"of {len(summary['rows'])} tilts and targets" in page.sentence(
        {"small": summary, "sizes": others}
    )
    assert repr(page.blocks({"small": summary, "sizes": others})) == repr(page.blocks({"small": summary}))
