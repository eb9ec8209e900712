"""From an effect to text to paste: plan, schedule, export, completion, each with its bad input."""

import ast
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from commute_verify.cli import files, main
from commute_verify.cli.counting import Asked
from commute_verify.cli.formats import FORMATS
from commute_verify.cli.schedule_file import ScheduleFile, read
from commute_verify.criterion import Cost, OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

TILT = WeightSchedule.piecewise([(3000.0, {"en": 0.6, "ru": 0.4}), (2000.0, {"en": 0.9, "ru": 0.1})])
LENGTHS = {"en": 512.0, "ru": 300.0}


def effect(P=4.0, noise=0.1, replicates=8):
    rng = np.random.default_rng(0)
    found = np.zeros((replicates, 1, 2, 2))
    found[:, 0, 0, 1] = P + noise * rng.normal(size=replicates)
    return OrderEffect(
        ("en", "ru"),
        {"mixture": {"en": 0.5, "ru": 0.5}},
        found - found.swapaxes(2, 3),
        np.zeros((replicates, 1, 2)),
        Cost(0, 0, 0, 0, 0.0, 0),
        "made of numbers",
    )


@pytest.fixture
def held(tmp_path):
    (tmp_path / "effect.json").write_text(effect().to_json())
    (tmp_path / "schedule.json").write_text(ScheduleFile(TILT, "steps", 4096.0).to_json())
    return tmp_path


def plan(folder, *more):
    return main(
        ["plan", str(folder / "effect.json"), "--totals", "en=6e5,ru=4e5", "--tokens-per-step", "1000",
         "--lr", "0.001", "--out", str(folder / "out.json"), *more]
    )  # fmt: skip


def test_a_plan_puts_the_domain_later_that_P_puts_later_and_keeps_all_tokens(held, capsys):
    assert plan(held, "--max-tilt", "0.1") == 0
    told = capsys.readouterr().out
    assert "train more ru" in told  # P(en, ru) > 0: ru first
    file = read(held / "out.json")
    assert file.unit == "tokens"
    assert file.schedule.totals() == pytest.approx({"en": 6e5, "ru": 4e5}, rel=1e-12)  # roundoff
    assert file.schedule.levy_area()[0, 1] < 0


def assert_gain(held, capsys, schedule):
    """The gain in the plan's words is the excess of the schedule that it wrote, by the effect's own way."""
    gain = float(re.search(r"gain of ([\d.e+-]+)", capsys.readouterr().out)[1])
    steps = WeightSchedule.piecewise(ScheduleFile(schedule, "tokens", 1000.0).stages("steps"))
    value = effect().excess_loss(steps, lr=0.001)["mixture"].value
    assert -value == pytest.approx(gain, rel=5e-3)  # three digits are printed


@pytest.mark.parametrize("how", [("--max-tilt", "0.1"), ("--blocks",)])
def test_the_gain_is_that_of_the_schedule_written(held, capsys, how):
    assert plan(held, *how) == 0
    assert_gain(held, capsys, read(held / "out.json").schedule)


def test_a_schedule_run_backwards_has_not_the_gain(held, capsys):
    assert plan(held, "--blocks") == 0
    with pytest.raises(AssertionError):
        assert_gain(held, capsys, read(held / "out.json").schedule.reversed())


def test_where_nothing_is_resolved_the_advice_is_to_leave_it_and_the_code_is_3(held, capsys):
    (held / "effect.json").write_text(effect(P=0.0, noise=1.0).to_json())
    assert plan(held, "--max-tilt", "0.1") == 3
    assert "eave the weights as they are" in capsys.readouterr().out
    assert len(read(held / "out.json").schedule.durations) == 1


def test_the_file_reads_back_exactly(held):
    file = read(held / "schedule.json")
    assert (file.schedule, file.unit, file.tokens_per_step) == (TILT, "steps", 4096.0)
    (held / "plain.json").write_text(TILT.to_json())
    assert read(held / "plain.json") == ScheduleFile(TILT, "steps")


def recovered(stages):
    """Token shares from (samples, shares of samples), one stage at a time."""
    found = []
    for count, shares in stages:
        tokens = {name: count * share * LENGTHS.get(name, 1.0) for name, share in shares.items()}
        total = sum(tokens.values())
        found.append((total, {name: value / total for name, value in tokens.items()}))
    return found


def export(folder, to, capsys, *more):
    assert main(["export", str(folder / "schedule.json"), "--to", to, *more]) == 0
    return capsys.readouterr().out


