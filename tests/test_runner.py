"""The experiments' command survives being killed, writes whole files or none, and renders the same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from commute_verify.errors import CommuteError
from commute_verify.report import Heading, Paragraph, Table
from experiments import __main__ as command
from experiments import storage
from experiments.experiment import Experiment, Part, each, plain
from experiments.page import document, render
from experiments.provenance import EarlierRun, earlier_run, provenance
from experiments.results import FORMAT, VERSION, dump, load
from experiments.storage import FinishedParts, code_version, write

ROOT = Path(command.__file__).parents[1]
PAGES = ("index.html", "report.md", "results.json")


def show(results):
    return [Heading("Values"), *(Paragraph(f"{name}: {value}") for name, value in results.items())]


def fake(parts: dict[str, Callable[[], object]], **more) -> list[Experiment]:
    """One experiment, `fake`, of the given parts."""
    made = [Part(name, run, {"seed": 7}, **more) for name, run in parts.items()]
    return [Experiment("fake", lambda scale: made, show, lambda results: f"{len(results)} values.")]


def three(value: object = 1 / 3) -> list[Experiment]:
    return fake({"z": lambda: {"b": value, "a": [1, 2]}, "y": lambda: 2, "x": lambda: None})


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a report but provenance.json, which holds the date."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.name != "provenance.json"}


def run(out: Path, experiments: list[Experiment], *options: str) -> int:
    return command.main(["--out", str(out), *options], experiments)


# --- killed and resumed -------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
from commute_verify.report import Paragraph
from experiments.__main__ import main
from experiments.experiment import Experiment, Part

def part(name, value):
    def run():
        with open("log", "a") as log:
            log.write(name)
        if os.environ.get("STOP_AT") == name:
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
        return {"value": value, "again": [value] * 3}
    return Part(name, run, {"seed": int(os.environ.get("SEED", 1))})

parts = [part("c", 1 / 3), part("b", 2 / 7), part("a", 1e-300)]
blocks = lambda results: [Paragraph(repr(item)) for item in results.items()]
sys.exit(main(sys.argv[1:], [Experiment("fake", lambda scale: parts, blocks)]))
"""


def start(folder: Path, out: str, **environment: str) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "script.py", "--out", out],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The files of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("calm")
    assert start(folder, "out").returncode == 0
    return files(folder / "out")


@pytest.fixture(scope="module")
def as_it_was_killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    assert start(folder, "out", STOP_AT="b", SIGNAL="SIGKILL").returncode == -9
    return folder


@pytest.fixture
def killed(as_it_was_killed, tmp_path):
    """The folder of a run that was killed, a copy of its own for every test."""
    return Path(shutil.copytree(as_it_was_killed, tmp_path / "killed"))


def test_a_killed_run_goes_on_where_it_was_and_gives_the_bytes_of_an_undisturbed_one(killed, calm):
    assert not (killed / "out/results.json").exists()
    resumed = start(killed, "out")
    assert resumed.returncode == 0
    assert "fake/c: kept from the interrupted run" in resumed.stdout
    assert (killed / "log").read_text() == "cbba"
    assert files(killed / "out") == calm


def test_the_comparison_sees_a_kept_part_that_was_changed(killed, calm):
    kept = killed / "out/.work/parts/fake.c.json"
    kept.write_text(kept.read_text().replace("0.3333333333333333", "0.3333333333333334"))
    assert start(killed, "out").returncode == 0
    assert files(killed / "out") != calm


def test_a_kept_part_with_other_settings_is_computed_again(killed):
    assert start(killed, "out", SEED="2").returncode == 0
    assert (killed / "log").read_text() == "cbcba"


def test_ctrl_c_ends_in_one_line_that_says_how_to_go_on(tmp_path):
    stopped = start(tmp_path, "out", STOP_AT="b", SIGNAL="SIGINT")
    assert stopped.returncode == 130
    assert stopped.stderr == "stopped; finished parts are kept: give the same command to go on\n"
    assert start(tmp_path, "out").returncode == 0
    assert (tmp_path / "log").read_text() == "cbba"
    assert not (tmp_path / "out/.work").exists()


