r"""The first variation as a value: one sweep along a run answers for every schedule near it.

    L_t(w) − L_t(w') = Σ_s Σ_k (w − w')_k(s) ∂L_t/∂w_k(s) + even + odd

with the derivative taken along v. Where w and w' lie on opposite sides of v, w − v = v − w', all terms of
even order are gone, and what is left out is of third order in w − v.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.criterion.prediction.answer import Predicted, PredictionCost, Verdict, verdict
from commute_verify.criterion.prediction.skipping import Reach
from commute_verify.criterion.prediction.window import in_steps
from commute_verify.criterion.statistics import mean_and_stderr, p_values
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

ALPHA = 0.05
"""With replicates: a sign whose p-value is not below this is not resolved, and not answered."""
AROUND = 0.2
"""How far from the swept weights, on both sides of them, one sweep is relied on."""
ALONE = verdict("the number of further replicates that a sign needs", 1.0, 0.0, "allowed")
"""A single replicate."""
ROUNDING = 1e-9
"""How far the middle of two schedules may be from the swept one."""


@dataclass(frozen=True, eq=False)
class FirstVariation:
    """∂L_t(θ_N)/∂w_k(s): what a little more of domain k at step s does to target t at the end.

    ``sensitivity`` maps targets to (N, K) in the order of ``domains``, in units of L for a weight of 1;
    ``weights`` (N, K) is the schedule that it was taken along, and ``losses`` are those at its end. With
    replicates both are means, and ``replicates`` maps targets to the sensitivity of each, (R, N, K).
    ``reach`` knows which parameters torch would skip in steps that leave a domain out; None where none move.
    ``cost`` is what the sweeps took, all replicates together.
    """

    domains: tuple[str, ...]
    weights: Array
    sensitivity: Mapping[str, Array]
    losses: Mapping[str, float]
    replicates: Mapping[str, Array] | None = None
    reach: Reach | None = None
    cost: PredictionCost | None = None

    def excess(self, schedule: WeightSchedule) -> dict[str, float]:
        """Σ_s Σ_k δw_k(s) ∂L_t/∂w_k(s) for a schedule near the one it was taken along, in steps.

        First order in δw. Raises CommuteError for other domains or another number of steps.
        """
        change = self._per_step(schedule) - self.weights
        return {name: float(np.sum(change * slopes)) for name, slopes in self.sensitivity.items()}

    def predict(self, schedule: WeightSchedule, against: WeightSchedule) -> dict[str, Predicted]:
        """L_t after ``schedule`` less L_t after ``against``, judged; no further pass over the model.

        It answers where the schedule that was swept is the middle of the two, as constant weights are of a
        tilt and the same tilt in the other order, where no weight is further than 0.2 from it, and where the
        p-value of the sign over replicates is below 0.05 (Student). A single replicate does not know how much
        of its value is chance in its batches, and abstains; so does it where torch would skip a parameter in
        steps that do not reach it, and memory or decay would move it.

        Raises CommuteError for other domains or another number of steps.
        """
        one, other = self._per_step(schedule), self._per_step(against)
        off = float(np.abs((one + other) / 2 - self.weights).max())
        near = float(np.abs(one - self.weights).max())
        judged = verdict("the largest distance of a weight from the swept one", near, AROUND, "at most")
        if off > ROUNDING:
            judged = verdict(
                "the distance of the two schedules' middle from the swept one", off, ROUNDING, "at most"
            )
        rows = np.vstack([one, other, self.weights])
        found = {}
        for name, slopes in self.sensitivity.items():
            each = slopes[None] if self.replicates is None else self.replicates[name]
            values = np.einsum("rsk,sk->r", each, one - other)
            known = len(values) > 1
            stderr = float(mean_and_stderr(values)[1]) if known else math.nan
            sign = resolved(float(p_values(values))) if known else ALONE
            checked = judged if self.reach is None else _worse(judged, self.reach.verdict(rows, name))
            found[name] = Predicted(float(values.mean()), stderr, _worse(checked, sign), "trajectory")
        return found

    def _per_step(self, schedule: WeightSchedule) -> Array:
        if not isinstance(schedule, WeightSchedule):
            raise CommuteError(f"{checked.shown('schedule', schedule)}; give a WeightSchedule")
        if set(schedule.domains) != set(self.domains):
            raise CommuteError(
                f"a schedule of {', '.join(schedule.domains)}; the first variation is in "
                f"{', '.join(self.domains)}"
            )
        durations = in_steps(schedule.durations)
        if durations.sum() != len(self.weights) or np.any(durations % 1):
            raise CommuteError(
                f"durations {schedule.durations.tolist()} for a first variation over {len(self.weights)} "
                "steps; give whole steps that sum to as many"
            )
        order = [schedule.domains.index(name) for name in self.domains]
        weights: Array = np.repeat(schedule.weights[:, order], durations.astype(int), axis=0)
        return weights


def averaged(found: Sequence[FirstVariation]) -> FirstVariation:
    """The mean over replicates, which are kept; a single one is returned as it is."""
    first = found[0]
    if len(found) == 1:
        return first
    every = {name: np.stack([one.sensitivity[name] for one in found]) for name in first.sensitivity}
    return FirstVariation(
        first.domains,
        first.weights,
        {name: stacked.mean(axis=0) for name, stacked in every.items()},
        {name: float(np.mean([one.losses[name] for one in found])) for name in first.losses},
        every,
    )


def resolved(p: float) -> Verdict:
    """Whether a sign is known, by its p-value over replicates."""
    return verdict("the p-value of the sign over replicates", p, ALPHA, "allowed")


def _worse(first: Verdict, second: Verdict) -> Verdict:
    return first if not first.valid or second.valid else second
