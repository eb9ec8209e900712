"""What a domain may be called: names stand in files, formulas and tables beside those of the targets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from commute_verify.errors import CommuteError

TAKEN = ("mix", "mean")
"""What the target of all domains is called, in an effect and in a comparison."""


def check(names: Iterable[str]) -> None:
    """CommuteError for a name that a target has, or of other signs than letters, digits, '.', '-', '_'."""
    for name in names:
        if name in TAKEN:
            raise CommuteError(
                f"a domain is called {name!r}, as the target of all domains is: give another name"
            )
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise CommuteError(
                f"a domain is called {name!r}: give a name of letters, digits, '.', '-' and '_'"
            )
