"""One effect from several: estimates of the ranks of a distributed run, each from batches of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from commute_verify.criterion.answers import Cost
from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError


def pooled(effects: Sequence[OrderEffect]) -> OrderEffect:
    """The effect of all replicates together: every one is unbiased, and they are independent.

    For a model on several ranks let each rank estimate from batches that no other rank has, gather the
    ``to_json`` texts (``torch.distributed.all_gather_object``), and pool them: no vector is ever sent. Passes
    are summed; ``seconds`` and ``peak_bytes`` are those of the slowest and of the largest rank. Raises
    CommuteError for effects of other domains or targets, and for ``until="resolved"``, whose ranks
    stopped by their own data.
    """
    if not effects:
        raise CommuteError("no effects to pool; give those of every rank")
    one = effects[0]
    for effect in effects[1:]:
        if (effect.domains, effect.mixing) != (one.domains, one.mixing):
            raise CommuteError("effects of different domains or targets; ask every rank the same")
    if any(effect.looks for effect in effects):
        raise CommuteError('effects sampled until="resolved"; give every rank a number of batches')
    costs = [effect.cost for effect in effects]
    return OrderEffect(
        one.domains,
        one.mixing,
        np.concatenate([effect.P_replicates for effect in effects]),
        np.concatenate([effect.slope_replicates for effect in effects]),
        Cost(
            sum(cost.gradient_passes for cost in costs),
            sum(cost.hvp_passes for cost in costs),
            one.cost.hvps_per_estimate,
            sum(cost.evaluations for cost in costs),
            max(cost.seconds for cost in costs),
            max(cost.peak_bytes for cost in costs),
            max(cost.start_up_seconds for cost in costs),
        ),
        ", ".join(dict.fromkeys(effect.method for effect in effects)),
        notes=tuple(dict.fromkeys(note for effect in effects for note in effect.notes)),
        rounding=np.max([effect.rounding for effect in effects], axis=0),
    )
