"""A study whose checkpoints are damaged makes them again; two commands do not work on one folder at once."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from commute_verify import CommuteError
from experiments.gpt2 import checkpoint, perform
from experiments.gpt2.collect import collected
from experiments.gpt2.presets import Base
from experiments.gpt2.study import Study
from experiments.lock import alone
from tests.test_gpt2_study import DATA, TINY

SMALL = replace(TINY, bases=(Base((0.5, 0.5), (0.4,), 0.4),), seeds=1)
WEIGHTS = {"zwei": 0.5, "eins": 0.5}


def results_of(study):
    return json.loads(json.dumps(collected(study), sort_keys=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    made = Study(SMALL, DATA, tmp_path_factory.mktemp("study"))
    perform.run(made, workers=1)
    return made


@pytest.fixture
def study(whole, tmp_path):
    shutil.copytree(whole.out, tmp_path / "study")
    return Study(SMALL, DATA, tmp_path / "study")


LOSSES = {
    "cut short": lambda folder: os.truncate(folder / "model.safetensors", 1000),
    "removed": shutil.rmtree,
    "with another cursor": lambda folder: (folder / "state.json").write_text(
        (folder / "state.json").read_text().replace('"zwei"', '"drei"')
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_checkpoint_that_is_lost_is_trained_again_for_the_branch_that_needs_it(whole, study, capsys, loss):
    folder = checkpoint.folder_of(study.run(WEIGHTS), 6)
    LOSSES[loss](folder)
    gone = SMALL.branches(study.domains)[1]
    assert gone.start == 6
    study.branch(gone).unlink()
    with pytest.raises(CommuteError, match="without --only"):
        perform.run(study, workers=1, only="2/6")
    capsys.readouterr()
    perform.run(study, workers=1)
    told = capsys.readouterr().err
    assert f"{folder} is lost: its run is trained again" in told
    assert "2 jobs to do" in told
    assert results_of(study) == results_of(whole)
    assert checkpoint.is_whole(study.run(WEIGHTS), 6)


def test_a_checkpoint_that_no_job_needs_is_not_made_again(study, monkeypatch):
    shutil.rmtree(study.run(WEIGHTS))
    monkeypatch.setattr(perform, "perform", lambda *given: pytest.fail("something was made again"))
    perform.run(study, workers=1)


def test_a_second_command_on_the_same_folder_is_refused_and_shares_are_not(study):
    with alone(study.out), pytest.raises(CommuteError, match="another command"):
        perform.run(study, workers=1)
    with alone(study.out), pytest.raises(CommuteError, match="another command"):
        perform.run(study, workers=1, only="1/2")
    with alone(study.out, shared=True):
        perform.run(study, workers=1, only="1/2")
        with pytest.raises(CommuteError, match="another command"):
            perform.run(study, workers=1)
    perform.run(study, workers=1)


def test_the_same_share_twice_at_once_is_refused(study):
    with (
        alone(study.out, shared=True),
        alone(study.out, "share-1-of-2"),
        pytest.raises(CommuteError, match="another command"),
    ):
        perform.run(study, workers=1, only="1/2")


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": -1}, {"workers": 1, "threads": 0}])
def test_no_processes_and_no_threads_are_refused(study, wrong):
    with pytest.raises(CommuteError, match="--jobs" if wrong["workers"] < 1 else "--threads"):
        perform.run(study, **wrong)


def test_results_of_a_folder_without_a_study_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(CommuteError, match="without --collect") as caught:
        collected(Study(SMALL, DATA, tmp_path))
    assert "delete" not in str(caught.value)
