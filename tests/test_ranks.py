"""The criterion on several ranks, under a real ``torchrun``: one process's numbers, and errors, not hangs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import distributed

import commute_verify as cv
from commute_verify.criterion import dealt
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.sampling import group_sizes
from tests import rank_jobs
from tests.criterion_models import one_thread, squares

ROOT = Path(__file__).parents[1]
EXACT = 1e-12
needs_ranks = pytest.mark.skipif(not distributed.is_available(), reason="no torch.distributed here")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def launched(ranks, *command):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*run, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def torchrun(ranks, folder, *jobs):
    out = folder / "out.json"
    done = launched(ranks, ROOT / "tests" / "rank_jobs.py", out, *jobs)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """All that two ranks are asked, in one launch."""
    return torchrun(2, tmp_path_factory.mktemp("two"), "equal", "planted", "several")


def relative_gap(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def one_process(ranks, kind, method):
    return cv.order_effect(
        rank_jobs.model_of(), squares, rank_jobs.in_one_process(ranks, kind), **rank_jobs.options_of(method)
    )


def check_equal(ranks, effects):
    for case, text in effects.items():
        found, expected = cv.OrderEffect.from_json(text), one_process(ranks, *case.split())
        assert relative_gap(found.P_replicates, expected.P_replicates) <= EXACT, case
        assert relative_gap(found.slope_replicates, expected.slope_replicates) <= EXACT, case
        assert found.cost.gradient_passes == expected.cost.gradient_passes
        assert found.cost.hvp_passes == expected.cost.hvp_passes
        assert f"{ranks} ranks estimated together" in found.notes


@needs_ranks
@pytest.mark.slow
def test_two_ranks_give_the_numbers_of_one_process_with_all_their_batches(two):
    check_equal(2, two["equal"])


@needs_ranks
@pytest.mark.slow
def test_four_ranks_give_the_numbers_of_one_process_with_all_their_batches(tmp_path):
    check_equal(4, torchrun(4, tmp_path, "equal")["equal"])


@needs_ranks
@pytest.mark.slow
def test_a_rank_that_is_not_told_the_weights_of_the_others_would_be_noticed(two):
    check_equal(2, {case: text for case, text in two["planted"].items() if case.startswith("even")})
    for method in ("double-backward", "finite-difference"):
        found = cv.OrderEffect.from_json(two["planted"][f"ragged {method}"])
        assert relative_gap(found.P_replicates, one_process(2, "ragged", method).P_replicates) > 1e-6


@needs_ranks
@pytest.mark.slow
def test_what_one_rank_is_refused_all_are_and_the_probe_runs_on_all(two):
    first, second = two["several"]
    for case, words in {
        "one rank has few": "rank 1 failed: ExhaustedError: domain 'a' holds 5 batches of the 13",
        "one rank fails": "rank 1 failed: NotFiniteError: domain 'b', batch 4: the loss is nan",
        "same batches": "ranks 0 and 1 were given the same batches; give every rank batches of its own",
        "other model": "ranks 0 and 1 hold different parameters",
        "other seed": "ranks 0 and 1 were asked different things",
        "until": "until='resolved' on 2 ranks",
    }.items():
        assert words in first["told"][case], case
        assert words.split("Error: ")[-1] in second["told"][case], case
    assert (first["logged"], second["logged"]) == ([2, 4], [])
    assert first["P"] == second["P"]
    assert len(first["P"]) == 2


@needs_ranks
@pytest.mark.slow
@pytest.mark.parametrize(("dealt_by", "fails"), [("n // 10 % ranks", False), ("n % ranks", True)])
def test_the_pages_lines_hold_on_two_ranks_and_dealing_single_batches_would_not(tmp_path, dealt_by, fails):
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (several,) = (text for text in examples if "init_process_group" in text)
    assert "n // 10 % ranks" in several
    (tmp_path / "page.py").write_text(examples[0] + several.replace("n // 10 % ranks", dealt_by))
    done = launched(2, tmp_path / "page.py")
    assert bool(done.returncode) is fails, done.stderr[-4000:]
    assert ("AssertionError" in done.stderr) is fails


@needs_ranks
@pytest.mark.slow
def test_a_rank_that_ends_is_a_clear_error_on_the_others_and_no_hang(tmp_path):
    told = torchrun(2, tmp_path, "dies")["dies"]["told"]
    assert told.startswith("rank 0 waited in vain for the others (")
    assert "look for the first error in the logs of all ranks" in told


def test_there_is_a_replicate_for_each_of_many_ranks_where_batches_suffice():
    assert group_sizes(100, 4) == group_sizes(100)
    assert group_sizes(100, 32) == [4] * 4 + [3] * 28
    assert group_sizes(16, 32) == [2] * 8


def test_a_process_alone_exchanges_with_itself_and_what_is_no_group_is_refused():
    assert Ranks().exchange({"a": 1}) == [{"a": 1}]
    for given in (2, "world", distributed.GroupMember.NON_GROUP_MEMBER):
        with pytest.raises(
            cv.CommuteError, match=r"process_group.*; give torch.distributed.group.WORLD after"
        ):
            cv.order_effect(
                rank_jobs.model_of(), squares, rank_jobs.domains_of(0, "even"), process_group=given
            )


def test_ranks_with_the_same_losses_in_every_domain_are_told_apart_from_those_with_some():
    same = {"a": {(0, 1): (1.5, 2.0)}, "b": {(0, 1): (2.5, 2.0)}}
    other = {"a": {(1, 1): (1.5, 2.0)}, "b": {(1, 1): (2.0, 2.0)}}
    dealt._check_own([same, other, {"a": {}, "b": {}}, {"a": {}, "b": {}}])
    with pytest.raises(cv.CommuteError, match="ranks 0 and 2 were given the same batches"):
        dealt._check_own([same, other, same])
