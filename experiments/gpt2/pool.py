"""Independent jobs side by side, each in a process of its own: the most valuable that is ready first."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar, cast

from commute_verify.errors import CommuteError


class Job(Protocol):
    """A piece of work: what it is called, and what it costs in any one unit."""

    @property
    def name(self) -> str:
        """Shown in the progress."""

    @property
    def cost(self) -> float:
        """Weighs the job in the estimate of the end."""


J = TypeVar("J", bound=Job)
PATIENCE = 0.5
"""Seconds in which a process may end by itself."""


@dataclass
class Progress:
    """One line on stderr for each job that ends, with an estimate of the end of all."""

    total: float
    count: int
    done: float = 0.0
    ended: int = 0
    began: float = 0.0

    def start(self) -> None:
        """Start the clock."""
        self.began = time.monotonic()
        if self.count:
            print(f"{self.count} jobs to do", file=sys.stderr, flush=True)

    def tell(self, job: Job, seconds: float) -> None:
        """Count a job that has ended."""
        self.done, self.ended = self.done + job.cost, self.ended + 1
        elapsed = time.monotonic() - self.began
        left = elapsed * (self.total - self.done) / self.done if self.done else 0.0
        print(
            f"[{self.ended}/{self.count}] {job.name}: {seconds:.0f} s; "
            f"{elapsed / 60:.0f} min gone, about {left / 60:.0f} min left",
            file=sys.stderr,
            flush=True,
        )


def perform_all(
    jobs: Sequence[J], perform: Callable[[J], None], ready: Callable[[J], bool], workers: int, threads: int
) -> None:
    """Perform every job, the earliest that is ready first; with one worker, in this very process.

    ``perform`` must be importable (a module's function, or a partial of one) and leave its result in a file.
    Raises the first job's CommuteError, after which nothing further is started.
    """
    progress = Progress(sum(job.cost for job in jobs), len(jobs))
    progress.start()
    if workers == 1:
        _one_by_one(jobs, perform, ready, threads, progress)
    else:
        _side_by_side(list(jobs), perform, ready, workers, threads, progress)


def _one_by_one(
    jobs: Sequence[J],
    perform: Callable[[J], None],
    ready: Callable[[J], bool],
    threads: int,
    progress: Progress,
) -> None:
    import torch

    waiting, before = list(jobs), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        while waiting:
            job = _next(waiting, ready)
            if job is None:
                raise _stuck(waiting)
            start = time.monotonic()
            perform(job)
            progress.tell(job, time.monotonic() - start)
    finally:
        torch.set_num_threads(before)


def _side_by_side(
    waiting: list[J],
    perform: Callable[[J], None],
    ready: Callable[[J], bool],
    workers: int,
    threads: int,
    progress: Progress,
) -> None:
    context = get_context("spawn")
    idle: list[Connection] = []
    busy: dict[Any, tuple[J, float]] = {}
    processes = []
    try:
        for _ in range(min(workers, len(waiting))):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, perform, threads, os.getpid()))
            process.start()
            there.close()
            processes.append(process)
            idle.append(here)
        while waiting or busy:
            while idle and (job := _next(waiting, ready)) is not None:
                connection = idle.pop()
                connection.send(job)
                busy[connection] = (job, time.monotonic())
            if not busy:
                raise _stuck(waiting)
            for ended in wait(list(busy), timeout=2.0):
                connection, (job, start) = cast(Connection, ended), busy.pop(ended)
                try:
                    error = connection.recv()
                except EOFError:
                    raise CommuteError(
                        f"the process of {job.name} was killed: give the same command to go on, with fewer "
                        "--jobs if memory was short"
                    ) from None
                if error is not None:
                    raise CommuteError(f"{job.name}: {error}")
                progress.tell(job, time.monotonic() - start)
                idle.append(connection)
        for connection in idle:
            connection.send(None)
    except BaseException:
        for process in processes:
            process.join(PATIENCE)  # a Ctrl-C has reached them too
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()


def _next(waiting: list[J], ready: Callable[[J], bool]) -> J | None:
    for number, job in enumerate(waiting):
        if ready(job):
            return waiting.pop(number)
    return None


def _stuck(waiting: Sequence[Job]) -> CommuteError:
    return CommuteError(
        f"{waiting[0].name} lacks its checkpoint, which no job makes: train the base runs first (leave "
        "--only away)"
    )


def _serve(connection: Connection, perform: Callable[[Any], None], threads: int, parent: int) -> None:
    """Perform what comes along the connection until it closes, None comes, or the parent is gone."""
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_outlive, args=(parent,), daemon=True).start()
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        while (job := _received(connection)) is not None:
            connection.send(_error_of(perform, job))
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except EOFError:
        return None


def _error_of(perform: Callable[[Any], None], job: Any) -> str | None:
    try:
        perform(job)
    except CommuteError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return None


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
