"""``commute-verify scan``: a series by step, nothing computed twice, and when the schedule was far off."""

import json
import shutil

import pytest

import commute_verify as cv
from commute_verify.cli import estimate, main
from commute_verify.errors import CommuteError
from tests import checkpoint_files as files

pytest.importorskip("transformers")
STEPS = (4, 20, 100)
SIZES = ("--context=16", "--batch-size=4", "--batches=24", "--quiet", "--method=finite-difference")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run's folder with three checkpoints, texts, and a scan of them."""
    folder = tmp_path_factory.mktemp("world")
    files.write_texts(folder, 200)
    for step, taught in zip(STEPS, (4, 20, 40), strict=True):
        files.save(folder / "run" / f"checkpoint-{step}", files.taught(taught))
    assert run(folder, folder / "run", out=folder / "scan") in (0, 3)
    return folder


def run(world, *checkpoints, out, more=()):
    domains = [f"--domain={name}={world / name}.txt" for name in ("en", "ru")]
    given = [*map(str, checkpoints), f"--out={out}", *domains, *SIZES, "--target=ru", *more]
    return main(["scan", *given])


@pytest.fixture
def copy(world, tmp_path):
    """The world, to be changed."""
    return shutil.copytree(world, tmp_path / "world")


@pytest.fixture
def measured(monkeypatch):
    """The names of checkpoints that are measured."""
    names, honest = [], estimate.measure

    def counted(checkpoint, *given):
        names.append(checkpoint.name.rpartition("/")[2])
        return honest(checkpoint, *given)

    monkeypatch.setattr(estimate, "measure", counted)
    return names


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_checkpoints_come_by_step_and_each_effect_is_that_of_the_command_effect(world, capsys):
    held = json.loads((world / "scan" / "scan.json").read_text())
    assert [one["step"] for one in held["checkpoints"]] == list(STEPS)
    domains = [f"--domain={name}={world / name}.txt" for name in ("en", "ru")]
    path, out = str(world / "run" / "checkpoint-20"), world / "one.json"
    main(["effect", path, *domains, *SIZES, "--target=ru", f"--json={out}"])
    capsys.readouterr()
    alone = cv.OrderEffect.from_json(out.read_text())
    scanned = cv.OrderEffect.from_json((world / "scan" / "effect_20.json").read_text())
    other = cv.OrderEffect.from_json((world / "scan" / f"effect_{STEPS[0]}.json").read_text())
    size = abs(alone.P_replicates).max()
    assert abs(alone.P_replicates - scanned.P_replicates).max() <= 1e-3 * size  # roundoff of differences
    assert abs(alone.P_replicates - other.P_replicates).max() > 1e-1 * size  # another step would be seen
    assert held["checkpoints"][1]["P"]["ru"][0][1] == float(f"{scanned.P['ru'][0, 1]:.8g}")
    assert held["checkpoints"][0]["P"] != held["checkpoints"][1]["P"]


def test_what_is_kept_is_not_measured_again_and_gives_the_same_files(copy, measured, capsys):
    before = content(copy / "scan")
    run(copy, copy / "run", out=copy / "scan")
    assert measured == []
    assert content(copy / "scan") == before
    told = capsys.readouterr().out
    assert told.startswith("For the ru loss: ")
    assert [line.split()[0] for line in told.splitlines()[-3:]] == [str(step) for step in STEPS]


def test_a_checkpoint_that_changed_is_measured_again_and_it_alone(copy, measured):
    files.save(copy / "run" / "checkpoint-20", files.taught(21))
    run(copy, copy / "run", out=copy / "scan")
    assert measured == ["checkpoint-20"]


def test_a_renamed_checkpoint_is_the_same(copy, measured):
    shutil.move(copy / "run" / "checkpoint-20", copy / "run" / "checkpoint-30")
    run(copy, copy / "run", out=copy / "scan")
    assert measured == []


@pytest.mark.parametrize("more", [("--seed=1",), ("--batch-size=5",), ("--target=en",)])
def test_other_settings_are_measured_anew(copy, measured, more):
    run(copy, copy / "run" / "checkpoint-4", out=copy / "scan", more=more)
    assert measured == ["checkpoint-4"]


