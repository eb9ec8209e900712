"""What docs/training.md says of several ranks, run by ``torchrun`` as it stands there."""

import re
import subprocess
import sys

import pytest

from tests.rank_launch import ROOT, needs_ranks

DEALT = "n // 10 % ranks"


@needs_ranks
@pytest.mark.slow
@pytest.mark.parametrize(("dealt_by", "fails"), [(DEALT, False), ("n % ranks", True)])
def test_the_lines_hold_on_two_ranks_and_dealing_single_batches_would_not(tmp_path, dealt_by, fails):
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (several,) = (text for text in examples if DEALT in text)
    (tmp_path / "page.py").write_text(examples[0] + several.replace(DEALT, dealt_by))
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*run, str(tmp_path / "page.py")],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert bool(done.returncode) is fails, done.stderr[-4000:]
    assert ("AssertionError" in done.stderr) is fails
