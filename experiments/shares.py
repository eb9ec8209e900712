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
    first, _, count = only.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise CommuteError(f"--only {only!r}: give I/N with 1 ≤ I ≤ N, such as 1/2")
    return pieces[int(first) - 1 :: int(count)]


@contextmanager
def held(folder: Path, only: str | None) -> Iterator[None]:
    """Keep others from the same share of a folder, or, without a share, from all of it.

    Raises CommuteError at once where another process works on what is asked for, or where ``only`` is wrong.
    """
    share((), only)
    with ExitStack() as locks:
        locks.enter_context(alone(folder, shared=only is not None))
        if only is not None:
            locks.enter_context(alone(folder, f"share-{only.replace('/', '-of-')}"))
        yield
