"""A whole study, tiny: what results.json holds, that pieces are made once, and that a stop loses nothing."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from commute_verify import OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule
from experiments.__main__ import EXPERIMENTS
from experiments.experiment import plain
from experiments.gpt2 import __main__ as command
from experiments.gpt2 import checkpoint, loop, measure, parts, perform, presets
from experiments.gpt2.collect import collected
from experiments.gpt2.interventions import Branch
from experiments.gpt2.presets import SMOKE, Base, Criterion
from experiments.gpt2.settings import Architecture
from experiments.gpt2.shards import Shards
from experiments.gpt2.study import Study
from experiments.results import load_committed
from experiments.storage import ROOT

TINY = replace(
    SMOKE,
    training=replace(
        SMOKE.training,
        architecture=Architecture(layers=1, width=16, heads=2, context=16, vocabulary=300),
        steps=20,
        warmup=2,
        lr=3e-3,
    ),
    bases=(Base((0.5, 0.5), (0.2, 0.4), 0.4), Base((0.9, 0.1), (0.06,), 0.06)),
    checkpoints=(6, 10),
    window=5,
    short_windows=(),
    seeds=2,
    tail=3,
    validation=16,
    curve_every=10,
    criterion=Criterion(batches=12, sequences=4, power_steps=3),
    limit_bytes=100_000,
)
DATA = ("zwei=synthetic", "eins=synthetic")  # the first in order is not the first in the alphabet


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    made = Study(TINY, DATA, tmp_path_factory.mktemp("study"))
    perform.run(made, workers=1)
    return made


@pytest.fixture(scope="module")
def results(study) -> dict:
    return json.loads(json.dumps(collected(study), sort_keys=True))


def branches(results: dict) -> list[dict]:
    return [branch for run in results["runs"] for branch in run["branches"]]


# --- what the results hold ----------------------------------------------------------------------------------


def test_the_results_hold_every_piece(results):
    assert results["domains"] == ["zwei", "eins"]
    assert [run["weights"] for run in results["runs"]] == [
        {"zwei": 0.5, "eins": 0.5},
        {"zwei": 0.9, "eins": 0.1},
    ]
    for run in results["runs"]:
        assert [point["step"] for point in run["curve"]] == [0, 10, 20]
        assert [point["step"] for point in run["checkpoints"]] == [6, 10]
    assert len(branches(results)) == 2 * (5 + 3) + 2 * (3 + 3) == results["planned"]["branches"]
    assert results["planned"]["steps"] == 2 * 20 + 28 * (2 * 5 + 3)
    assert set(branches(results)[0]) == {
        "step", "window", "delta", "order", "seed", "tokens", "flow_time", "loss", "tail"
    }  # fmt: skip


def test_the_results_hold_no_time_and_no_path(study, results):
    text = json.dumps(results)
    assert str(study.out) not in text
    costs = [e["cost"] for run in results["runs"] for p in run["checkpoints"] for e in p["effects"].values()]
    assert {(cost["seconds"], cost["peak_bytes"]) for cost in costs} == {(0.0, 0)}


def test_the_results_hold_what_the_criterion_cost_and_the_error_of_the_curvature(results):
    for point in (point for run in results["runs"] for point in run["checkpoints"]):
        for name in ("plain", "adam"):
            cost = point["cost"][name]
            assert set(cost) == {"gradient_passes", "hvp_passes", "evaluations"}
            assert cost["evaluations"] >= cost["gradient_passes"] > 0
            assert point["curvature"][name] > 0
            assert 0 <= point["curvature_error"][name] < np.inf


def test_an_effect_reads_back_with_each_target_in_its_place(study, results):
    kept = checkpoint.load(checkpoint.folder_of(study.run({"zwei": 0.5, "eins": 0.5}), 6))
    shards = Shards.open(study.shards)
    data = measure.far_batches(shards, study.domains, 16, TINY.criterion, 0, perform.reach(study))
    fresh = measure.measured(kept.model(), kept.optimizer_state(), data, 2)
    point = results["runs"][0]["checkpoints"][0]
    for name in ("plain", "adam"):
        held = OrderEffect.from_json(json.dumps(point["effects"][name]))
        again = OrderEffect.from_json(json.dumps(fresh["effects"][name]))
        assert held.mixing == again.mixing
        for target in ("zwei", "eins", "mix"):
            found, expected = held.P[target][0, 1], again.P[target][0, 1]
            assert abs(found - expected) <= 1e-3 * abs(held.P_replicates).max()  # roundoff of differences


def test_the_targets_of_an_effect_come_back_from_sorted_json_in_their_order(results):
    for run in results["runs"]:
        for effect in (effect for point in run["checkpoints"] for effect in point["effects"].values()):
            held = OrderEffect.from_json(json.dumps(effect))
            assert held.mixing == measure.targets(("zwei", "eins"))
            slopes = dict(zip(held.targets, held.slope_replicates.mean(axis=0), strict=True))
            mixed = (slopes["zwei"] + slopes["eins"]) / 2
            size = np.abs(held.slope_replicates).max()
            assert np.abs(slopes["mix"] - mixed).max() <= 1e-6 * size  # rounded to 8 digits
            assert np.abs(slopes["mix"] - slopes["zwei"]).max() > 1e-3 * size  # an exchange would be seen


def test_every_branch_has_the_tokens_and_the_flow_time_of_its_base(results):
    for run in results["runs"]:
        base = {(b["step"], b["window"], b["seed"]): b for b in run["branches"] if b["order"] == "base"}
        for branch in run["branches"]:
            other = base[branch["step"], branch["window"], branch["seed"]]
            assert branch["tokens"] == other["tokens"]
            assert branch["tokens"]["zwei"] == run["weights"]["zwei"] * 20 * 10 * 16
            assert branch["flow_time"] == other["flow_time"]
            assert np.isclose(branch["flow_time"]["eins"], run["weights"]["eins"] * 10 * 3e-3)
            assert branch["tail"]["steps"] == 3


def test_orders_seeds_and_tilts_end_at_losses_of_their_own(results):
    ends = [(run, b["loss"]["zwei"]) for run in range(2) for b in results["runs"][run]["branches"]]
    assert len(set(ends)) == len(ends)
    tails = [b["tail"]["loss"]["zwei"] for b in branches(results)]
    assert len(set(tails)) == len(tails)


# --- the data of a branch -----------------------------------------------------------------------------------


@pytest.fixture
def consumed(study, monkeypatch):
    """What a branch in fact trains on: each domain's windows, in the order in which gradients see them."""
    seen: dict[str, list[torch.Tensor]] = {}
    accumulate = loop._accumulate

    def watched(loss, network, rows, *rest):
        for k, name in enumerate(study.domains):
            seen.setdefault(name, []).append(rows.windows[rows.domains == k].clone())
        return accumulate(loss, network, rows, *rest)

    def of(branch: Branch) -> dict[str, torch.Tensor]:
        seen.clear()
        perform.intervene(study, Shards.open(study.shards), branch)
        return {name: torch.cat(pieces) for name, pieces in seen.items()}

    monkeypatch.setattr(loop, "_accumulate", watched)
    return of


