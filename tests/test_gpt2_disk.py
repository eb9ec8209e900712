"""A disk that is really full, at every file in turn: one clear line, and the same command goes on after."""

import json
import subprocess
import sys

import pytest

from experiments.storage import ROOT

PROGRAM = """
import contextlib, io, json, resource, sys
from pathlib import Path
from experiments.gpt2 import train

folder = Path(sys.argv[1])

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def told(out):
    command = [
        "--data", "en=synthetic", "--data", "ru=synthetic", "--limit-documents", "40", "--layers", "1",
        "--width", "16", "--heads", "1", "--context", "16", "--vocabulary", "300", "--batch", "6",
        "--steps", "2", "--out", str(folder / out),
    ]
    with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.redirect_stdout(io.StringIO()):
        status = train.main(command)
    return [status, stderr.getvalue()]

def held(out):
    files = sorted(path for path in (folder / out).rglob("*") if path.is_file() and path.stem != "metrics")
    sizes = {str(path.relative_to(folder / out)): path.stat().st_size for path in files}
    return {name: size for name, size in sizes.items() if size}  # an empty lock fits on any disk

assert told("whole")[0] == 0
sizes = held("whole")
found = {}
for name, size in sizes.items():
    limit(size - 1)
    first = told(name)
    limit(resource.RLIM_INFINITY)
    found[name] = [first, told(name), held(name) == sizes]
print(json.dumps(found))
"""


@pytest.mark.nightly
def test_a_full_disk_is_one_line_whichever_file_meets_it_and_nothing_is_cut_short(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert any(name.endswith("model.safetensors") for name in found)
    assert any(name.endswith("en.train.bin") for name in found)
    for name, ((status, told), (after, _), same) in found.items():
        assert status == 2, (name, told)
        (line,) = [line for line in told.splitlines() if not line.startswith("step ")]
        assert line.startswith("train: cannot "), (name, line)
        assert "File too large" in line, (name, line)
        assert (after, same) == (0, True), name