def test_datasets_get_shares_of_samples_that_give_back_the_shares_of_tokens(held, capsys):
    text = export(held, "hf-datasets", capsys, "--tokens-per-sample", "en=512,ru=300")
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    takes = [c for c in calls if getattr(c.func, "attr", "") == "take"]
    stages = []
    for take in takes:
        inner = take.func.value
        shares = next(ast.literal_eval(k.value) for k in inner.keywords if k.arg == "probabilities")
        stages.append((ast.literal_eval(take.args[0]), dict(zip(("en", "ru"), shares, strict=True))))
    tokens = [
        (length * 4096, weights) for length, weights in ((3000, TILT.weights[0]), (2000, TILT.weights[1]))
    ]
    for (total, shares), (length, weights) in zip(recovered(stages), tokens, strict=True):
        assert shares == pytest.approx(dict(zip(("en", "ru"), weights, strict=True)), rel=1e-12)  # roundoff
        assert abs(total - length) <= 512  # within a sample


def test_shares_of_tokens_taken_for_shares_of_samples_are_seen(held):
    stages = [
        (length, dict(zip(("en", "ru"), w, strict=True)))
        for length, w in zip((3000, 2000), TILT.weights, strict=True)
    ]
    wrong = recovered(stages)
    assert abs(wrong[0][1]["en"] - 0.6) > 0.05


@pytest.mark.slow
def test_the_text_for_datasets_runs(held, capsys):
    datasets = pytest.importorskip("datasets")
    text = export(held, "hf-datasets", capsys, "--tokens-per-sample", "en=512000,ru=300000")

    def rows(name):
        for n in range(10_000):
            yield {"name": name, "n": n}

    names = {
        "domains": {
            name: datasets.IterableDataset.from_generator(rows, gen_kwargs={"name": name})
            for name in ("en", "ru")
        }
    }
    exec(compile(text, "exported", "exec"), names)  # our own text, as a user pastes it
    seen = [row["name"] for row in names["train"]]
    stages = Asked(read(held / "schedule.json"), {"en": 512000.0, "ru": 300000.0}).samples()
    assert len(seen) == sum(int(length) for length, _ in stages)


def test_levanter_gets_steps_and_weights(held, capsys):
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(export(held, "levanter", capsys))["data"]["train_weights"]
    assert found == [[0, {"en": 0.6, "ru": 0.4}], [3000, {"en": 0.9, "ru": 0.1}]]


def test_nanotron_counts_steps_from_1(held, capsys):
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(export(held, "nanotron", capsys))["data_stages"]
    assert [stage["start_training_step"] for stage in found] == [1, 3001]
    assert [stage["data"]["dataset"]["dataset_weights"] for stage in found] == [[0.6, 0.4], [0.9, 0.1]]
    assert found[0]["data"]["dataset"]["dataset_folder"] == ["PATH/en", "PATH/ru"]


def test_megatron_counts_sequences_from_the_first_step_of_all(held, capsys):
    text = export(held, "megatron", capsys, "--sequence-length", "2048")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    ends = [int(line[line.index("--train-samples") + 1]) for line in lines]
    assert ends == [3000 * 2, 5000 * 2]  # 4096 tokens a step are 2 sequences
    assert lines[0][1:5] == ["0.6", "PATH/en", "0.4", "PATH/ru"]


def test_mosaic_gets_a_dataset_for_each_stage(held, capsys):
    text = export(held, "mosaic", capsys, "--sequence-length", "2048")
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    sizes, shares = [], []
    for call in calls:
        named = {k.arg: k.value for k in call.keywords}
        if "epoch_size" in named:
            sizes.append(ast.literal_eval(named["epoch_size"]))
        if "proportion" in named:
            shares.append(ast.literal_eval(named["proportion"]))
    assert sizes == [6000, 4000]
    assert sorted(shares) == [0.1, 0.4, 0.6, 0.9]


def test_csv_gives_back_every_number(held, capsys):
    rows = list(csv.DictReader(io.StringIO(export(held, "csv", capsys))))
    assert [(float(r["start_steps"]), float(r["end_steps"])) for r in rows] == [(0, 3000), (3000, 5000)]
    assert [float(r["en"]) for r in rows] == [0.6, 0.9]


def test_names_that_need_quotes_stay_names(tmp_path):
    yaml = pytest.importorskip("yaml")
    odd = WeightSchedule.constant({'a "b": {c}': 0.5, "d'e; rm -rf": 0.5}, 10.0)
    held = Asked(ScheduleFile(odd, "steps", 4.0), dict.fromkeys(odd.domains, 2.0), 2)
    assert yaml.safe_load(FORMATS["levanter"](held))["data"]["train_weights"][0][1].keys() == set(odd.domains)
    for name in ("hf-datasets", "mosaic"):
        ast.parse(FORMATS[name](held))
    assert "'PATH/d'\"'\"'e; rm -rf'" in FORMATS["megatron"](held)


def test_a_schedule_is_told_in_words(held, capsys):
    assert main(["schedule", str(held / "schedule.json")]) == 0
    told = capsys.readouterr().out
    assert "5,000 steps in 2 stages" in told
    assert "ru runs ahead of en: Lévy area" in told
    assert "72.00%" in told
    area = float(re.search(r"area ([\d.e+]+)", told)[1])
    assert area == pytest.approx(abs(TILT.levy_area()[0, 1]), rel=1e-3)  # four digits are printed