def test_a_kept_part_that_was_cut_short_is_computed_again(tmp_path):
    experiment = fake({"a": lambda: 1})[0]
    (part,) = experiment.parts("default")
    kept = FinishedParts(tmp_path)
    kept.save(experiment, part, 1, 0.5)
    assert kept.load(experiment, part) is not None
    path = next(tmp_path.rglob("fake.a.json"))
    path.write_bytes(path.read_bytes()[:-5])
    assert kept.load(experiment, part) is None


def test_the_code_version_follows_every_file_that_numbers_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ROOT", tmp_path)
    (tmp_path / "proofs/results/.work/parts").mkdir(parents=True)
    (tmp_path / "commute_verify/report").mkdir(parents=True)
    versions = [code_version(["proofs"])]
    for name, text in (
        ("proofs/a.py", "1"),
        ("proofs/a.py", "2"),
        ("proofs/data.json", "{}"),
        ("commute_verify/b.py", ""),
        ("proofs/notes.txt", "not code"),
        ("proofs/results/full.json", "what came out"),
        ("proofs/results/.work/parts/a.json", "what is on its way"),
        ("commute_verify/report/html.py", "changes no number"),
    ):
        (tmp_path / name).write_text(text)
        versions.append(code_version(["proofs"]))
    assert [versions.index(version) for version in versions] == [0, 1, 2, 3, 4, 4, 4, 4, 4]


def test_a_part_is_kept_under_the_code_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ROOT", tmp_path)
    (tmp_path / "commute_verify").mkdir()
    experiment = fake({"a": lambda: 1})[0]
    (part,) = experiment.parts("default")
    kept = FinishedParts(tmp_path / "out")
    assert kept.load(experiment, part) is None
    (tmp_path / "commute_verify/edited.py").write_text("while it ran")
    kept.save(experiment, part, 1, 0.5)
    assert FinishedParts(tmp_path / "out").load(experiment, part) is None


# --- the same bytes -----------------------------------------------------------------------------------------


def test_rendering_again_from_results_json_gives_the_same_bytes(tmp_path):
    assert run(tmp_path, three()) == 0
    before = files(tmp_path)
    for name in ("index.html", "report.md"):
        (tmp_path / name).unlink()
    assert run(tmp_path, three(), "--render-only") == 0
    assert files(tmp_path) == before


def test_a_record_rendered_in_the_order_it_was_computed_would_differ():
    parts = {name: {"origin": "recomputed", "command": "c", "result": 1} for name in ("z", "y", "x")}
    record = {"format": FORMAT, "version": VERSION, "scale": "default", "experiments": {"fake": parts}}
    assert render(record, three()) != render(json.loads(dump(record)), three())


def test_results_hold_no_time_and_no_path_and_are_the_same_everywhere(tmp_path):
    for name in ("one", "two"):
        assert run(tmp_path / name, three()) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert all(str(tmp_path).encode() not in content for content in files(tmp_path / "one").values())
    assert set(files(tmp_path / "one")) == set(PAGES)


def test_a_part_that_reads_the_clock_would_be_seen(tmp_path):
    ticks = iter(range(9))
    for name in ("one", "two"):
        run(tmp_path / name, fake({"clock": lambda: next(ticks)}))
    assert files(tmp_path / "one") != files(tmp_path / "two")


def test_provenance_says_where_the_numbers_come_from(tmp_path):
    run(tmp_path, three())
    found = json.loads((tmp_path / "provenance.json").read_bytes())
    assert found["seeds"] == {"fake/z": 7, "fake/y": 7, "fake/x": 7}
    assert found["seconds"].keys() == {"fake/z", "fake/y", "fake/x"}
    assert found["argv"][:3] == ["python", "-m", "experiments"]
    assert {"commit", "dirty", "packages", "python", "device", "date"} <= found.keys()
    assert earlier_run(tmp_path / "provenance.json", "default") == EarlierRun(found["seconds"], here=True)
    assert earlier_run(tmp_path / "provenance.json", "smoke") == EarlierRun({}, here=False)
    assert earlier_run(tmp_path / "nothing.json", "default") == EarlierRun({}, here=False)