def test_two_checkpoints_of_one_step_keep_an_effect_each(copy):
    step = STEPS[0]
    files.save(copy / "other" / f"checkpoint-{step}", files.taught(21))
    run(copy, copy / "run", copy / "other", out=copy / "scan")
    held = [json.loads((copy / "scan" / f"effect_{step}{more}.json").read_text()) for more in ("", "-2")]
    assert held[0]["P_replicates"] != held[1]["P_replicates"]
    told = json.loads((copy / "scan" / "scan.json").read_text())["checkpoints"]
    assert [one["step"] for one in told] == sorted([*STEPS, step])


def test_other_text_is_measured_anew(copy, measured):
    (copy / "en.txt").write_text(files.text("en", 200, seed=5))
    run(copy, copy / "run" / "checkpoint-4", out=copy / "scan")
    assert measured == ["checkpoint-4"]


def test_a_kept_effect_that_is_cut_short_is_measured_again(copy, measured):
    for path in (copy / "scan" / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    run(copy, copy / "run" / "checkpoint-4", out=copy / "scan")
    assert measured == ["checkpoint-4"]


def test_weights_tell_when_the_schedule_was_furthest_from_optimal(copy, measured, capsys):
    weights = {"en": 0.75, "ru": 0.25}
    run(copy, copy / "run", out=copy / "scan", more=("--weights=en=0.75,ru=0.25",))
    told = " ".join(capsys.readouterr().out.split())
    effects = {
        step: cv.OrderEffect.from_json((copy / "scan" / f"effect_{step}.json").read_text()) for step in STEPS
    }
    found = {step: effect.optimality(weights) for step, effect in effects.items()}
    worst = max((step for step in STEPS if found[step]), key=lambda step: found[step][0].value)
    assert measured == []  # the weights change what is said, not the effect
    assert f"at {sum(map(bool, found.values()))} of 3 checkpoints" in told
    assert f"furthest from it at step {worst}: {found[worst][0].later} later" in told
    held = json.loads((copy / "scan" / "scan.json").read_text())
    assert [bool(one["violations"]) for one in held["checkpoints"]] == [bool(found[step]) for step in STEPS]


def test_patterns_and_single_folders_name_the_same_checkpoints(copy, measured):
    pattern = str(copy / "run" / "checkpoint-*0")
    run(copy, pattern, copy / "run" / "checkpoint-20", out=copy / "scan")
    held = json.loads((copy / "scan" / "scan.json").read_text())
    assert [one["step"] for one in held["checkpoints"]] == [20, 100]
    assert measured == []


def test_a_checkpoint_cut_short_is_named_and_the_others_are_kept(copy, measured, capsys):
    whole = (copy / "run" / "checkpoint-20" / "model.safetensors").read_bytes()
    (copy / "run" / "checkpoint-20" / "model.safetensors").write_bytes(whole[:1000])
    assert run(copy, copy / "run", out=copy / "scan") == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "checkpoint-20" in told.err
    assert [line.split()[0] for line in told.out.splitlines()[-2:]] == ["4", "100"]
    assert measured == []


def test_a_pattern_that_fits_nothing_is_bad_input(world, capsys):
    assert run(world, world / "nothing-*", out=world / "other") == 2
    assert "no checkpoint at" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_bad_input(world, capsys):
    assert run(world, world / "run", out=world / "en.txt") == 2
    assert "cannot write into" in capsys.readouterr().err


def test_text_is_tokenised_once_for_checkpoints_of_one_tokenizer(copy, monkeypatch):
    calls, honest = [], estimate.tokenised
    monkeypatch.setattr(estimate, "tokenised", lambda *given: calls.append(1) or honest(*given))
    run(copy, copy / "run", out=copy / "fresh", more=("--batches=8",))
    assert len(calls) == 1


def test_the_page_and_the_plot_are_the_same_again_and_stand_alone(world):
    page = (world / "scan" / "scan.html").read_text()
    assert (world / "scan" / "scan.svg").read_text() in page
    assert "<script" not in page


def test_a_series_of_nanogpt_files_has_their_steps(tmp_path):
    from commute_verify.cli.series import checkpoints

    for name in ("ckpt2000.pt", "ckpt300.pt"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in checkpoints([str(tmp_path)])] == ["ckpt300.pt", "ckpt2000.pt"]
    with pytest.raises(CommuteError, match="no checkpoint at"):
        checkpoints([str(tmp_path / "nothing")])
