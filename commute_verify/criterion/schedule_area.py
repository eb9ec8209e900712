"""What a schedule in steps is to second order: flow-time totals and Lévy area, against constant weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


def areas(
    schedule: WeightSchedule, domains: Sequence[str], lr: float | Sequence[float]
) -> tuple[Array, Array]:
    """ΔW (K,) and A (K, K), in flow time, of the schedule less constant weights with the same tokens.

    W_k = Σ_m lr_m w_k(m) over the steps m, and A_ij = ½ Σ (W_i dW_j − W_j dW_i); the constant weights' own
    area is 0. A stage of whole steps; ``lr`` one number, or one per step. At a constant lr ΔW is exactly 0,
    and no stage is expanded into its steps.
    """
    if not isinstance(schedule, WeightSchedule):
        raise CommuteError(
            f"{checked.shown('schedule', schedule)}; give a WeightSchedule, with durations in steps"
        )
    odd = sorted(set(schedule.domains) ^ set(domains))
    if odd:
        raise CommuteError(
            f"a schedule that misses or does not know {', '.join(odd)}; name {', '.join(domains)}"
        )
    counts = np.rint(schedule.durations)
    if not np.array_equal(counts, schedule.durations):
        raise CommuteError(f"durations {schedule.durations.tolist()}; a schedule in steps has whole numbers")
    weights = schedule.weights[:, [schedule.domains.index(name) for name in domains]]
    rates = _rates(lr, int(counts.sum()))
    gap = np.zeros(len(domains))
    if np.all(rates == rates.flat[0]):
        pieces = rates.flat[0] * counts[:, None] * weights
    else:
        weights = np.repeat(weights, counts.astype(int), axis=0)
        pieces = rates[:, None] * weights
        gap = pieces.sum(axis=0) - rates.sum() * weights.mean(axis=0)
    middle = np.cumsum(pieces, axis=0) - pieces / 2
    moment = middle.T @ pieces
    return gap, (moment - moment.T) / 2


def _rates(lr: object, steps: int) -> Array:
    """The learning rates: of shape () for one number, else (steps,)."""
    wanted = f"or one per step ({steps})"
    try:
        given = np.asarray(lr)
    except (TypeError, ValueError, RuntimeError):
        given = np.empty((), dtype=object)
    real = all(checked.real(rate) is not None for rate in given.flat) if given.dtype.kind == "O" else True
    if given.dtype.kind not in "iufO" or not real:
        raise CommuteError(f"{checked.shown('lr', lr)}; give one number, {wanted}")
    rates = given.astype(np.float64)
    if rates.shape not in ((), (steps,)):
        size = f"{rates.size} numbers" if rates.ndim == 1 else f"shape {rates.shape}"
        raise CommuteError(f"lr of {size} for {steps} steps; give one number, or one per step")
    odd = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if odd.size and rates.ndim:
        raise CommuteError(f"lr={rates[odd[0]]:.6g} at step {odd[0] + 1}; give finite numbers of at least 0")
    if odd.size:
        raise CommuteError(f"lr={rates:.6g}; give one finite number of at least 0, {wanted}")
    return rates
