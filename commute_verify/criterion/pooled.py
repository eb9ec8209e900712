"""One effect from several: estimates of the ranks of a distributed run, each from batches of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from commute_verify.criterion import checked
from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError


def pooled(effects: Iterable[OrderEffect]) -> OrderEffect:
    """The effect of all replicates together, as they are independent.

    For a model on several ranks let each rank estimate from batches that no other rank has, gather the
    ``to_json`` texts (``torch.distributed.all_gather_object``), and pool them: no vector is ever sent. Passes
    are summed; ``seconds`` and ``peak_bytes`` are those of the slowest and of the largest rank. Raises
    CommuteError for effects of other domains or targets, for ranks that were given the same batches (their
    replicates are then equal bit for bit), and for ``until="resolved"``, whose ranks stopped by their own
    data.
    """
    ranks = _checked(effects)
    one, costs = ranks[0], [effect.cost for effect in ranks]
    return replace(
        one,
        P_replicates=np.concatenate([effect.P_replicates for effect in ranks]),
        slope_replicates=np.concatenate([effect.slope_replicates for effect in ranks]),
        cost=replace(
            one.cost,
            gradient_passes=sum(cost.gradient_passes for cost in costs),
            hvp_passes=sum(cost.hvp_passes for cost in costs),
            evaluations=sum(cost.evaluations for cost in costs),
            seconds=max(cost.seconds for cost in costs),
            peak_bytes=max(cost.peak_bytes for cost in costs),
            start_up_seconds=max(cost.start_up_seconds for cost in costs),
        ),
        method=", ".join(dict.fromkeys(effect.method for effect in ranks)),
        notes=tuple(dict.fromkeys(note for effect in ranks for note in effect.notes)),
        rounding=np.max([effect.rounding for effect in ranks], axis=0),
    )


def _checked(effects: Iterable[OrderEffect]) -> list[OrderEffect]:
    if not isinstance(effects, Iterable):
        raise CommuteError(f"{checked.shown('effects', effects)}; give a list of every rank's effect")
    ranks = list(effects)
    if not ranks:
        raise CommuteError("no effects to pool; give those of every rank")
    seen: dict[bytes, int] = {}
    for number, effect in enumerate(ranks, start=1):
        if not isinstance(effect, OrderEffect):
            raise CommuteError(
                f"effect {number} is {checked.a_type(effect)}; give order effects, and read texts with "
                "OrderEffect.from_json"
            )
        if (effect.domains, effect.mixing) != (ranks[0].domains, ranks[0].mixing):
            raise CommuteError("effects of different domains or targets; ask every rank the same")
        if effect.looks:
            raise CommuteError('effects sampled until="resolved"; give every rank a number of batches')
        pairs = zip(effect.P_replicates, effect.slope_replicates, strict=True)
        own = {P.tobytes() + slopes.tobytes() for P, slopes in pairs}
        twin = next((seen[replicate] for replicate in own if replicate in seen), None)
        if twin:
            raise CommuteError(
                f"effects {twin} and {number} hold a replicate that is the same bit for bit; give every rank "
                "batches of its own"
            )
        seen |= dict.fromkeys(own, number)
    return ranks