@pytest.mark.parametrize("seed", [0, 1])
def test_all_orders_train_on_the_same_windows_of_each_domain_in_the_same_order(study, consumed, seed):
    weights = {"zwei": 0.5, "eins": 0.5}
    orders = [Branch(6, weights, d, 5, o, seed, 3) for o, d in (("base", 0.0), ("12", 0.4), ("21", 0.4))]
    windows = [consumed(branch) for branch in orders]
    assert {name: len(found) for name, found in windows[0].items()} == dict.fromkeys(weights, 10 * 13)
    for one, other in pairwise(windows):
        assert all(torch.equal(one[name], other[name]) for name in study.domains)
    later = consumed(replace(orders[0], seed=seed + 1))
    assert not any(torch.equal(windows[0][name], later[name]) for name in study.domains)  # it would be seen


def test_a_base_branch_is_the_training_that_its_definition_says(study, results, tmp_path):
    weights = {"zwei": 0.9, "eins": 0.1}
    start = checkpoint.load(checkpoint.folder_of(study.run(weights), 10))
    stages = WeightSchedule.constant(weights, 10.0)
    shards = Shards.open(study.shards)
    end = perform.train(TINY.training, shards, stages, start, tmp_path, counts="exact", progress=False)
    loss = perform.evaluate(end.model(), shards, study.domains, windows=16)
    (held,) = [
        b for b in results["runs"][1]["branches"] if (b["step"], b["order"], b["seed"]) == (10, "base", 0)
    ]
    assert held["loss"] == {name: float(f"{value:.8g}") for name, value in loss.items()}


