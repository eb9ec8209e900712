"""Shares of right signs with exact intervals, ratios, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from experiments.optimizer_windows.records import Guess, Record
from experiments.quadratic.statistics import share_of

Choice = Callable[[Record], bool]
SIGNS = ("last wins", "gradient product", "gradient cosine", "gradient norm")
"""Guesses of a sign without a size."""


def summary(records: Iterable[Record], predictor: str, level: float) -> dict[str, Any] | None:
    """How a predictor did on the records that it was asked about; None where there are none.

    Signs and ratios observed / predicted are of the records whose observed mean is resolved, or of all where
    a guess is held against the very runs whose batches it is from. ``answered`` counts, of those, the ones
    that the predictor stands by, and ``answered_right`` the right ones among them.
    """
    asked = [(r, r.guesses[predictor]) for r in records if predictor in r.guesses]
    if not asked:
        return None
    known = [(r, g) for r, g in asked if _judged(r, g)]
    answered = [(r, g) for r, g in known if g.answered]
    found: dict[str, Any] = {
        "cases": len(asked),
        "answered_of_all": sum(g.answered for _, g in asked),
        "judged": len(known),
        "answered": len(answered),
    }
    for name, some in (("right", known), ("answered_right", answered)):
        count = sum(_right(r, g) for r, g in some)
        found[name] = {"count": count} | share_of(count, len(some), level) if some else None
    found["ratio"] = None
    if known and predictor not in SIGNS:
        ratios = [_seen(r, g) / g.value for r, g in known if g.value]
        if ratios:
            p10, median, p90 = np.percentile(ratios, [10, 50, 90])
            found["ratio"] = {"median": median, "p10": p10, "p90": p90}
    return found


def by(
    records: Sequence[Record], key: Callable[[Record], Any], predictors: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """A cell for every value of ``key``, in the order in which they first occur."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return [
        {
            "key": value,
            "cases": len(some),
            "resolved": sum(r.resolved for r in some),
            "predictors": {
                name: found for name in predictors if (found := summary(some, name, level)) is not None
            },
        }
        for value, some in groups.items()
    ]


def errors(records: Iterable[Record], predictor: str) -> float | None:
    """The median of |predicted − observed| / |observed|, over the same records as the ratios."""
    found = [
        abs(g.value - _seen(r, g)) / abs(_seen(r, g))
        for r in records
        if (g := r.guesses.get(predictor)) is not None and _judged(r, g) and _seen(r, g)
    ]
    return float(np.median(found)) if found else None


def _judged(record: Record, guess: Guess) -> bool:
    """Without noise in what it is held against, or with less of it than signal; and a number at all."""
    return bool(np.isfinite(guess.value)) and (record.resolved or guess.observed is not None)


def _right(record: Record, guess: Guess) -> bool:
    return bool(np.sign(_seen(record, guess)) == np.sign(guess.value))


def _seen(record: Record, guess: Guess) -> float:
    return record.observed if guess.observed is None else guess.observed
