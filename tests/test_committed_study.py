"""Studies that are committed: finished pieces are kept, shared between processes, and put together once."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from commute_verify.errors import CommuteError
from experiments import committed
from experiments.committed import Committed, study
from experiments.experiment import Experiment, Part
from experiments.lock import alone
from experiments.results import load_committed
from experiments.storage import FinishedParts


def summed(found):
    """Sum."""
    return {"sum": sum(one["n"] for one in found.values())}


class Study:
    """Pieces p1, p2, ... that note when they run; those of `fails` are interrupted."""

    def __init__(self, out):
        self.out, self.calls = out, []

    def run(self, *given, count=2, fails=(), **more):
        def piece(n):
            def work():
                self.calls.append(n)
                if n in fails:
                    raise KeyboardInterrupt
                return {"n": n}

            return Part(f"p{n}", work, {"n": n})

        pieces = [piece(n) for n in range(1, count + 1)]
        argv = ["--out", str(self.out), *given]
        return study("experiments.sum", pieces, summed, argv, code=("experiments/planning",), **more)

    def result(self):
        return load_committed(self.out / "full.json")["result"]


@pytest.fixture
def sums(tmp_path):
    return Study(tmp_path)


def test_a_study_that_was_stopped_goes_on_to_the_same_file(sums, capsys):
    assert sums.run(fails=[2]) == 130
    assert not (sums.out / "full.json").exists()
    assert sums.run() == 0
    assert sums.calls == [1, 2, 2]
    assert sums.result() == {"sum": 3}
    seconds = json.loads((sums.out / "full.provenance.json").read_text())["seconds"]
    assert seconds.keys() == {"experiments-sum/p1", "experiments-sum/p2"}
    assert np.isfinite(list(seconds.values())).all()
    assert "is written" in capsys.readouterr().out


def test_shares_of_one_folder_are_put_together_by_the_last(sums, capsys):
    assert sums.run("--only", "2/2", count=5) == 0
    assert "3 pieces of other shares are missing, the first is p1" in capsys.readouterr().out
    assert not (sums.out / "full.json").exists()
    assert sums.run("--only", "1/2", count=5) == 0
    assert sums.calls == [2, 4, 1, 3, 5]
    assert sums.result() == {"sum": 15}
    assert not (sums.out / ".work").exists()


def test_files_beside_the_results_are_made_of_the_same_pieces(sums):
    beside = {"cases.csv": lambda found: "".join(f"{name},{one['n']}\n" for name, one in found.items())}
    assert sums.run("--only", "1/1", beside=beside) == 0
    assert (sums.out / "full.cases.csv").read_text() == "p1,1\np2,2\n"


@pytest.mark.parametrize("share", ["0/2", "3/2", "x", "1", "²/3"])
def test_a_share_that_is_none_is_refused(sums, capsys, share):
    assert sums.run("--only", share) == 2
    assert "I/N" in capsys.readouterr().err
    assert sums.calls == []
    assert not list(sums.out.iterdir())


CODE = ("experiments/planning",)


def test_what_is_there_is_collected_and_stays(sums):
    assert sums.run("--only", "1/1", fails=[2]) == 130
    pieces = [Part(f"p{n}", lambda n=n: {"n": n}, {"n": n}) for n in (1, 2)]
    made = Committed("experiments.sum", pieces, summed, CODE)

    def collected():
        made.collect(sums.out)
        return sums.result()["sum"]

    assert collected() == collected() == 1
    full = FinishedParts(sums.out)
    full.save(Experiment("experiments-sum", list, list, code=CODE), pieces[1], {"n": 2}, 0)
    assert collected() == collected() == 3  # whole, and there still
    assert sums.calls == [1, 2]
    made.make(sums.out, "1/1")
    assert sums.result() == {"sum": 3}
    assert not (sums.out / ".work").exists()
    with pytest.raises(CommuteError, match="without --collect"):
        made.collect(sums.out)


def test_collecting_from_another_folder_leaves_it_as_it_was(tmp_path):
    with pytest.raises(CommuteError, match="no finished piece"):
        Committed("experiments.sum", [Part("p1", dict, {})], summed, ()).collect(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_work_is_not_done_twice_at_once(sums, capsys):
    for mine, asked in (({}, ()), ({}, ("--only", "1/2")), ({"shared": True}, ())):
        with alone(sums.out, **mine):
            assert sums.run(*asked) == 2
    with alone(sums.out, "share-1-of-2"):
        assert sums.run("--only", "1/2") == 2
    assert "another command works in" in capsys.readouterr().err
    assert sums.calls == []
    with alone(sums.out, shared=True):
        assert sums.run("--only", "1/2") == 0


@pytest.mark.parametrize(
    ("only", "taken"), [((), ["lock"]), (("--only", "01/1"), ["lock", "share-1-of-1"])], ids=["all", "share"]
)
def test_a_folder_is_reserved_until_its_last_file_is_written(sums, only, taken):
    found = []

    def look(_):
        for name in ("lock", "share-1-of-1", "share-1-of-2"):
            try:
                with alone(sums.out, name):
                    pass
            except CommuteError:
                found.append(name)
        return ""

    assert sums.run(*only, beside={"txt": look}) == 0
    assert found == taken


def test_a_share_that_ends_after_another_has_put_all_together_says_so(sums, monkeypatch, capsys):
    right = committed.compute

    def overtaken(*given):
        right(*given)
        shutil.rmtree(sums.out / ".work")  # as the other share does when its file is out

    monkeypatch.setattr(committed, "compute", overtaken)
    assert sums.run("--only", "2/2") == 0
    assert "another share has put the pieces together" in capsys.readouterr().out
    assert not (sums.out / "full.json").exists()


def test_the_last_two_shares_write_one_after_the_other(tmp_path):
    order, inside = [], threading.Event()

    def other():
        inside.set()
        with alone(tmp_path, "writing", wait=True):
            order.append("other")

    thread = threading.Thread(target=other)
    with alone(tmp_path, "writing", wait=True):
        thread.start()
        inside.wait()
        thread.join(0.2)
        order.append("first")
    thread.join(30)
    assert order == ["first", "other"]


def test_kept_pieces_of_other_settings_are_made_again_and_that_is_told(sums, capsys):
    assert sums.run(fails=[2]) == 130
    kept = sums.out / ".work" / "parts" / "experiments-sum.p1.json"
    kept.write_text(kept.read_text().replace('"digest": "', '"digest": "0'))
    capsys.readouterr()
    with pytest.raises(CommuteError, match="no finished piece of this code"):
        Committed("experiments.sum", [Part("p1", dict, {"n": 1})], summed, CODE).collect(sums.out)
    assert "1 pieces are of other code or settings and left out, the first is p1" in capsys.readouterr().out
    assert sums.run() == 0
    assert "2 parts; 1 kept of other code or settings, made again" in capsys.readouterr().out
    assert sums.calls == [1, 2, 1, 2]


def test_a_command_that_is_terminated_says_that_pieces_are_kept():
    work = "import signal; from experiments.committed import told; "
    work += "raise SystemExit(told('x', lambda: signal.raise_signal(signal.SIGTERM)))"
    ended = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.count("pieces are kept")) == (130, 1)
