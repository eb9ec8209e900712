"""Independent jobs side by side: order, prerequisites, and jobs that fail or are killed."""

import multiprocessing

import pytest

from commute_verify.errors import CommuteError
from experiments.gpt2.pool import perform_all
from tests.pool_jobs import Task, is_ready, perform


def when(task: Task) -> int:
    return int((task.folder / task.name).read_text().split()[1])


def go(tasks: list[Task], workers: int) -> None:
    perform_all(tasks, perform, is_ready, workers, threads=1)


def test_one_worker_takes_the_jobs_in_their_order(tmp_path):
    tasks = [Task(name, tmp_path) for name in "bca"]
    go(tasks, 1)
    assert sorted(tasks, key=when) == tasks


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_waits_for_what_it_needs(tmp_path, workers, capsys):
    tasks = [Task("late", tmp_path, needs="early"), Task("other", tmp_path), Task("early", tmp_path)]
    go(tasks, workers)
    assert when(tasks[0]) > when(tasks[2])
    assert "[3/3]" in capsys.readouterr().err
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_refuses_stops_the_rest_and_is_named(tmp_path, workers):
    tasks = [Task("odd", tmp_path, "refuse"), *[Task(f"{n}", tmp_path, needs="never") for n in range(3)]]
    with pytest.raises(CommuteError, match="no such thing"):
        go(tasks, workers)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_a_fault_of_the_program_comes_with_its_traceback(tmp_path):
    with pytest.raises(CommuteError, match=r"(?s)odd: Traceback.*ZeroDivisionError: by accident"):
        go([Task("odd", tmp_path, "fail")], 2)


def test_a_process_that_is_killed_is_named_and_the_others_end(tmp_path):
    with pytest.raises(CommuteError, match="the process of odd was killed"):
        go([Task("odd", tmp_path, "die"), Task("long", tmp_path, "wait")], 2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_wait_for_nothing_that_comes_are_named(tmp_path, workers):
    with pytest.raises(CommuteError, match="late lacks its checkpoint"):
        go([Task("late", tmp_path, needs="never")], workers)
