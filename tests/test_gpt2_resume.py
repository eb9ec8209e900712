"""A run that is stopped, by whatever, ends with the same bits as one that is not; ranks share a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from commute_verify import CommuteError
from experiments.gpt2 import checkpoint, loop, train
from experiments.gpt2.metrics import Metrics, evaluations, read
from tests import gpt2_small as small

EPS32 = float(np.finfo(np.float32).eps)
DATA = ["--data", "en=synthetic", "--data", "ru=synthetic", "--limit-documents", "60", "--data-seed", "1"]
SIZE = ["--layers", "1", "--width", "16", "--context", "16", "--vocabulary", "300", "--batch", "6"]
COMMAND = [*DATA, *SIZE, "--steps", "120", "--save-every", "10", "--evaluate-every", "30", "--save-at", "25"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return small.build(tmp_path_factory.mktemp("shards") / "shards")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of COMMAND, never stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert train.main([*COMMAND, "--out", str(out)]) == 0
    return out


def run(shards, out, settings=small.SETTINGS, **options):
    stages, options = small.constant(settings.steps), {"save_every": 4, "progress": False} | options
    return loop.train(settings, shards, stages, None, out, **options)


def in_a_process(*command, module="experiments.gpt2.train"):
    return subprocess.Popen(
        [sys.executable, "-m", module, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_told(out):
    return sum("loss" in line for line in read(out))


def stopped_after(out, steps, by, *command):
    """Start the command, send the signal when so many steps are told; its exit status and stderr."""
    process = in_a_process(*command, "--out", str(out))
    deadline = time.monotonic() + 300
    while process.poll() is None and steps_told(out) < steps and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(by)
    _, told = process.communicate(timeout=120)
    return process.returncode, told


def same_bits(first, second):
    """Parameters and moments of two checkpoints."""
    pairs = zip(first.model().state_dict().values(), second.model().state_dict().values(), strict=True)
    moments = (one.optimizer_state()["state"] for one in (first, second))
    states = zip(*(state.values() for state in moments), strict=True)
    return (
        all(torch.equal(a, b) for a, b in pairs)
        and all(torch.equal(a[name], b[name]) for a, b in states for name in a)
        and first.state == second.state
    )


def without_speed(out):
    """The lines of metrics.jsonl but for the tokens per second."""
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read(out)]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(whole, tmp_path):
    status, _ = stopped_after(tmp_path, 47, signal.SIGKILL, *COMMAND)
    assert status == -signal.SIGKILL
    assert 0 < checkpoint.latest(tmp_path).state.step < 120
    assert train.main([*COMMAND, "--out", str(tmp_path)]) == 0
    assert same_bits(checkpoint.latest(tmp_path), checkpoint.latest(whole))
    assert same_bits(*(checkpoint.load(checkpoint.folder_of(out, 25)) for out in (tmp_path, whole)))
    assert without_speed(tmp_path) == without_speed(whole)
    assert checkpoint.steps_saved(tmp_path) == [25, 120]


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(whole, tmp_path):
    status, told = stopped_after(tmp_path, 33, signal.SIGINT, *COMMAND)
    assert status == 130
    assert told.strip().splitlines()[-1].startswith("stopped; give the same command to go on")
    assert "Traceback" not in told
    assert checkpoint.latest(tmp_path).state.step == steps_told(tmp_path) < 120
    assert train.main([*COMMAND, "--out", str(tmp_path)]) == 0
    assert same_bits(checkpoint.latest(tmp_path), checkpoint.latest(whole))


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def killed_at(monkeypatch, where, name, call):
    """Die at the given call of a function."""
    original, calls = getattr(where, name), []

    def dies(*given, **options):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*given, **options)

    monkeypatch.setattr(where, name, dies)


@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        (Metrics, "step", 1),  # before anything is saved
        (Metrics, "step", 9),
        (Metrics, "evaluation", 2),
        (checkpoint.os, "replace", 5),
        (checkpoint, "_sync", 12),  # within a save
        (checkpoint, "remove", 1),  # between a save and the removal of an older one
    ],
)
def test_wherever_a_run_dies_it_goes_on_to_the_same_bits(shards, tmp_path, monkeypatch, where, name, call):
    expected = run(shards, tmp_path / "whole", save_every=2, evaluate_every=3)
    with monkeypatch.context() as patch:
        killed_at(patch, where, name, call)
        with pytest.raises(Killed):
            run(shards, tmp_path / "out", save_every=2, evaluate_every=3)
    found = run(shards, tmp_path / "out", save_every=2, evaluate_every=3)
    assert same_bits(found, expected)
    assert without_speed(tmp_path / "out") == without_speed(tmp_path / "whole")


def test_a_cursor_that_is_not_restored_would_be_seen(shards, tmp_path, monkeypatch):
    expected = run(shards, tmp_path / "whole")
    with monkeypatch.context() as patch:
        killed_at(patch, Metrics, "step", 7)
        with pytest.raises(Killed):
            run(shards, tmp_path / "out")
    path = checkpoint.folder_of(tmp_path / "out", 4) / "state.json"
    held = json.loads(path.read_text()) | {"cursor": {"en": 0, "ru": 0}}
    del held["digest"]
    path.write_text(json.dumps(held | {"digest": checkpoint._seal(held)}))
    found = run(shards, tmp_path / "out")
    assert not torch.equal(*(one.model().transformer.wte.weight for one in (found, expected)))


def test_a_damaged_last_checkpoint_costs_the_steps_since_another(shards, tmp_path, monkeypatch, capsys):
    expected = run(shards, tmp_path / "whole", save_every=3)
    with monkeypatch.context() as patch:
        killed_at(patch, Metrics, "step", 11)
        with pytest.raises(Killed):
            run(shards, tmp_path / "out", save_every=3)
    assert checkpoint.steps_saved(tmp_path / "out") == [6, 9]
    os.truncate(checkpoint.folder_of(tmp_path / "out", 9) / "optimizer.pt", 100)
    found = run(shards, tmp_path / "out", save_every=3)
    assert "passed over" in capsys.readouterr().err
    assert same_bits(found, expected)


@pytest.mark.parametrize("damage", [lambda folder: os.truncate(folder / "optimizer.pt", 100), shutil.rmtree])
@pytest.mark.parametrize("finished", [True, False])
def test_a_checkpoint_that_was_asked_for_and_is_lost_is_trained_again(
    shards, tmp_path, monkeypatch, capsys, damage, finished
):
    options = {"save_every": 2, "save_at": (3, 5, 7), "evaluate_every": 3}
    expected = run(shards, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        if not finished:
            killed_at(patch, Metrics, "step", 10)
            with pytest.raises(Killed):
                run(shards, tmp_path / "out", **options)
        else:
            run(shards, tmp_path / "out", **options)
    damage(checkpoint.folder_of(tmp_path / "out", 5))
    kept = checkpoint.folder_of(tmp_path / "out", 7) / "model.safetensors"
    before = kept.stat().st_ino
    with monkeypatch.context() as patch:  # dying on the way loses nothing either
        killed_at(patch, checkpoint, "_sync", 3)
        with pytest.raises(Killed):
            run(shards, tmp_path / "out", **options)
    assert "lacks whole checkpoints of steps 5: training again from step 3" in capsys.readouterr().err
    found = run(shards, tmp_path / "out", **options)
    assert same_bits(found, expected)
    for step in (3, 5, 7):
        pair = (checkpoint.load(checkpoint.folder_of(tmp_path / out, step)) for out in ("out", "whole"))
        assert same_bits(*pair)
    assert kept.stat().st_ino == before
    assert without_speed(tmp_path / "out") == without_speed(tmp_path / "whole")
    assert checkpoint.steps_saved(tmp_path / "out") == [3, 5, 7, 12]


def test_a_finished_run_is_not_computed_again(shards, tmp_path, monkeypatch):
    first = run(shards, tmp_path)
    monkeypatch.setattr(loop, "build", None)
    assert run(shards, tmp_path) == first


def test_a_resume_with_changed_settings_names_them(shards, tmp_path):
    run(shards, tmp_path)
    with pytest.raises(CommuteError, match=r"lr: 0\.01 → 0\.02; seed: 0 → 3\)"):
        run(shards, tmp_path, small.changed(lr=0.02, seed=3))
    with pytest.raises(CommuteError, match="counts"):
        run(shards, tmp_path, counts="exact")
    start = checkpoint.latest(tmp_path)
    with pytest.raises(CommuteError, match="stages; start"):
        loop.train(small.SETTINGS, shards, small.constant(3), start, tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CommuteError, match=r"run\.json cannot be read"):
        run(shards, tmp_path)


def test_a_full_disk_stops_the_run_and_what_was_saved_goes_on(shards, tmp_path, monkeypatch):
    expected = run(shards, tmp_path / "whole")

    def full(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        saves = []
        original = checkpoint._save_weights

        def fills(*given):
            saves.append(1)
            return original(*given) if len(saves) < 2 else full()

        patch.setattr(checkpoint, "_save_weights", fills)
        with pytest.raises(CommuteError, match="No space left on device"):
            run(shards, tmp_path / "out")
    assert checkpoint.latest(tmp_path / "out").state.step == 4
    assert same_bits(run(shards, tmp_path / "out"), expected)


def test_the_first_stop_signal_ends_the_run_after_its_step(shards, tmp_path, monkeypatch):
    original = Metrics.step

    def told(self, step, *given):
        if step == 5:
            signal.raise_signal(signal.SIGTERM)
        original(self, step, *given)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "step", told)
        with pytest.raises(KeyboardInterrupt):
            run(shards, tmp_path)
    assert checkpoint.latest(tmp_path).state.step == 7
    assert signal.getsignal(signal.SIGINT) == before


def test_the_command_refuses_bad_input_in_one_line(tmp_path, capsys):
    for wrong, message in (
        (["--data", "en=synthetic"], "at least 2"),
        ([*DATA, "--weights", "0.5,0.6"], "divide them by their sum"),
        ([*DATA, "--weights", "1"], "one number each"),
        ([*DATA, "--optimizer", "lion"], "optimizer"),
        ([*DATA, "--evaluate-windows", "0"], "evaluate_windows is 0"),
        ([*DATA, "--evaluate-every", "-3"], "evaluate_every is -3"),
        ([*DATA, "--save-every", "-1"], "save_every is -1"),
        ([*DATA, "--save-at", "999"], "save_at names step 999, and the run goes from 0 to 160"),
        ([*DATA[:4], "--limit-documents", "-1", "--shards", str(tmp_path / "x")], "limit_documents is -1"),
        ([*DATA, "--start", str(tmp_path / "none")], "not a whole checkpoint"),
    ):
        assert train.main([*wrong, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1
        assert told.startswith("train: ")


@pytest.mark.slow
def test_two_ranks_have_the_curve_of_one_process(whole, tmp_path):
    launched = in_a_process(
        "--nproc-per-node", "2", "--standalone", "-m", "experiments.gpt2.train",
        *COMMAND, "--out", str(tmp_path), module="torch.distributed.run",
    )  # fmt: skip
    _, told = launched.communicate(timeout=300)
    assert launched.returncode == 0, told
    # Roundoff: sums of float32 in another order, carried through 120 steps of AdamW.
    tolerance = 1e4 * EPS32
    for ours, theirs in zip(read(tmp_path), read(whole), strict=True):
        losses = (one.get("loss") or one["validation"] for one in (ours, theirs))
        for name, value in next(losses).items():
            other = (theirs.get("loss") or theirs["validation"])[name]
            assert (value is None) == (other is None)
            assert value is None or abs(value - other) <= tolerance * other
    assert checkpoint.latest(tmp_path).state.cursor == checkpoint.latest(whole).state.cursor
    assert evaluations(tmp_path).keys() == evaluations(whole).keys()


def test_the_model_takes_the_vocabulary_asked_for_or_that_of_a_pretrained_tokenizer(shards, tmp_path):
    command = ["--data", "en=synthetic", "--data", "ru=synthetic", "--limit-documents", "60", "--steps", "1"]
    given = [
        (2048, ["--preset", "cpu", "--layers", "1"]),  # the preset's
        (310, ["--vocabulary", "310"]),
        (384, ["--tokenizer", str(shards.tokenizer_folder)]),  # 300, padded
    ]
    for number, (expected, more) in enumerate(given):
        out = tmp_path / str(number)
        assert train.main([*command, *more, "--out", str(out)]) == 0
        assert checkpoint.latest(out).model().config.vocab_size == expected
