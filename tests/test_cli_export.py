"""What trainers ask of the text that they are given, and units: each rule with an error that breaks it."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from commute_verify.cli import main
from commute_verify.cli.completion import complete_files
from commute_verify.cli.counting import Asked
from commute_verify.cli.formats import BLOCK, FORMATS, export
from commute_verify.cli.schedule_file import ScheduleFile, read
from commute_verify.criterion import Cost, OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

TILT = WeightSchedule.piecewise([(3001.0, {"en": 0.6, "ru": 0.4}), (1999.0, {"en": 0.9, "ru": 0.1})])
FILE = ScheduleFile(TILT, "steps", 4096.0)
LENGTHS = {"en": 5120.0, "ru": 3000.0}


# --- each trainer's own rules -------------------------------------------------------------------------------


def streaming(text):
    """Run the text with streaming 0.13's two rules: a batch size for each dataset, no folder used twice."""
    folders = []

    def stream(*, remote, local, proportion):
        if local in folders:
            raise ValueError(f"Reused local directory: {local}")
        folders.append(local)
        return remote.removeprefix("REMOTE/"), proportion

    def dataset(*, streams, epoch_size, batch_size=None, shuffle):
        if not isinstance(batch_size, int):
            raise ValueError("Please pass `batch_size` to StreamingDataset")
        return epoch_size, dict(streams)

    module = ModuleType("streaming")
    module.Stream, module.StreamingDataset = stream, dataset
    names = {"batch_size": 8}
    kept, sys.modules["streaming"] = sys.modules.get("streaming"), module
    try:
        exec(compile(text, "exported", "exec"), names)  # our own text, as a user pastes it
    finally:
        if kept is None:
            del sys.modules["streaming"]
        else:
            sys.modules["streaming"] = kept
    return names["stages"]


def token_shares(stages, lengths):
    for count, shares in stages:
        tokens = {name: count * share * lengths[name] for name, share in shares.items()}
        yield sum(tokens.values()), {name: value / sum(tokens.values()) for name, value in tokens.items()}


@pytest.mark.parametrize("asked", [Asked(FILE, {}, 1024), Asked(FILE, LENGTHS)])
def test_mosaic_takes_the_text_and_trains_the_shares_of_tokens(asked):
    lengths = asked.tokens_per_sample or dict.fromkeys(TILT.domains, 1024.0)
    found = token_shares(streaming(FORMATS["mosaic"](asked)), lengths)
    for (total, shares), duration, weights in zip(found, TILT.durations, TILT.weights, strict=True):
        assert shares == pytest.approx(dict(zip(TILT.domains, weights, strict=True)), rel=1e-12)  # roundoff
        assert abs(total - 4096 * duration) <= max(lengths.values())  # within a sample


@pytest.mark.parametrize(
    ("old", "new"), [("        batch_size=batch_size,\n", ""), ("LOCAL/stage2", "LOCAL/stage1")]
)
def test_mosaic_would_refuse_a_stage_without_a_batch_size_or_folders_of_its_own(old, new):
    text = FORMATS["mosaic"](Asked(FILE, {}, 1024))
    with pytest.raises(ValueError, match=r"batch_size|Reused"):
        streaming(text.replace(old, new))


def blocks(text, batch):
    """Levanter's assertion: a stage begins at a sequence that is a multiple of mixture_block_size."""
    yaml = pytest.importorskip("yaml")
    stages = yaml.safe_load(text)["data"]["train_weights"]
    assert stages[0][0] == 0
    assert all(start * batch % 2048 == 0 for start, _ in stages)
    return stages


