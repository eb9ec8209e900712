"""The study of optimizer windows: real runs against torch alone, statistics, resumption, and its page."""

import copy
import csv
import json
import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from commute_verify import CommuteError
from commute_verify.report import Figure, Table
from experiments.optimizer_windows import __main__ as command
from experiments.optimizer_windows import observed, page, predicted, prices, records, run, tables
from experiments.optimizer_windows.cases import MAIN, SWAPS, Case, cases, per_step
from experiments.optimizer_windows.goals import worst
from experiments.optimizer_windows.parts import COMMITTED, parts
from experiments.optimizer_windows.pieces import label, pieces
from experiments.optimizer_windows.records import Guess, Record
from experiments.optimizer_windows.run import collected, rows
from experiments.optimizer_windows.settings import DOMAINS, TARGETS, Settings
from experiments.optimizer_windows.statistics import by, summary
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import checkpoints, losses
from experiments.results import load_committed

TINY = replace(
    Settings.smoke(),
    width=8,
    context=8,
    rows=2,
    held_out_rows=4,
    lengths=(1, 2),
    tail=2,
    tilt_up_to=1,
    map_lengths=(1,),
    starts=((1e-2, 6),),
)


@pytest.fixture(scope="module")
def start():
    return checkpoints(TINY)[1e-2, 6]


