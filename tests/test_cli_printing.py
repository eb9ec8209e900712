"""Results where nobody reads them, where they have no room, and where letters are lacking."""

import os
import subprocess
import sys

import pytest

from commute_verify import WeightSchedule
from commute_verify.cli import main
from tests.test_cli_export import CLEAR, ORDER

COMMAND = [sys.executable, "-c", "import sys; from commute_verify.cli import main; sys.exit(main())"]


@pytest.fixture
def effect(tmp_path):
    (tmp_path / "effect.json").write_text(CLEAR.to_json())
    return tmp_path / "effect.json"


def ask(out, *arguments, **environment):
    told = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    return told.returncode, told.stderr


def test_a_reader_that_has_gone_ends_nothing(effect):
    reading, writing = os.pipe()
    os.close(reading)
    out = effect.parent / "schedule.json"
    code, told = ask(writing, "plan", effect, *ORDER, "--blocks", "--out", out)
    os.close(writing)
    assert (code, told) == (0, "")
    assert out.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_without_room_is_one_line(tmp_path):
    (tmp_path / "s.json").write_text(WeightSchedule.blocks({"en": 1, "ru": 1}).to_json())
    with open("/dev/full", "w") as full:
        code, told = ask(full, "schedule", tmp_path / "s.json")
    assert code == 2
    assert told == (
        "commute-verify schedule: cannot print (No space left on device); give a place with room\n"
    )


def test_letters_that_the_output_lacks_are_one_line(tmp_path):
    (tmp_path / "s.json").write_text(WeightSchedule.blocks({"en": 1, "ru": 1}).to_json())
    code, told = ask(subprocess.PIPE, "schedule", tmp_path / "s.json", PYTHONIOENCODING="ascii")
    assert code == 2
    assert told.count("\n") == 1
    assert "standard output is ascii, which lacks '\\u2588'; set PYTHONIOENCODING=utf-8" in told


def test_a_plan_that_cannot_be_written_is_told_all_the_same(effect, capsys):
    assert main(["plan", str(effect), *ORDER, "--blocks", "--out", "/nowhere/s.json"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("For mix loss, train ")
    assert "cannot write /nowhere/s.json (No such file or directory)" in told.err