def test_the_criterion_reads_windows_that_no_training_reaches(study):
    shards = Shards.open(study.shards)
    data = measure.far_batches(shards, study.domains, 16, TINY.criterion, 0, perform.reach(study))
    for name in study.domains:
        far = {tuple(window.tolist()) for batch in data[name] for window in batch}
        numbers = measure.window_indices(0, name, shards.windows(name, "train", 16), 0, perform.reach(study))
        near = {tuple(window.tolist()) for window in shards.batch(name, "train", numbers, 16)}
        assert len(far) == 12 * 4
        assert len(far & near) <= 1  # synthetic text repeats itself now and then
    with pytest.raises(CommuteError, match="give it more text"):
        measure.far_batches(shards, study.domains, 16, TINY.criterion, 0, used=10**6)


# --- once, and without loss ---------------------------------------------------------------------------------


def test_a_piece_that_is_there_is_never_made_again(study, monkeypatch):
    for name in ("train_base", "estimate", "intervene"):
        monkeypatch.setattr(perform, name, lambda *given: pytest.fail("it was made again"))
    perform.run(study, workers=1)


def test_a_study_that_is_stopped_between_any_pieces_ends_with_the_same_results(
    tmp_path, results, monkeypatch
):
    stopped = Study(TINY, DATA, tmp_path)
    made, save = 0, perform.save

    def interrupted(path, piece):
        nonlocal made
        made += 1
        if made % 8 == 0:
            raise KeyboardInterrupt
        save(path, piece)

    monkeypatch.setattr(perform, "save", interrupted)
    for _ in range(50):
        try:
            perform.run(stopped, workers=1)
            break
        except KeyboardInterrupt:
            partial = collected(stopped) if (tmp_path / "about.json").exists() else None
            assert partial is None or len(branches(partial)) < len(branches(results))
    assert json.loads(json.dumps(collected(stopped), sort_keys=True)) == results


@pytest.mark.slow
def test_two_processes_make_the_same_results_as_one(tmp_path, results):
    perform.run(Study(TINY, DATA, tmp_path), workers=2)
    assert json.loads(json.dumps(collected(Study(TINY, DATA, tmp_path)), sort_keys=True)) == results


def test_branches_can_be_farmed_out(study, tmp_path, monkeypatch):
    made: list[str] = []
    monkeypatch.setattr(perform, "prepare", lambda study: None)
    monkeypatch.setattr(perform, "perform_all", lambda jobs, *rest: made.extend(job.name for job in jobs))
    for share in ("1/3", "2/3", "3/3"):
        perform.run(Study(TINY, DATA, tmp_path), only=share)
    assert sorted(made) == sorted(f"branch {branch.name}" for branch in TINY.branches(study.domains))


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/"])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    with pytest.raises(CommuteError, match="give I/N"):
        perform.run(Study(TINY, DATA, tmp_path), only=share)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "smoke", TINY)


def given(study: Study, *more: str) -> list[str]:
    return [
        "--out",
        str(study.out),
        "--jobs",
        "1",
        *[word for entry in DATA for word in ("--data", entry)],
        *more,
    ]


def test_the_command_writes_results_and_provenance_and_can_publish(tiny, study, results, tmp_path, capsys):
    published = tmp_path / "smoke.json"
    assert command.main(given(study, "--publish", str(published))) == 0
    assert json.loads((study.out / "results.json").read_bytes()) == results
    provenance = json.loads((study.out / "provenance.json").read_bytes())
    assert {"argv", "commit", "packages", "device"} <= set(provenance)
    assert set(provenance["criterion"]) == {
        f"{run}_t{step}" for run in ("0.5-0.5", "0.9-0.1") for step in (6, 10)
    }
    for cost in (c for found in provenance["criterion"].values() for c in found.values()):
        assert cost["seconds"] > 0
        assert cost["peak_bytes"] > 0
    entry = load_committed(published)
    assert entry["result"] == results
    assert entry["command"] == "python -m experiments.gpt2 --preset smoke --data zwei=… --data eins=… --out …"
    assert str(study.out) not in published.read_text()


def test_what_is_there_can_be_collected_at_any_time(tiny, study, results, capsys):
    piece = study.branch(TINY.branches(study.domains)[0])
    whole = piece.read_bytes()
    piece.unlink()
    try:
        assert command.main(given(study, "--collect")) == 0
    finally:
        piece.write_bytes(whole)
    partial = json.loads((study.out / "results.json").read_bytes())
    assert len(branches(partial)) == len(branches(results)) - 1


