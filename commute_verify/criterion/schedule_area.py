"""What a schedule in steps is to second order: flow-time totals and Lévy area, against constant weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


def areas(
    schedule: WeightSchedule, domains: Sequence[str], lr: float | Sequence[float]
) -> tuple[Array, Array]:
    """ΔW (K,) and A (K, K), in flow time, of the schedule less constant weights with the same tokens.

    W_k = Σ_m lr_m w_k(m) over the steps m, and A_ij = ½ Σ (W_i dW_j − W_j dW_i); the constant weights' own
    area is 0. A stage of whole steps; ``lr`` one number, or one per step.
    """
    odd = sorted(set(schedule.domains) ^ set(domains))
    if odd:
        raise CommuteError(
            f"a schedule that misses or does not know {', '.join(odd)}; name {', '.join(domains)}"
        )
    counts = np.rint(schedule.durations)
    if not np.array_equal(counts, schedule.durations):
        raise CommuteError(f"durations {schedule.durations.tolist()}; a schedule in steps has whole numbers")
    order = [schedule.domains.index(name) for name in domains]
    weights = np.repeat(schedule.weights[:, order], counts.astype(int), axis=0)
    rates = _rates(lr, len(weights))
    steps = rates[:, None] * weights
    middle = np.cumsum(steps, axis=0) - steps / 2
    moment = middle.T @ steps
    gap = steps.sum(axis=0) - rates.sum() * weights.mean(axis=0)
    return gap, (moment - moment.T) / 2


def _rates(lr: float | Sequence[float], steps: int) -> Array:
    try:
        rates = np.asarray(lr, dtype=np.float64)
    except (TypeError, ValueError):
        raise CommuteError(f"lr={lr!r}; give one number, or one per step") from None
    if rates.shape not in ((), (steps,)) or not np.all(np.isfinite(rates)) or np.any(rates < 0):
        raise CommuteError(
            f"lr of {rates.size} learning rates for {steps} steps; give one finite number of at least 0, or "
            "one per step"
        )
    return np.broadcast_to(rates, (steps,))
