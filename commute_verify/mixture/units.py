"""A schedule in steps, samples or tokens, as one that the mixture counts in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Unit = Literal["samples", "steps", "tokens"]
NEAR = 1e-6
"""How far from a whole number a total may be by roundoff."""


def counted(
    schedule: WeightSchedule,
    names: tuple[str, ...],
    unit: Unit,
    per_step: int,
    tokens_per_sample: Mapping[str, float] | None,
    measured: bool,
) -> WeightSchedule:
    """Durations in samples, or in tokens where they are ``measured``; weights in the order of the names.

    Steps are ``per_step`` samples. Tokens become samples by their means, the total rounded to a whole sample.
    Raises CommuteError for other domains than those named, and for a total that is not whole.
    """
    if not isinstance(schedule, WeightSchedule):
        raise CommuteError(f"schedule is {type(schedule).__name__}: give a WeightSchedule")
    odd = sorted(set(schedule.domains) ^ set(names))
    if odd:
        raise CommuteError(
            f"schedule and datasets differ in {', '.join(odd)}: give each domain weights and a dataset"
        )
    rows = schedule.weights[:, [schedule.domains.index(name) for name in names]]
    lengths = np.asarray(schedule.durations)
    if unit != "tokens":
        total = math.fsum(lengths)
        if abs(total - round(total)) > NEAR or round(total) < 1:
            raise CommuteError(f"the schedule lasts {total:g} {unit}: give stages that sum to a whole number")
        scale = per_step if unit == "steps" else 1
        return WeightSchedule(names, lengths * scale, rows)
    if measured:
        return WeightSchedule(names, lengths, rows)
    means = _means(names, tokens_per_sample)
    counts = lengths[:, None] * rows / means
    lengths = counts.sum(axis=1)
    if round(lengths.sum()) < 1:
        raise CommuteError("the schedule has fewer tokens than one sample: give it more, or smaller means")
    return WeightSchedule(names, lengths, counts / lengths[:, None])


def _means(
    names: tuple[str, ...], given: Mapping[str, float] | None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        means = np.array([float((given or {})[name]) for name in names])
    except (KeyError, TypeError, ValueError):
        means = np.zeros(len(names))
    if not (np.isfinite(means).all() and (means > 0).all()):
        raise CommuteError(
            f"tokens_per_sample={given}: a schedule in tokens needs length=, or a mean above 0 for each of "
            f"{', '.join(names)}"
        )
    return means
