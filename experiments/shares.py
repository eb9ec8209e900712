"""Shares of the work of one folder, which several processes take side by side: ``--only I/N``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from commute_verify.errors import CommuteError
from experiments.lock import alone

Piece = TypeVar("Piece")


def share(pieces: Sequence[Piece], only: str | None) -> Sequence[Piece]:
    """Every N-th piece from the I-th, for ``only`` = "I/N"; all of them for None.

    >>> share("abcde", "2/3"), share("abcde", None)
    ('be', 'abcde')
    """
    if only is None:
        return pieces
    first, count = _numbers(only)
    return pieces[first - 1 :: count]


@contextmanager
def reserved(folder: Path, only: str | None) -> Iterator[None]:
    """Keep others from the same share of a folder, or, without a share, from the whole folder.

    Shares of different N overlap, and are not kept apart. Raises CommuteError at once where another process
    has reserved what is asked for, or where ``only`` is wrong.
    """
    with ExitStack() as locks:
        if only is None:
            locks.enter_context(alone(folder))
        else:
            first, count = _numbers(only)
            locks.enter_context(alone(folder, shared=True))
            locks.enter_context(alone(folder, f"share-{first}-of-{count}"))
        yield


def _numbers(only: str) -> tuple[int, int]:
    first, _, count = only.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise CommuteError(f"--only {only!r}: give I/N with 1 ≤ I ≤ N, such as 1/2")
    return int(first), int(count)
