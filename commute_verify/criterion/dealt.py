"""Replicates dealt to the ranks of a process group: each estimates its own, and all end with all of them.

Replicate r belongs to rank r mod W, which takes it from its own batches. A replicate knows the weights of the
batches before it (see ``ratio``), those of other ranks included. Where a domain's batches differ in weight,
weights are therefore found by a forward pass and exchanged before each round; whether they differ is seen in
the first round, which starts with that pass, and in each round after it. So the numbers are those of one
process that is given the batches of all ranks, replicate by replicate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from commute_verify.criterion.effect import OrderEffect
from commute_verify.criterion.hessian_products import Method
from commute_verify.criterion.objective import Batch, Objective, located
from commute_verify.criterion.probe import Probe, probe
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.repeatable import repeatable_gradient
from commute_verify.criterion.replicate import Estimate, estimate
from commute_verify.criterion.run import Run
from commute_verify.criterion.sampling import Roles
from commute_verify.criterion.vectors import Vector, norm
from commute_verify.errors import CommuteError

SAME = 1e-5
"""How far norms of one model on two ranks may differ, relative to their size."""
Weights = dict[str, dict[tuple[int, int], float]]
"""By domain, then by rank and number of the batch."""


def check_alike(ranks: Ranks, objective: Objective, D: Vector | None, asked: object) -> None:
    """Refuse ranks that were asked something else, or hold another model or preconditioner."""
    everyone = ranks.exchange(asked)
    for number, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            raise CommuteError(
                f"ranks 0 and {number} were asked different things ({everyone[0]} and {theirs}); call "
                "order_effect with the same arguments on every rank, its own batches excepted"
            )
    vectors = [{name: p} for name, p in (*objective.parameters.items(), *(D or {}).items())]
    found = ranks.exchange([norm(vector) for vector in vectors])
    for number, norms in enumerate(found):
        if len(norms) != len(found[0]) or not np.allclose(norms, found[0], rtol=SAME, atol=0):
            raise CommuteError(
                f"ranks 0 and {number} hold different parameters or moments; load the same checkpoint on "
                "every rank"
            )


def probed(
    ranks: Ranks,
    objective: Objective,
    first: Mapping[str, Batch],
    method: Method | None,
    seed: int,
    together: bool,
) -> Probe:
    """What the first rank's start-up probe finds; the others make sure of a gradient that repeats."""
    found = None
    if ranks.number == 0:
        found = probe(objective, first, method, seed, together)
    else:
        name, batch = next(iter(first.items()))
        with located(f"domain {name!r}, batch 1"):
            repeatable_gradient(objective, batch)
    return cast(Probe, ranks.exchange(found)[0])


def deal(run: Run, sizes: Sequence[int], ranks: Ranks) -> None:
    """All replicates of these sizes, a round of one for each rank at a time."""
    ragged = True
    for start in range(0, len(sizes), ranks.size):
        owned = sizes[start : start + ranks.size]
        roles: Mapping[str, Roles] | None = None
        for number, size in enumerate(owned):
            if number == ranks.number:
                roles = {name: run.supply.roles(name, size) for name in run.domains}
            else:
                for name in run.domains:
                    run.supply.skip(name, size)
        known = _weigh(run, roles, ranks, first=not start) if ragged else None
        found = _estimates(run, roles, ranks, known)
        ragged = any(len(set(of.values())) > 1 for of in _joined([run.weights, *found[1]]).values())
        if ragged and known is None:
            found = _estimates(run, roles, ranks, found[1])
        for size, one in zip(owned, found[0], strict=True):
            run.keep(one, size)
        for name, theirs in _joined(found[1]).items():
            run.weights[name].update(theirs)


def joint(effect: OrderEffect, ranks: Ranks) -> OrderEffect:
    """The effect with what all ranks have taken, their evaluations summed and the rest of the slowest."""
    costs = ranks.exchange(effect.cost)
    return replace(
        effect,
        cost=replace(
            effect.cost,
            evaluations=sum(cost.evaluations for cost in costs),
            seconds=max(cost.seconds for cost in costs),
            peak_bytes=max(cost.peak_bytes for cost in costs),
            start_up_seconds=max(cost.start_up_seconds for cost in costs),
        ),
        notes=(*effect.notes, f"{ranks.size} ranks estimated together"),
    )


def _weigh(run: Run, roles: Mapping[str, Roles] | None, ranks: Ranks, first: bool) -> list[Weights]:
    """The weights of the round's batches on every rank, by forward passes."""
    seen: dict[str, dict[tuple[int, int], tuple[float, float]]] = {name: {} for name in run.domains}
    for name, r in (roles or {}).items():
        for number, batch in (*r.field, *r.target):
            with located(f"domain {name!r}, batch {number}"):
                seen[name][ranks.number, number] = run.objective.look_at(batch)
    everyone = ranks.exchange(seen)
    if first:
        _check_own(everyone)
    return [
        {name: {key: weight for key, (_, weight) in of.items()} for name, of in theirs.items()}
        for theirs in everyone
    ]


def _check_own(everyone: Sequence[Mapping[str, Mapping[tuple[int, int], tuple[float, float]]]]) -> None:
    """Refuse ranks that were given the same batches: their losses agree to the last bit."""
    known: dict[tuple[tuple[tuple[float, float], ...], ...], int] = {}
    for number, theirs in enumerate(everyone):
        losses = tuple(tuple(sorted(of.values())) for of in theirs.values())
        if all(losses) and known.setdefault(losses, number) != number:
            raise CommuteError(
                f"ranks {known[losses]} and {number} were given the same batches; give every rank batches of "
                "its own, such as batches[rank::ranks]"
            )


def _estimates(
    run: Run, roles: Mapping[str, Roles] | None, ranks: Ranks, known: Sequence[Weights] | None
) -> tuple[list[Estimate], list[Weights]]:
    """Every rank's estimate of the round, given the weights of ranks before it, and its own weights."""
    weights = _joined([run.weights, *(known or [])[: ranks.number]])
    before = {name: set(of) for name, of in weights.items()}
    own = estimate(run.work(weights, ranks.number), roles) if roles else None
    mine = {name: {key: of[key] for key in of.keys() - before[name]} for name, of in weights.items()}
    found = ranks.exchange((own, mine))
    return [one for one, _ in found if one is not None], [theirs for _, theirs in found]


def _joined(parts: Sequence[Weights]) -> Weights:
    found: Weights = {name: {} for name in parts[0]}
    for part in parts:
        for name, of in part.items():
            found[name].update(of)
    return found