@pytest.mark.parametrize(
    ("asked", "batch"),
    [
        (Asked(FILE, {}, 16), 256),
        (Asked(FILE, {}, None, 96), 96),
        (Asked(ScheduleFile(TILT, "steps"), {}, 16, 256), 256),
    ],
)
def test_levanter_begins_stages_on_blocks_and_as_near_as_they_come(asked, batch):
    every = 2048 // np.gcd(2048, batch)
    stages = blocks(FORMATS["levanter"](asked), batch)
    assert abs(stages[1][0] - 3001) <= every / 2
    assert [list(weights.values()) for _, weights in stages] == TILT.weights.tolist()


def test_levanter_would_refuse_stages_where_they_were_planned():
    text = FORMATS["levanter"](Asked(FILE))  # it is not told the batch size
    assert "give --batch-size" in text
    with pytest.raises(AssertionError):
        blocks(text, 256)


def test_a_stage_that_no_block_can_begin_is_one_error():
    short = WeightSchedule.piecewise([(3.0, {"en": 1.0, "ru": 0.0}), (900.0, {"en": 0.5, "ru": 0.5})])
    with pytest.raises(CommuteError, match=f"shorter than {BLOCK} steps"):
        FORMATS["levanter"](Asked(ScheduleFile(short, "steps"), {}, None, 1))


def blend(line):
    """Megatron-LM's reading of --data-path: weights and prefixes in turn."""
    words = shlex.split(line)
    given = words[words.index("--data-path") + 1 : words.index("--train-samples")]
    return {prefix.removeprefix("PATH/"): float(w) for w, prefix in zip(given[::2], given[1::2], strict=True)}


def test_megatron_gets_a_blend_for_each_stage_also_of_names_with_blanks():
    odd = WeightSchedule.piecewise([(4.0, {"old en": 0.75, "ru": 0.25}), (4.0, {"old en": 0.0, "ru": 1.0})])
    text = FORMATS["megatron"](Asked(ScheduleFile(odd, "steps", 64.0), {}, 16))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [blend(line) for line in lines] == [{"old en": 0.75, "ru": 0.25}, {"ru": 1.0}]


def interleaved(weights_of, lengths):
    """Token shares of each stage that datasets' own interleave_datasets draws."""
    datasets = pytest.importorskip("datasets")

    def rows(name):
        for n in range(100_000):
            yield {"name": name, "n": n}

    source = datasets.IterableDataset.from_generator
    names = {"domains": {name: source(rows, gen_kwargs={"name": name}) for name in TILT.domains}}
    exec(compile(export("hf-datasets", Asked(FILE, weights_of)), "exported", "exec"), names)
    for stage in names["stages"]:
        seen = [row["name"] for row in stage]
        tokens = {name: seen.count(name) * lengths[name] for name in TILT.domains}
        yield len(seen), tokens["en"] / sum(tokens.values())


def assert_shares(weights_of):
    for (count, share), weights in zip(interleaved(weights_of, LENGTHS), TILT.weights, strict=True):
        assert abs(share - weights[0]) <= 4 * 0.6 / np.sqrt(
            count
        )  # statistical: 4 standard errors, fixed seed


def test_datasets_draws_the_shares_of_tokens():
    assert_shares(LENGTHS)