def test_a_schedule_is_drawn(held):
    out = held / "picture.svg"
    assert main(["schedule", str(held / "schedule.json"), "--svg", str(out), "--quiet"]) == 0
    assert out.read_text().lstrip().startswith("<")
    first = out.read_bytes()
    main(["schedule", str(held / "schedule.json"), "--svg", str(out), "--quiet"])
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "{}/none.json"], "cannot read"),
        (["plan", "{}/effect.json", "--totals", "en=1e5"], "gives 0 tokens of ru"),
        (["plan", "{}/effect.json", "--totals", "en=1e5,ru=1e5,fr=1"], "names fr"),
        (["plan", "{}/effect.json", "--totals", "en=1e5,ru=x"], "give NAME=NUMBER"),
        (["plan", "{}/effect.json", "--totals", "en=1,en=2"], "twice"),
        (["plan", "{}/effect.json", "--totals", "en=1e5,ru=-4"], "-4 tokens of ru"),
        (["plan", "{}/effect.json", "--tokens-per-step", "1e9"], "at least 2"),
        (["plan", "{}/effect.json", "--max-tilt", "-1"], "max_tilt"),
        (["plan", "{}/effect.json", "--lr", "0"], "lr"),
        (["plan", "{}/effect.json", "--target", "fr"], "fr"),
        (["plan", "{}/old.json"], "version"),
        (["plan", "{}/cut.json"], "cut"),
        (["export", "{}/cut.json", "--to", "csv"], "cut short or is not JSON"),
        (["export", "{}/schedule.json", "--to", "hf-datasets"], "give --tokens-per-sample"),
        (["export", "{}/schedule.json", "--to", "hf-datasets", "--tokens-per-sample", "en=5,fr=2"], "fr=2"),
        (["export", "{}/schedule.json", "--to", "megatron"], "give --sequence-length"),
        (["export", "{}/schedule.json", "--to", "megatron", "--sequence-length", "0"], "give 1 or more"),
        (["export", "{}/plain.json", "--to", "megatron", "--sequence-length", "8"], "--tokens-per-step"),
        (["export", "{}/short.json", "--to", "levanter"], "shorter than one step"),
        (["schedule", "{}/effect.json"], "not a schedule"),
        (["schedule", "{}/newer.json"], "version 9"),
        (["schedule", "{}/off.json"], "divide them by their sum"),
        (["schedule", "{}/binary.json"], "not UTF-8"),
    ],
)
def test_bad_input_is_one_line_and_code_2(held, capsys, arguments, message):
    whole = json.loads((held / "schedule.json").read_text())
    (held / "old.json").write_text(json.dumps(json.loads(effect().to_json()) | {"version": 99}))
    (held / "cut.json").write_text(effect().to_json()[:40])
    (held / "plain.json").write_text(TILT.to_json())
    short = WeightSchedule.piecewise([(0.2, {"en": 1.0, "ru": 0.0}), (9.0, {"en": 0.5, "ru": 0.5})])
    (held / "short.json").write_text(ScheduleFile(short, "steps").to_json())
    (held / "newer.json").write_text(json.dumps(whole | {"version": 9}))
    off = [{"steps": 5.0, "weights": {"en": 0.7, "ru": 0.7}}]
    (held / "off.json").write_text(json.dumps(whole | {"stages": off}))
    (held / "binary.json").write_bytes(b"\xff\xfe\x00")
    given = [a.format(held) for a in arguments]
    if given[0] == "plan":
        for option, value in (
            ("--totals", "en=6e5,ru=4e5"), ("--tokens-per-step", "1000"), ("--lr", "0.001"),
            ("--max-tilt", "0.1"), ("--out", str(held / "out.json")),
        ):  # fmt: skip
            given += [] if option in given else [option, value]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (held / "out.json").exists()


def test_a_full_disk_leaves_what_was_there(held, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CommuteError, match="No space left"):
        files.write(held / "schedule.json", "half")
    assert read(held / "schedule.json").schedule == TILT
    assert not list(held.glob(".*"))


def test_help_of_every_command_has_an_example(capsys):
    for command in ("plan", "export", "schedule", "completion"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"commute-verify {command}" in capsys.readouterr().out.split("example", 1)[1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path):
    script = subprocess.run(
        [sys.executable, "-m", "commute_verify", "completion", "bash"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (tmp_path / "complete.sh").write_text(script)
    asked_of = (
        f"source {tmp_path / 'complete.sh'}; COMP_WORDS=(commute-verify pl); COMP_CWORD=1; "
        "$(complete -p commute-verify | sed 's/.*-F \\([^ ]*\\).*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", asked_of], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plan"]
