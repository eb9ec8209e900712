"""One ``torchrun`` of all jobs for so many ranks, whose answers several test files read."""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch import distributed

ROOT = Path(__file__).parents[1]
JOBS = {
    2: ("equal", "planted", "several", "sharded", "refused_sharded", "probed_sharded", "dies_sharded"),
    4: ("equal", "sharded"),
}
needs_ranks = pytest.mark.skipif(not distributed.is_available(), reason="no torch.distributed here")


@cache
def _run(ranks, *jobs):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        done = subprocess.run(
            [*command, f"--nproc-per-node={ranks}", str(ROOT / "tests" / "rank_jobs.py"), str(out), *jobs],
            capture_output=True,
            text=True,
            timeout=500,
        )
        return done, out.read_text() if out.exists() else ""


def torchrun(ranks, *jobs):
    """What the first rank answered to each job; a launch that failed is not tried again."""
    done, answers = _run(ranks, *jobs)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(answers)


def launched(ranks):
    return torchrun(ranks, *JOBS[ranks])


def relative_gap(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()
