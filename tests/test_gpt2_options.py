"""Studies of one's own from the command line: base weights, tilts, windows, seeds, checkpoints, tail."""

import pytest

from commute_verify.errors import CommuteError
from experiments.gpt2 import __main__ as command
from experiments.gpt2.presets import CPU, SMOKE, Base
from experiments.gpt2.study import Study

DATA = ["--data", "en=synthetic", "--data", "ru=synthetic"]


def chosen(*words):
    return command.chosen(command.parser().parse_args(["--out", "none", *words]))


def test_without_options_the_preset_is_as_it_stands():
    assert chosen("--preset", "cpu") == CPU


def test_every_option_takes_the_place_of_the_presets_own():
    found = chosen(
        *("--weights", "0.7,0.3", "--weights", "0.5,0.5", "--delta", "0.1,0.2,0.05", "--window", "40"),
        *("--seeds", "5", "--checkpoints", "100,140", "--tail", "7", "--steps", "300"),
    )
    tilts = (0.05, 0.1, 0.2)
    assert found.bases == (Base((0.7, 0.3), tilts, 0.1), Base((0.5, 0.5), tilts, 0.1))
    assert (found.window, found.seeds, found.checkpoints, found.tail) == (40, 5, (100, 140), 7)
    assert found.training.steps == 300
    assert (found.name, found.criterion, found.validation) == ("smoke", SMOKE.criterion, SMOKE.validation)
    assert {branch.tail for branch in found.branches(("en", "ru"))} == {7}


def test_weights_alone_have_the_presets_tilts_as_shares_of_the_smaller_weight():
    (base,) = chosen("--preset", "cpu", "--weights", "0.7,0.3").bases
    assert base == Base((0.7, 0.3), (0.09, 0.18, 0.27), 0.18)


def test_tilts_alone_are_those_of_every_base_of_the_preset():
    assert chosen("--delta", "0.05").bases == tuple(Base(b.weights, (0.05,), 0.05) for b in SMOKE.bases)


def test_a_shorter_window_leaves_out_the_short_ones_that_are_not_shorter():
    assert chosen("--preset", "cpu", "--window", "20").short_windows == (5,)


def test_three_domains_tilt_the_first_two():
    study = Study(chosen("--weights", "0.5,0.25,0.25", "--delta", "0.1"), ("a=x", "b=x", "c=x"), None)
    branch = study.preset.branches(study.domains)[1]
    assert branch.schedule().weights.tolist() == [[0.6, 0.15, 0.25], [0.4, 0.35, 0.25]]


BAD = {
    "weights that do not sum to 1": (["--weights", "0.7,0.7"], "weights .* sum"),
    "no numbers": (["--weights", "0.7;0.3"], "--weights '0.7;0.3'"),
    "one weight": (["--weights", "1"], "two"),
    "a tilt that leaves the simplex": (["--delta", "0.2"], "leaves the simplex"),
    "a tilt of zero": (["--delta", "0"], "above 0"),
    "a window beyond the run": (["--window", "100"], "ends before the last branch"),
    "a window of no whole sequences": (["--delta", "0.07", "--window", "3"], "whole"),
    "no window": (["--window", "0"], "window 0"),
    "no seeds": (["--seeds", "0"], "seeds"),
    "a tail that goes back": (["--tail", "-1"], "tail -1"),
    "checkpoints that fall": (["--checkpoints", "120,60"], "rising"),
    "a checkpoint in the warm-up": (["--checkpoints", "5"], "warm-up"),
    "a checkpoint that is none": (["--checkpoints", "a"], "--checkpoints 'a'"),
    "a name that a target has": (["--data", "mean=synthetic", "--data", "b=synthetic"], "'mean'"),
    "a name that no formula can hold": (["--data", "a$b=synthetic", "--data", "b=synthetic"], "'a\\$b'"),
    "weights of three domains for two": (["--weights", "0.5,0.3,0.2", "--delta", "0.1", *DATA], "2 domains"),
}


@pytest.mark.parametrize("name", BAD)
def test_options_that_make_no_study_are_refused_in_one_line(name, tmp_path, capsys):
    words, message = BAD[name]
    assert command.main(["--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(CommuteError, match=message):
        raise CommuteError(error)
    assert not (tmp_path / "out").exists()


def test_the_published_command_names_the_options():
    given = ["--out", "none", "--weights", "0.7,0.3", "--tail", "7", *DATA]
    told = " ".join(command.told(command.parser().parse_args(given)))
    assert told == "--preset smoke --data en=… --data ru=… --weights 0.7,0.3 --tail 7 --out …"