def test_datasets_would_not_with_shares_of_tokens_taken_for_those_of_samples():
    with pytest.raises(AssertionError):
        assert_shares({"en": 4000.0, "ru": 4000.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "levanter", "--tokens-per-sample", "en=5,ru=3"], "leave it out"),
        (["--to", "hf-datasets", "--tokens-per-sample", "en=inf,ru=3"], "finite"),
        (
            ["--to", "hf-datasets", "--tokens-per-sample", "en=1e-320,ru=3"],
            "more samples than can be counted",
        ),
        (["--to", "megatron", "--sequence-length", "1024", "--batch-size", "7"], "7,168 tokens a step"),
        (["--to", "mosaic"], "give --sequence-length"),
        (["--to", "csv", "--out", "{}/none/out.csv"], "cannot write"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_code_2(tmp_path, capsys, arguments, message):
    (tmp_path / "schedule.json").write_text(FILE.to_json())
    given = [argument.format(tmp_path) for argument in arguments]
    assert main(["export", str(tmp_path / "schedule.json"), *given]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"tokens_per_step": "x"},
        {"tokens_per_step": True},
        {"tokens_per_step": -1},
        {"domains": [["en"], "ru"]},
        {"domains": [1, 2]},
        {"domains": ["en", "en"]},
        {"domains": None},
        {"unit": None},
        {"unit": ["steps"]},
        {"unit": "years"},
        {"version": True},
        {"stages": []},
        {"stages": [5]},
        {"stages": [{"steps": "x", "weights": {"en": 1, "ru": 0}}]},
        {"stages": [{"steps": float("nan"), "weights": {"en": 1, "ru": 0}}]},
        {"stages": [{"steps": 10**400, "weights": {"en": 1, "ru": 0}}]},
        {"stages": [{"steps": 5, "weights": {"en": "a", "ru": 0}}]},
    ],
)
def test_a_schedule_file_that_is_wrong_in_any_field_is_one_error(tmp_path, capsys, change):
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps(json.loads(FILE.to_json()) | change))
    assert main(["schedule", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"commute-verify schedule: {path}: ")
    assert told.count("\n") == 1


# --- units --------------------------------------------------------------------------------------------------


def effect(P, noise=0.1):
    rng = np.random.default_rng(0)
    upper = np.triu(P + noise * rng.normal(size=(8, 1, 3, 3)), k=1)
    return OrderEffect(
        ("en", "ru", "code"),
        {"mix": {"en": 0.5, "ru": 0.3, "code": 0.2}},
        upper - upper.swapaxes(2, 3),
        np.zeros((8, 1, 3)),
        Cost(0, 0, 0, 0, 0.0, 0),
        "made of numbers",
    )


CLEAR = effect(np.array([[0, 4.0, 2.0], [0, 0, -3.0], [0, 0, 0]]))
VAGUE = effect(np.array([[0, 4.0, 0.0], [0, 0, -3.0], [0, 0, 0]]))


def planned(folder, capsys, of, *more):
    (folder / "effect.json").write_text(of.to_json())
    code = main(["plan", str(folder / "effect.json"), "--out", str(folder / "out.json"), *more])
    return code, capsys.readouterr().out


ORDER = ("--totals", "en=5e5,ru=3e5,code=2e5", "--tokens-per-step", "1000", "--lr", "0.002")


def assert_nats(folder, capsys, how, lr):
    code, told = planned(folder, capsys, CLEAR, *ORDER, *how)
    assert code == 0
    gain = float(re.search(r"gain of ([\d.e+-]+)", told)[1])
    file = read(folder / "out.json")
    steps = WeightSchedule.piecewise(file.stages("steps"))
    assert -CLEAR.excess_loss(steps, lr)["mix"].value == pytest.approx(gain, rel=5e-3)  # 3 digits are printed


HOW = [("--max-tilt", "0.1"), ("--max-tilt", "0.1", "--windows", "3"), ("--blocks",)]


@pytest.mark.parametrize("how", HOW)
def test_a_gain_is_the_excess_at_the_lr_and_steps_that_were_given(tmp_path, capsys, how):
    assert_nats(tmp_path, capsys, how, 0.002)


@pytest.mark.parametrize("how", HOW)
def test_a_gain_for_flow_time_or_another_lr_would_be_noticed(tmp_path, capsys, how):
    for lr in (1.0, 0.001):
        with pytest.raises(AssertionError):
            assert_nats(tmp_path, capsys, how, lr)


def test_what_whole_steps_add_is_said_and_what_is_written(tmp_path, capsys):
    totals = ("--totals", "en=5e5,ru=3e5,code=2e5", "--tokens-per-step", "7000", "--lr", "0.002")
    _, told = planned(tmp_path, capsys, CLEAR, *totals, "--max-tilt", "0.1")
    written = sum(read(tmp_path / "out.json").schedule.totals().values())
    assert written == pytest.approx(143 * 7000)
    assert "train 1,000 tokens more than --totals" in told
    _, told = planned(tmp_path, capsys, CLEAR, *ORDER, "--max-tilt", "0.1")
    assert "--totals" not in told


@pytest.mark.parametrize("how", HOW)
def test_open_pairs_are_named(tmp_path, capsys, how):
    _, told = planned(tmp_path, capsys, VAGUE, *ORDER, *how)
    (open_pairs,) = re.findall(r"ot resolved:? ([^.]*)\.", told)
    assert "en and code" in open_pairs
    assert "ru" not in open_pairs
    assert "ot resolved" not in planned(tmp_path, capsys, CLEAR, *ORDER, *how)[1]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--totals", "en=inf,ru=1,code=1", "finite"),
        ("--totals", "en=1e308,ru=1e308,code=1e308", "more steps than can be counted"),
        ("--totals", "en=1e300,ru=1,code=1", "more steps than can be counted"),
        ("--lr", "1e300", "is inf in float64; give another lr"),
        ("--lr", "1e-300", "is 0 in float64; give another lr"),
        ("--tokens-per-step", "inf", "finite number above 0"),
        ("--tokens-per-step", "nan", "finite number above 0"),
        ("--windows", "0", "--windows 0: give 1 or more"),
        ("--windows", "900", "whole windows of at least 2 steps"),
    ],
)
@pytest.mark.parametrize("how", HOW)
def test_numbers_that_plan_nothing_are_one_line(tmp_path, capsys, how, option, value, message):
    if option == "--windows":
        how = ("--max-tilt", "0.1")
    (tmp_path / "effect.json").write_text(CLEAR.to_json())
    given = [*ORDER, *how, option, value]
    assert main(["plan", str(tmp_path / "effect.json"), "--out", str(tmp_path / "o.json"), *given]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "o.json").exists()


