"""One command at a time on a folder: a lock that the system takes back when its process ends, however."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from commute_verify.errors import CommuteError
from experiments.storage import reason


@contextmanager
def alone(folder: Path, name: str = "lock", *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold ``folder/.name``; with ``shared``, beside others that share it, and beside nobody alone.

    Where another command holds it, ``wait`` for its end, or raise CommuteError at once. Where the file system
    has no locks (or the system, as on Windows), nothing is held.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / f".{name}", "a+")  # noqa: SIM115  (NFS shares locks of readable files alone)
    except OSError as error:
        raise CommuteError(f"cannot write {folder} ({reason(error)}): choose another") from error
    with file:
        _hold(file, folder, shared, wait)
        yield


def _hold(file: IO[str], folder: Path, shared: bool, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CommuteError(
            f"another command works in {folder}: wait for its end, or give another folder"
        ) from error
    except OSError:
        return