def test_the_time_of_an_earlier_run_is_told_only_on_the_machine_that_took_it(tmp_path, capsys):
    run(tmp_path, three())
    assert "the last time" not in capsys.readouterr().out
    run(tmp_path, three())
    assert "3 parts, 0 s the last time" in capsys.readouterr().out
    path = tmp_path / "provenance.json"
    for other in ({"platform": "elsewhere"}, {"device": {"cpu": "another", "cores": 2, "gpu": None}}):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | other))
        run(tmp_path, three())
        assert "the last time" not in capsys.readouterr().out


def test_outside_a_repository_the_commit_is_null(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.provenance.ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = json.loads(provenance([], "default", [], {}))
    assert (found["commit"], found["dirty"]) == (None, None)


# --- whole files or none ------------------------------------------------------------------------------------


def naive_publish(out: Path, contents: dict[str, bytes]) -> None:
    """The planted fault: files written in place, and the disk full half-way through the second."""
    first, second = list(contents)[:2]
    (out / first).write_bytes(contents[first])
    (out / second).write_bytes(contents[second][:10])
    raise CommuteError("disk full")


def full_disk(allowed: int) -> Callable[[int], None]:
    """An `os.fsync` that reports a full disk after `allowed` files."""
    done = iter(range(allowed))

    def fsync(_: int) -> None:
        if next(done, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    return fsync


def is_intact(out: Path, before: dict[str, bytes]) -> bool:
    return {name: content for name, content in files(out).items() if ".work" not in name} == before


def test_rendering_again_leaves_no_folder_of_its_own(tmp_path, monkeypatch):
    run(tmp_path, three())
    run(tmp_path, three(), "--render-only")
    assert not (tmp_path / ".work").exists()
    monkeypatch.setattr("os.fsync", full_disk(1))
    assert run(tmp_path, three(), "--render-only") == 2
    assert not (tmp_path / ".work").exists()


@pytest.mark.parametrize("allowed", [0, 1, 3, 4, 5, 6, 7])
def test_a_full_disk_leaves_the_previous_report_as_it_was(tmp_path, monkeypatch, capsys, allowed):
    run(tmp_path, three())
    before = files(tmp_path)
    monkeypatch.setattr("os.fsync", full_disk(allowed))
    assert run(tmp_path, three(0.25)) == 2
    assert is_intact(tmp_path, before)
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob(".*.json.*"))


def test_the_check_sees_a_writer_that_writes_in_place(tmp_path, monkeypatch):
    run(tmp_path, three())
    before = files(tmp_path)
    monkeypatch.setattr(command, "publish", naive_publish)
    run(tmp_path, three(0.25))
    assert not is_intact(tmp_path, before)


def test_a_page_that_cannot_be_drawn_leaves_the_previous_report_and_keeps_the_parts(tmp_path, capsys):
    run(tmp_path, three())
    before = files(tmp_path)
    broken = [Experiment("fake", three(0.25)[0].parts, lambda results: [Paragraph(r"$\nonsense$")])]
    assert run(tmp_path, broken) == 2
    assert is_intact(tmp_path, before)
    assert "nonsense" in capsys.readouterr().err
    assert len(list((tmp_path / ".work/parts").glob("*.json"))) == 3
    assert run(tmp_path, three(0.25)) == 0
    assert capsys.readouterr().out.count("kept from the interrupted run") == 3


def test_rendering_again_keeps_the_parts_of_an_unfinished_run(tmp_path):
    run(tmp_path, three())
    FinishedParts(tmp_path).save(three()[0], three()[0].parts("default")[0], 1, 0.5)
    run(tmp_path, three(), "--render-only")
    assert len(list((tmp_path / ".work/parts").glob("*.json"))) == 1


def test_an_output_folder_that_is_a_file_is_named_before_anything_runs(tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert run(tmp_path / "out", fake({"never": lambda: pytest.fail("it ran")})) == 2
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_in_the_place_of_a_page_is_named(tmp_path, capsys):
    (tmp_path / "index.html").mkdir()
    assert run(tmp_path, three()) == 2
    assert "index.html (Is a directory)" in capsys.readouterr().err


def test_writing_replaces_a_file_at_once(tmp_path):
    write(tmp_path / "a", b"old")
    write(tmp_path / "a", b"new")
    assert files(tmp_path) == {"a": b"new"}


# --- results.json that is not right -------------------------------------------------------------------------


def changed(record: dict, **values: object) -> bytes:
    return dump({**record, **values})


BAD = {
    "cut short": (lambda r: dump(r)[:-3], "cut short"),
    "cut at the start": (lambda r: dump(r)[:1], "cut short"),
    "empty": (lambda r: b"", "cut short"),
    "binary": (lambda r: b"\xff\xfe\x00", "cut short"),
    "a list": (lambda r: b"[]", "not a results file"),
    "foreign": (lambda r: b'{"a": 1}', "not a results file"),
    "other format": (lambda r: changed(r, format="x"), "not a results file"),
    "older": (lambda r: changed(r, version=VERSION - 1), "has version 0"),
    "newer": (lambda r: changed(r, version=VERSION + 1), "has version 2"),
    "no version": (lambda r: changed(r, version=None), "has version None"),
    "other scale": (lambda r: changed(r, scale="huge"), "has scale 'huge'"),
    "no experiments": (lambda r: changed(r, experiments=None), "lacks fake/z"),
    "a part missing": (
        lambda r: changed(r, experiments={"fake": {"z": r["experiments"]["fake"]["z"]}}),
        "fake/y",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_results_that_are_not_right_give_one_line_and_change_nothing(tmp_path, capsys, name):
    run(tmp_path, three())
    damage, words = BAD[name]
    record = json.loads((tmp_path / "results.json").read_bytes())
    (tmp_path / "results.json").write_bytes(damage(record))
    before = files(tmp_path)
    capsys.readouterr()
    assert run(tmp_path, three(), "--render-only") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "run `python -m experiments`" in error
    assert error.count("\n") == 1
    assert files(tmp_path) == before


def test_a_page_that_cannot_be_made_of_the_results_names_the_file_and_the_cure(tmp_path, capsys):
    run(tmp_path, three())
    before = files(tmp_path)
    lost = [Experiment("fake", three()[0].parts, lambda results: [Paragraph(results["z"]["c"])])]
    capsys.readouterr()
    assert run(tmp_path, lost, "--render-only") == 2
    assert capsys.readouterr().err == (
        f"experiments: {tmp_path}/results.json does not fit this program (KeyError: 'c'): "
        "run `python -m experiments` to compute it\n"
    )
    assert files(tmp_path) == before
    with pytest.raises(KeyError):
        run(tmp_path, lost)  # while computing, a page that fails is a fault of the program


def claims_of(record: dict) -> list[dict]:
    return record["experiments"]["proofs"]["one"]["result"]


def cells_of(record: dict) -> list[dict]:
    return record["experiments"]["quadratic"]["table1_fresh"]["result"]["cells"]


DAMAGE = {
    "no cells": lambda r: cells_of(r).clear(),
    "a cell without its median": lambda r: cells_of(r)[0].pop("median"),
    "words for a median": lambda r: cells_of(r)[0].update(median="big"),
    "a part that is null": lambda r: r["experiments"]["quadratic"].update(figure1=None),
    "a result that is null": lambda r: r["experiments"]["quadratic"]["figure1"].update(result=None),
    "parts in a list": lambda r: r["experiments"].update(quadratic=[]),
    "an origin in a list": lambda r: r["experiments"]["quadratic"]["figure1"].update(origin=[]),
    "no claims": lambda r: claims_of(r).clear(),
    "a string for claims": lambda r: r["experiments"]["proofs"]["one"].update(result="claims"),
    "a number for a statement": lambda r: claims_of(r)[0].update(statement=0),
    "a field too many": lambda r: claims_of(r)[0].update(note="x"),
    "a field too few": lambda r: claims_of(r)[0].pop("source"),
    "a verdict of its own": lambda r: claims_of(r)[0].update(verdict="maybe"),
    "a claim twice": lambda r: claims_of(r).append(claims_of(r)[0]),
    "a control character": lambda r: claims_of(r)[0].update(reason="a\x00b"),
    "half a character": lambda r: claims_of(r)[0].update(reason="a\ud800b"),
    "not a number": lambda r: cells_of(r)[0].update(median=float("nan")),
}


@pytest.fixture(scope="module")
def real() -> tuple[list[Experiment], dict]:
    """The quadratic experiment at smoke scale beside one file of claims, and their record."""
    proofs, quadratic, *_ = command.EXPERIMENTS
    records = [
        {"id": "eq7", "source": "§3", "statement": "a", "verdict": "corrected", "correction": "b"},
        {"id": "k", "source": "extension: cost", "statement": "a", "verdict": "holds", "correction": None},
    ]
    chosen = [replace(proofs, parts=lambda scale: [Part("one", lambda: records)]), quadratic]
    entries = {
        e.name: {
            p.name: {"origin": "recomputed", "command": "c", "result": p.run()} for p in e.parts("smoke")
        }
        for e in chosen
    }
    return chosen, {"format": FORMAT, "version": VERSION, "scale": "smoke", "experiments": entries}


@pytest.mark.parametrize("name", [None, *DAMAGE])
def test_damaged_results_that_can_be_read_give_one_line_and_nothing_is_written(tmp_path, capsys, real, name):
    experiments, record = real
    record = json.loads(dump(record))
    if name:
        DAMAGE[name](record)
    (tmp_path / "results.json").write_text(json.dumps(record))
    before = files(tmp_path)
    assert run(tmp_path, experiments, "--render-only") == (2 if name else 0)
    error = capsys.readouterr().err
    if name:
        assert error.startswith("experiments: ")
        assert "run `python -m experiments`" in error
        assert error.count("\n") == 1
        assert files(tmp_path) == before
        assert not (tmp_path / ".work").exists()


def test_results_nested_without_end_are_refused(tmp_path, capsys):
    (tmp_path / "results.json").write_text("[" * 100_000)
    assert run(tmp_path, three(), "--render-only") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_results_cut_anywhere_are_never_read_as_whole(tmp_path):
    run(tmp_path, three())
    path = tmp_path / "results.json"
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CommuteError):
            load(path, three())
    path.write_bytes(whole)
    assert dump(load(path, three())) == whole


def test_results_that_are_missing_are_named(tmp_path, capsys):
    assert run(tmp_path, three(), "--render-only") == 2
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize("data", [float("nan"), {"a": float("inf")}, {1, 2}, object()])
def test_a_result_that_is_not_plain_data_names_its_part(tmp_path, capsys, data):
    assert run(tmp_path, fake({"odd": lambda: data})) == 2
    assert "fake/odd" in capsys.readouterr().err


# --- parts, scales and committed results --------------------------------------------------------------------


def test_a_committed_part_is_rendered_not_run_and_the_page_says_so(tmp_path):
    heavy = tmp_path / "heavy.json"
    heavy.write_bytes(
        dump({"format": FORMAT, "version": VERSION, "command": "python -m heavy", "result": 42})
    )
    experiments = fake({"heavy": lambda: pytest.fail("it ran")}, committed=heavy)
    assert run(tmp_path / "out", experiments) == 0
    text = (tmp_path / "out/report.md").read_text()
    assert "heavy: 42" in text
    assert "| committed | <code>python -m heavy</code> |" in text
    assert "Committed: computed once" in text


def origins(experiments: list[Experiment]) -> Table:
    parts = {
        part.name: {"origin": "recomputed", "command": "python -m experiments", "result": 1}
        for part in experiments[0].parts("default")
    }
    record = {"format": FORMAT, "version": VERSION, "scale": "default", "experiments": {"fake": parts}}
    (table,) = [block for block in document(record, experiments).blocks if isinstance(block, Table)]
    return table


def test_parts_of_one_origin_share_a_row_and_committed_is_explained_only_where_there_is_one(tmp_path):
    table = origins(three())
    assert table.rows == (("fake", "z, y, x", "recomputed", "`python -m experiments`"),)
    assert "ommitted" not in table.caption


def test_glances_stand_before_the_blocks_of_every_experiment():
    first = replace(three()[0], glance=lambda results: [Heading("Glance 1")])
    second = replace(first, name="other", glance=lambda results: [Heading("Glance 2")])
    entries = {name: {"origin": "o", "command": "c", "result": 1} for name in ("z", "y", "x")}
    record = {"scale": "default", "experiments": {"fake": entries, "other": entries}}
    shown = document(record, [first, second]).blocks
    titles = [block.text for block in shown if isinstance(block, Heading)]
    assert titles == ["Glance 1", "Glance 2", "Values", "Values", "Where the numbers come from"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": "x"}'])
def test_a_committed_part_that_is_damaged_is_named(tmp_path, capsys, content):
    heavy = tmp_path / "heavy.json"
    heavy.write_bytes(content)
    assert run(tmp_path / "out", fake({"heavy": lambda: 1}, committed=heavy)) == 2
    assert "heavy.json" in capsys.readouterr().err


def test_a_trial_run_says_that_it_is_one(tmp_path):
    run(tmp_path, three(), "--scale", "smoke")
    assert "trial run at smoke scale" in (tmp_path / "index.html").read_text()
    run(tmp_path, three())
    assert "trial run" not in (tmp_path / "index.html").read_text()


def test_every_function_of_the_settings_becomes_a_part():
    settings = __import__("experiments.quadratic", fromlist=["Settings"]).Settings
    parts = each({"f": lambda chosen: chosen.draws}, settings)("smoke")
    assert parts[0].run() == settings.smoke().draws
    assert parts[0].settings["seed"] == settings.smoke().seed


def test_plain_data_come_back_as_json_gives_them():
    assert plain({"a": (1, 2.5)}, "p") == {"a": [1, 2.5]}


def test_the_registered_experiments_have_parts_with_names_of_their_own():
    for scale in ("default", "smoke"):
        names = [(e.name, part.name) for e in command.EXPERIMENTS for part in e.parts(scale)]
        assert len(set(names)) == len(names)
        assert {name for name, _ in names} == {e.name for e in command.EXPERIMENTS}


def test_a_missing_extra_is_named_with_its_cure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "latex2mathml" else object())
    assert run(tmp_path, three()) == 2
    assert "latex2mathml not installed: pip install 'commute_verify[report]'" in capsys.readouterr().err


def test_without_threadpoolctl_the_command_starts_and_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['threadpoolctl'] = None; from experiments.__main__ import main; "
        f"sys.exit(main(['--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "experiments: threadpoolctl not installed: pip install 'commute_verify[report]'\n",
    )


QUICK = ("quadratic", "planning", "kernels")


@pytest.mark.slow
@pytest.mark.parametrize("names", [QUICK, pytest.param(None, marks=pytest.mark.nightly)])
def test_the_real_command_renders_the_same_bytes_again(tmp_path, names):
    real = [e for e in command.EXPERIMENTS if names is None or e.name in names]
    assert len(real) == len(names or command.EXPERIMENTS)
    assert run(tmp_path, real, "--scale", "smoke") == 0
    before = files(tmp_path)
    assert set(before) > set(PAGES)
    assert run(tmp_path, real, "--render-only") == 0
    assert files(tmp_path) == before