def test_a_block_shorter_than_a_step_is_refused(tmp_path, capsys):
    (tmp_path / "effect.json").write_text(CLEAR.to_json())
    short = ["--totals", "en=5e5,ru=3e5,code=999", "--blocks"]
    assert main(["plan", str(tmp_path / "effect.json"), *ORDER, *short]) == 2
    assert "999 tokens of code, and a step has 1000" in capsys.readouterr().err


# --- completion ---------------------------------------------------------------------------------------------


def script(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_knows_commands_options_and_choices_and_its_shell_reads_it(tmp_path, capsys, shell):
    text = script(shell, capsys)
    assert all(word in text for word in ("plan", "export", "max-tilt", "levanter"))
    if shutil.which(shell):
        (tmp_path / "script").write_text(text)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_options_choices_and_files(tmp_path, capsys):
    (tmp_path / "complete.sh").write_text(script("bash", capsys))
    (tmp_path / "effect.json").write_text("{}")

    def completed(*words):
        typed = shlex.join(["commute-verify", *words])
        line = (
            f"source complete.sh; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; "
            "$(complete -p commute-verify | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
            "printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.split()

    assert "--max-tilt" in completed("plan", "--ma")
    assert completed("export", "effect.json", "--to", "lev") == ["levanter"]
    assert completed("plan", "eff") == ["effect.json"]


def test_arguments_that_are_no_paths_are_not_completed_as_files():
    import argparse

    from commute_verify.cli import parser

    whole = parser()
    complete_files(whole, "files")
    (commands,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    found = {
        name: {action.dest for action in one._actions if hasattr(action, "complete")}
        for name, one in commands.choices.items()
    }
    assert found["plan"] == {"effect", "out"}
    assert found["schedule"] == {"file", "svg"}
    assert "checkpoint" in found["effect"]


def test_exported_code_is_code():
    for name in ("hf-datasets", "mosaic"):
        ast.parse(export(name, Asked(FILE, LENGTHS)))
