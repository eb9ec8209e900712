"""Discrete gradient steps along a schedule: what a run with plain SGD and exact gradients does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.flows.ode import Array, Gradients, check_gradients, check_start
from commute_verify.schedules import WeightSchedule


def gradient_steps(
    gradients: Gradients,
    schedule: WeightSchedule,
    theta0: Array,
    learning_rate: float | Sequence[float],
) -> Array:
    """θ after θ ← θ − η_m Σ_k w_k g_k(θ), one update for each unit of the schedule's durations.

    gradients: θ (n,) ↦ (K, n), rows in the schedule's order of domains; theta0 (n,); returns θ (n,), all
    float64. Durations are whole numbers of steps. learning_rate is η ≥ 0 for all steps, or one for each step;
    a step takes η of flow time.
    Raises CommuteError for durations that are not whole, learning rates that are negative, not finite or not
    one a step, and, naming the step, for gradients or θ not finite and gradients not (K, n).

    >>> from commute_verify.schedules import WeightSchedule
    >>> two_steps = WeightSchedule.constant({"a": 1.0}, 2)
    >>> gradient_steps(lambda x: np.array([x]), two_steps, np.array([1.0]), 0.5).tolist()
    [0.25]
    """
    counts = schedule.durations.astype(np.int64)
    if (counts != schedule.durations).any():
        raise CommuteError(f"durations {schedule.durations.tolist()}: give whole numbers of steps")
    rates = _rates(learning_rate, int(counts.sum()))
    theta = check_start(theta0)
    for step, (rate, weights) in enumerate(
        zip(rates, np.repeat(schedule.weights, counts, axis=0), strict=True)
    ):
        values = gradients(theta)
        check_gradients(values, schedule.domains, theta, f"of step {step}")
        with np.errstate(over="ignore", invalid="ignore"):
            theta = theta - rate * (weights @ values)
        if not np.isfinite(theta).all():
            raise CommuteError(f"theta after step {step} is {theta}: give a smaller learning_rate")
    return theta


def _rates(learning_rate: float | Sequence[float], steps: int) -> Array:
    rates = np.asarray(learning_rate)
    if rates.shape not in ((), (steps,)) or rates.dtype.kind not in "iuf":
        raise CommuteError(
            f"learning_rate of shape {rates.shape}: give one number, or one for each of {steps} steps"
        )
    if not np.isfinite(rates).all() or (rates < 0).any():
        raise CommuteError(f"learning_rate is {learning_rate!r}: give finite rates ≥ 0")
    return np.broadcast_to(rates.astype(np.float64), (steps,))