BAD = {
    "another learning rate": (replace(TINY, training=replace(TINY.training, lr=1e-3)), DATA, "training"),
    "another tail": (replace(TINY, tail=4), DATA, "tail"),
    "domains in another order": (TINY, DATA[::-1], "domains"),
    "three domains": (TINY, (*DATA, "drei=synthetic"), "3 domains"),
    "a domain called mix": (TINY, ("mix=synthetic", "eins=synthetic"), "'mix'"),
    "a domain called mean": (TINY, ("eins=synthetic", "mean=synthetic"), "'mean'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_study_that_does_not_fit_the_folder_is_refused_in_one_line(name, study, tmp_path):
    preset, data, words = BAD[name]
    out = tmp_path if name.startswith("a domain called") else study.out
    with pytest.raises(CommuteError, match=words) as caught:
        perform.run(Study(preset, data, out), workers=1)
    assert "\n" not in str(caught.value)


def test_more_seeds_may_join_a_study(study, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(perform, "perform_all", lambda jobs, *rest: asked.extend(job.name for job in jobs))
    perform.run(Study(replace(TINY, seeds=3), DATA, study.out), workers=1)
    assert len(asked) == 2 * 2 * 3
    assert all(name.endswith("_s2") for name in asked)


def test_a_damaged_piece_is_named_with_its_cure(tiny, study, capsys):
    piece = study.branch(TINY.branches(study.domains)[0])
    whole = piece.read_bytes()
    piece.write_bytes(whole[:-9])
    try:
        assert command.main(given(study, "--collect")) == 2
    finally:
        piece.write_bytes(whole)
    error = capsys.readouterr().err
    assert piece.name in error
    assert "delete it" in error
    assert error.count("\n") == 1


def test_a_text_too_short_for_the_study_is_named(tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("\n".join("a word or two of text, and then some more of it.\n" * 20 for _ in range(30)))
    with pytest.raises(CommuteError, match=r"'zwei' has .* give it more text"):
        perform.run(Study(TINY, (f"zwei={text}", f"eins={text}"), tmp_path / "out"), workers=1)


def test_the_report_computes_the_smoke_study_and_shows_committed_ones(study, results, tmp_path, monkeypatch):
    assert [part.name for part in parts.parts("smoke")][:2] == ["smoke", "smoke-predictors"]
    assert plain(parts.parts("default")[0].settings, "smoke")["name"] == "smoke"
    one = replace(TINY, checkpoints=(6,), bases=(Base((0.5, 0.5), (0.4,), 0.4),))
    assert parts.computed(one)["domains"] == ["one", "two"]
    said = parts.said(one)
    assert {piece["predictor"] for piece in said["pieces"]} == {
        "trajectory", "memory", "local-3", "frozen-curvature", "integrated", "drawn"
    }  # fmt: skip
    assert len(said["pieces"]) == said["planned"]
    monkeypatch.setattr(parts, "COMMITTED", tmp_path)
    (tmp_path / "cpu.json").write_text("{}")
    assert [part.origin for part in parts.parts("default")] == ["recomputed", "recomputed", "committed"]


PROGRAM = """
import sys
from experiments.gpt2 import __main__ as command, presets
from tests.test_gpt2_study import TINY

if __name__ == "__main__":
    presets.PRESETS["smoke"] = TINY
    sys.exit(command.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.nightly)])
def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on_to_the_same_results(tmp_path, results, jobs):
    out = Study(TINY, DATA, tmp_path / "out")
    data = [word for entry in DATA for word in ("--data", entry)]
    start = [sys.executable, "-c", PROGRAM, "--out", str(out.out), "--jobs", jobs, *data]
    process = subprocess.Popen(start, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[9/"):
            os.killpg(process.pid, signal.SIGINT)
            break
    lines += process.stderr.readlines()
    process.stderr.close()
    assert process.wait() == 130
    last = [line for line in lines if not line.startswith("[")][-1]
    assert last == "stopped; finished pieces are kept: give the same command to go on\n"
    assert not any("Traceback" in line for line in lines)
    done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stderr.split()[0]) < 34
    assert json.loads((out.out / "results.json").read_bytes()) == results


def test_the_report_computes_the_study_again_when_any_code_that_it_runs_changes():
    program = "import sys, experiments.gpt2.collect, experiments.gpt2.perform; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    used = {"/".join(name.split(".")[:2]) for name in run.stdout.split() if name.startswith("experiments.")}
    folders = {name for name in used if (ROOT / name).is_dir()}
    (code,) = (each.code for each in EXPERIMENTS if each.name == "gpt2")
    assert "experiments/quadratic" in folders
    assert folders <= set(code)
