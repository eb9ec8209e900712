"""Finding the proofs and running them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from proofs.claim import Claim, Result


@cache
def claims() -> dict[str, Claim[Any]]:
    """All claims by id, in the order of the files."""
    found: dict[str, Claim[Any]] = {}
    for path in sorted(Path(__file__).parent.glob("[0-9][0-9]_*.py")):
        for claim in import_module(f"proofs.{path.stem}").CLAIMS:
            if claim.id in found:
                raise ValueError(f"two claims are called {claim.id}; the second is in {path.name}")
            found[claim.id] = claim
    return found


def iterate(ids: Iterable[str] | None = None) -> Iterator[Result]:
    """Run the claims one by one."""
    known = claims()
    wanted = list(known) if ids is None else list(ids)
    unknown = [i for i in wanted if i not in known]
    if unknown:
        raise CommuteError(f"no claim is called {', '.join(unknown)}; the ids are {', '.join(known)}")
    for i in wanted:
        yield known[i].run()


def run(ids: Iterable[str] | None = None) -> list[Result]:
    """The results of the claims asked for, or of all."""
    return list(iterate(ids))