def by_hand(start, weights, data):
    """AdamW steps as a plain loop over domains takes them, and the losses at their end."""
    model, optimizer = copy.deepcopy((start.model, start.optimizer))
    for s, row in enumerate(weights):
        optimizer.zero_grad()
        for w, name in zip(row, DOMAINS, strict=True):
            batch = data[name][s]
            logits = model(batch[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            (w * loss).backward()
        optimizer.step()
    return np.array(losses(model.double(), texts(TINY).held_out()))


def excess_by_hand(start, case, orders=(0, 1)):
    """The mean over batches as they are dealt (order 0), and with those of the two stages exchanged (1)."""
    excess = []
    for order in orders:
        k, data = case.k, texts(TINY).window(0)
        for name, batches in data.items() if order else ():
            data[name] = [batches[s + k if s < k else s - k if s < 2 * k else s] for s in range(len(batches))]
        one, other = (by_hand(start, per_step(schedule), data) for schedule in case.schedules(TINY))
        excess.append(one - other)
    return np.mean(excess, axis=0)


@pytest.mark.parametrize(
    "case",
    [
        Case("tilt", 0.15, "a", "b", 2, 2),
        Case("raise", 0.15, "a", "b", 1, 0),
        Case("swap", 0.0, "c", "d", 2, 2),
    ],
    ids=lambda case: case.name,
)
def test_observed_runs_are_those_of_a_plain_loop(start, case):
    found = observed.observed(TINY, start, 0)[case.name]
    expected = excess_by_hand(start, case)
    assert np.abs(found - expected).max() < 2e-6  # roundoff of float32 in another order of sums
    mirrored = replace(case, first=case.second, second=case.first)
    assert np.abs(found - excess_by_hand(start, mirrored)).max() > 1e-4  # planted: the other order
    assert np.abs(found - excess_by_hand(start, case, [0])).max() > 1e-5  # planted: one order of batches


def test_a_sweep_predicts_its_own_run_and_not_the_mirrored_one(start):
    found, seen = predicted.sweeps(TINY, start, 0), observed.observed(TINY, start, 0)
    name = Case("tilt", 0.05, "a", "b", 1, 0).name
    small = np.array(found[name]), np.array(seen[name])
    assert np.abs(small[0] - small[1]).max() < 0.1 * np.abs(small[1]).max()  # order: δ³ beside δ
    assert np.abs(small[0] + small[1]).max() > np.abs(small[1]).max()  # planted: the sign


def test_batches_of_other_seeds_are_other_batches_and_the_same_seed_gives_the_same():
    one, other = texts(TINY).window(0), texts(TINY).window(TINY.others[0])
    assert all(torch.equal(x, y) for x, y in zip(one["a"], texts(TINY).window(0)["a"], strict=True))
    seen = {tuple(row.tolist()) for batches in one.values() for batch in batches for row in batch}
    again = {tuple(row.tolist()) for batches in other.values() for batch in batches for row in batch}
    assert len(seen & again) < 0.2 * len(again)


def record(observed_mean, guess, resolved=True, **told):
    case = Case("tilt", 0.15, "a", "b", 5, 0)
    p = 0.01 if resolved else 0.5
    return Record((1e-3, 1), case, "a", observed_mean, 0.1, p, {"p": Guess(guess, **told)})


def test_a_summary_counts_right_signs_ratios_and_what_is_answered():
    found = summary(
        [record(1.0, 2.0), record(-1.0, -1.0, answered=False), record(1.0, -1.0), record(1.0, 3.0, False)],
        "p",
        0.95,
    )
    assert (found["cases"], found["judged"], found["answered"], found["answered_of_all"]) == (4, 3, 2, 3)
    assert (found["right"]["count"], found["answered_right"]["count"]) == (2, 1)
    assert found["ratio"]["median"] == 0.5
    assert found["right"]["low"] == pytest.approx(0.0943, abs=1e-4)  # Clopper and Pearson's table, 2 of 3
    flipped = summary([record(1.0, -2.0)], "p", 0.95)
    assert flipped["right"]["count"] == 0  # planted: the sign


def test_a_guess_from_a_runs_own_batches_is_held_against_that_run():
    found = summary([record(1.0, -2.0, resolved=False, observed=-4.0)], "p", 0.95)
    assert (found["judged"], found["right"]["count"], found["ratio"]["median"]) == (1, 1, 2.0)


def test_a_guess_that_is_no_number_is_not_judged():
    assert summary([record(1.0, math.nan)], "p", 0.95)["judged"] == 0
    assert by([record(1.0, 1.0)], lambda r: r.case.k, ["p", "q"], 0.95)[0]["predictors"].keys() == {"p"}


@pytest.mark.parametrize(
    ("spread", "changes", "answered"),
    [(0.01, (1.0, 1.0), True), (3.0, (1.0, 1.0), False), (0.01, (0.8, 1.2), True), (0.01, (0.5, 1.0), False)],
    ids=["agree", "do not agree", "explained in the mean", "not explained"],
)
def test_three_points_answer_where_seeds_agree_and_their_mean_is_the_change_of_loss(
    spread, changes, answered
):
    place, case = TINY.starts[0], Case("tilt", 0.15, "a", "b", 1, 0)

    def piece(value, change):
        told = {"shares": [0.5, 0.5], "slopes": [[value - 1], [value + 1]], "ends": [[2.0], [2.0 + change]]}
        return {case.name: {"targets": ["a"], **told}}

    found = {
        label(place, "dear", seed): piece(value, change)
        for seed, value, change in zip(TINY.others, (1 - spread, 1 + spread), changes, strict=True)
    }
    ((target, name, guess),) = records._dear(TINY, found, place, case, np.zeros((TINY.observed, 5)))
    assert (target, name) == ("a", "trajectory, integrated")
    assert guess.value == pytest.approx(1.0)  # roundoff
    assert guess.answered is answered


def test_a_trajectory_that_overflows_is_an_abstention():
    place, case = TINY.starts[0], Case("swap", 0.0, "a", "b", 1, 0)
    piece = {case.name: {"targets": ["a", "b"], "failed": "the parameters are not finite"}}
    found = {label(place, "dear", seed): piece for seed in TINY.others}
    told = records._dear(TINY, found, place, case, np.zeros((TINY.observed, 5)))
    assert [(target, guess.answered, guess.why) for target, _, guess in told] == [
        ("a", False, "a number that is none"), ("b", False, "a number that is none")
    ]  # fmt: skip


def test_a_trajectory_from_own_batches_is_held_against_the_runs_of_these():
    place, case = TINY.starts[0], Case("tilt", 0.15, "a", "b", 1, 0)
    told = {"shares": [0.5, 0.5], "slopes": [[2.0, 4.0]] * 2, "ends": [[0.0, 0.0], [2.0, 3.0]]}
    found = {label(place, "dear", 0): {case.name: {"targets": ["b", "mixture"], **told}}}
    runs = np.arange(10.0).reshape(2, 5)  # targets a, b, c, d and the mixture; the first seed is an own one
    guesses = records._dear(TINY, found, place, case, runs)
    assert {name for _, name, _ in guesses} == {"trajectory, integrated, own batches"}
    assert [(target, guess.value, guess.answered, guess.observed) for target, _, guess in guesses] == [
        ("b", 2.0, True, 1.0), ("mixture", 4.0, False, 4.0)
    ]  # fmt: skip
    assert all("unexplained" in guess.why for _, _, guess in guesses)


def test_each_predictor_is_asked_about_its_own_cases(monkeypatch):
    few = replace(
        TINY,
        lengths=(1, 2, 3),
        swap_up_to=2,
        raise_up_to=1,
        tilt_up_to=3,
        tail_up_to=2,
        slow_up_to=2,
        disjoint=4,
        starts=(*TINY.starts, (1e-3, 4), (1e-3, 6)),
    )
    start, last = (SimpleNamespace(place=place, model=None, optimizer=None) for place in few.starts[1:])
    monkeypatch.setattr(predicted, "integrated", lambda *given: {})
    monkeypatch.setattr(predicted.cv, "predict_excess_loss", lambda *given, **more: more["predictor"])
    monkeypatch.setattr(predicted, "_record", lambda name: {"by": name})

    def named(kind, k, pair="ab", tail=0):
        return f"{kind} {0 if kind == 'swap' else 0.15} {pair} k{k} tail{tail}"

    tilts, raised = {named("tilt", k) for k in (1, 2, 3)}, {named("raise", 1)}
    swaps = {named("swap", k, pair) for k in (1, 2) for pair in ("ab", "cd")}
    tailed = {named("tilt", k, tail=few.tail) for k in (1, 2)}
    for seed, asked in (
        (0, tilts | raised | swaps),
        (few.others[0], tilts | raised | swaps),
        (few.others[-1], tilts),
    ):
        assert predicted.dear(few, start, seed).keys() == asked | tailed
        assert predicted.dear(few, last, seed).keys() == asked
    windows = [(k, tail) for k in (1, 2) for tail in (0, few.tail)]
    slow = {named("tilt", k, pair, tail) for k, tail in windows for pair in ("ab", "cd", "ac")}
    slow |= {named("swap", k, pair, tail) for k, tail in windows for pair in ("ab", "cd")}
    found = predicted.slow(few, start)
    assert {name: answers.keys() for name, answers in found.items()} == dict.fromkeys(predicted.SLOW, slow)
    assert predicted.memory(few, start).keys() == {case.name for case in cases(few, few.main)}


def test_slow_predictors_and_memory_are_asked_from_every_start():
    two = replace(TINY, starts=((1e-2, 6), (1e-3, 4)))
    names = pieces(two)
    assert all(label(start, what) in names for start in two.starts for what in ("slow", "memory"))


def test_the_grounds_of_abstentions_are_counted():
    told = [
        record(1.0, 1.0),
        record(1.0, 1.0, answered=False, why="p"),
        record(1.0, 1.0, False, answered=False, why="p"),
    ]
    assert run._grounds(told, "p") == {"p": 2}
    assert run._grounds(told, "another") == {}


def test_what_the_other_predictors_answer_is_told_over_tilts_and_swaps():
    def cells(**answers):
        return [{"predictors": {key: {"answered_of_all": n, "cases": 9} for key, n in answers.items()}}]

    told = page._silent({"tilts": cells(a=2, b=0), "swaps": cells(a=1)}, (("a", "A"), ("b", "B")))
    assert told.endswith("answer: A 3 of 18, B 0 of 9.")


def test_windows_that_chance_alone_could_resolve_are_told():
    cells = [{"key": [k, 40], "resolved": n, "cases": 40} for k, n in ((1, 2), (5, 0), (10, 3))]
    assert "at $k$ = 1, tail 40 and $k$ = 5, tail 40: disregard these." in page._by_chance(cells)
    assert page._by_chance(cells[2:]) == ""


def test_what_the_grid_leaves_out_is_told():
    cells = [
        {"key": [1, 0], "predictors": {"trajectory, integrated": {}}},
        {"key": [1, 40], "predictors": {"trajectory": {}}},
    ]
    told = page._not_run(Settings().as_dict(), cells)
    assert told.startswith(
        "Not run, and not in the aims: $k$ = 100 from the other starts; points between the two schedules at "
        "$k$ = 1, tail 40; points between them for tilts of other sizes"
    )
    short = replace(Settings(), long_from=101)
    told = page._not_run(short.as_dict(), cells[:1])
    assert told.startswith("Not run, and not in the aims: points between them for tilts of other sizes")


def test_the_map_says_whether_its_flow_was_bent_which_older_results_were_not():
    held = Settings().as_dict()
    assert "bent" in page._flow(held)
    held.pop("tail_up_to")
    assert "bent" not in page._flow(held)


@pytest.fixture(scope="module")
def made():
    """Every piece of a study at the smallest size, of a single tilt and a single swap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prices, "KS", (2, 3))
        patch.setattr("experiments.optimizer_windows.cases.TILTS", (MAIN,))
        patch.setattr("experiments.optimizer_windows.cases.SWAPS", SWAPS[:1])
        yield {name: work() for name, work in pieces(TINY).items()}


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """The study's folder, written by two processes' shares of these pieces, one after the other."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "pieces", lambda settings: {name: partial(made.get, name) for name in made})
        for share in ("1/2", "2/2"):
            assert command.main(["--out", str(out), "--only", share], TINY) == 0
    return out


def test_the_files_are_what_the_pieces_come_to(whole, made):
    assert load_committed(whole / "full.json")["result"] == collected(TINY, made)
    with open(whole / "full.cases.csv", newline="") as file:
        header, *found = csv.reader(file)
    assert header[-4:] == ["last wins", "gradient product", "gradient cosine", "gradient norm"]
    assert "trajectory, one seed" in header  # a comma in a name
    assert {len(row) for row in found} == {len(header)}
    assert json.loads((whole / "full.provenance.json").read_text())["seconds"].keys() == {
        f"experiments-optimizer_windows/{name}" for name in made
    }


def test_prices_are_those_of_passes_counted_by_hand(whole):
    found = {(row["K"], row["targets"]): row["steps"] for row in prices.prices(TINY)["rows"]}
    N = prices.STEPS
    for K, targets in ((2, 1), (2, 2), (3, 3)):
        told = found[K, "the mixture" if targets == 1 else "every domain"]
        tested = targets if targets > 1 else K
        sweep = N * K * (2 + 2 * targets) + tested
        assert told["sweep"] == sweep / K
        assert told["three points"] == (3 * sweep + 2 * (N * K + tested)) / K
        assert found[3, "the mixture"]["local-3"] > 1.5 * found[2, "the mixture"]["local-3"]  # K²


def test_a_prediction_far_too_large_is_told_by_how_much():
    told = {"ratio": {"median": -0.00123, "p10": -1.234, "p90": 0.0}}
    assert tables.ratio(told).replace("\u00a0", " ") == "-0.001 (-1.23 to 0)"


def test_the_worst_window_is_the_one_that_is_furthest_off_with_its_tail_told():
    def told(right, median):
        return {"right": {"share": right}, "judged": 8, "ratio": {"median": median}}

    cells = {(5, 0): told(1.0, 1.05), (5, 40): told(0.5, 0.6), (20, 0): told(0.75, 1.3), (50, 0): None}
    signs, ratio = worst(cells, "tilts", lambda k, tail: f"k {k} tail {tail}")
    assert (signs["what"], signs["value"], signs["met"]) == (
        "tilts: right signs at the worst window, k 5 tail 40 (8 judged)", 0.5, False
    )  # fmt: skip
    assert (ratio["what"], ratio["value"], ratio["met"]) == (
        "tilts: median observed / predicted at the worst window, k 5 tail 40", 0.6, False
    )  # fmt: skip
    pooled = {(5, 0): told(0.75, 0.98), (20, 0): told(0.75, 1.3)}  # planted: tails and none in one
    assert [one["value"] for one in worst(pooled, "tilts", lambda k, tail: "")] == [0.75, 1.3]


def test_swaps_without_noise_are_told_by_optimizer_and_length():
    def cell(kind, k, error, right):
        told = {"error": error, "right": right, "answered": 1, "of": 3}
        return {"kind": kind, "k": k, "predictors": {"memory": told}}

    cells = [cell("swap", 5, None, 0), cell("tilt", 1, 0.5, 3), cell("swap", 1, 0.25, 2)]
    shown = tables.swaps({"SGD": {"cells": cells}, "AdamW": {"cells": cells[2:]}}, "")
    assert shown.rows == (
        ("SGD", "1", "0.25", "2/3", "1"), ("SGD", "5", "–", "0/3", "1"), ("AdamW", "1", "0.25", "2/3", "1")
    )  # fmt: skip


def test_running_is_called_cheaper_only_where_it_is():
    rows = [
        {"K": K, "targets": "the mixture", "steps": {"sweep": 10 * sweep}}
        for K, sweep in ((2, 3.5), (3, 7.0), (4, 6.0))  # a step of the window; runs are 3, 7 and 13
    ]
    found = {"window": 10, "tilts": {"2": 2, "3": 6, "4": 12}, "rows": rows}
    assert page._cheaper(found) == "2 domains and the mixture"
    assert page._cheaper({**found, "rows": rows[1:]}) == "nowhere here"
    found["tilts"]["3"] = 5  # planted: the reference's own run forgotten
    assert page._cheaper(found) == "2 domains and the mixture; 3 domains and the mixture"


def test_every_case_has_a_row_and_the_page_shows_all_of_it(whole):
    result = load_committed(whole / "full.json")["result"]
    count = len(cases(TINY, TINY.main)) * len(TARGETS)
    assert len((whole / "full.cases.csv").read_text().splitlines()) == 1 + count
    told = {"small": result, "full": result}
    shown = page.blocks(told)
    assert sum(isinstance(block, Table) for block in shown) >= 8
    assert {block.name for block in shown if isinstance(block, Figure)} == {
        "optimizer-windows-signs",
        "optimizer-windows-validity",
    }
    assert "first variation" in page.sentence(told)


def test_results_do_not_depend_on_the_order_of_the_pieces(made):
    turned = dict(reversed(list(made.items())))
    assert collected(TINY, made) == collected(TINY, turned)
    assert rows(TINY, made) == rows(TINY, turned)


def test_a_piece_is_the_same_when_it_is_made_again(made):
    name = next(name for name in made if "sweeps" in name)
    assert pieces(TINY)[name]() == made[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"observed": 1}, "at least 2 seeds"),
        ({"own": 9}, "no more own ones"),
        ({"lengths": (5, 1)}, "ascend"),
        ({"weights": (0.5, 0.4, 0.2, 0.1)}, "sum to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(CommuteError, match=message):
        replace(Settings.full(), **change)


def test_the_report_computes_a_small_study_and_shows_the_committed_one():
    found = {part.name: part for part in parts("default")}
    assert found["small"].committed is None
    if COMMITTED.exists():
        assert found["full"].committed == COMMITTED
