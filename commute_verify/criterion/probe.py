"""Before any estimate: is the model deterministic, and which method is right on it, and fastest?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from commute_verify.criterion.finite_difference import Step
from commute_verify.criterion.hessian_products import Method
from commute_verify.criterion.objective import Batch, Objective, located
from commute_verify.criterion.repeatable import repeatable_gradient
from commute_verify.criterion.shards import like
from commute_verify.criterion.trial import TOLERANCE, Directions, Verdict, held, tried, verdict
from commute_verify.criterion.vectors import Vector, norm
from commute_verify.errors import CommuteError


@dataclass(frozen=True)
class Probe:
    """The method to use, its step for each domain, and what was found on the way.

    ``symmetry`` and ``disagreement`` are the worst over the domains, and ``words`` says of what. The seconds
    of a gradient and of a product are those of the first domain's first batch.
    """

    method: Method
    steps: Mapping[str, Step | None]
    symmetry: float
    disagreement: float
    refused: Mapping[Method, str]
    words: str = ""
    gradient_seconds: float = 0.0
    product_seconds: float = 0.0


def probe(
    objective: Objective,
    first_batches: Mapping[str, Batch],
    method: Method | None,
    seed: int,
    together: bool = True,
) -> Probe:
    """Try the methods on a batch of the first domain; ``method=None`` takes the fastest that is right.

    Right is symmetric and equal to another method, on a batch of every domain. Central differences need
    nothing but the gradient: where they find a curvature and their own error is small, they decide for the
    others. Asked for by name, they are held against themselves at a quarter of the step, and nothing that
    takes more memory is run. ``together`` says whether several products share a pass in the estimate.

    Raises CommuteError if the same batch gives two losses (dropout), if the loss changes a buffer (batch
    normalisation in train mode), if the method asked for fails or is wrong, or if none is right.
    """
    (name, batch), *others = first_batches.items()
    v = _random_like(objective, seed)
    with located(f"domain {name!r}, batch 1"):
        started = time.perf_counter()
        directions = _directions(objective, batch, v, together)
        gradient_seconds = (time.perf_counter() - started) / 2
        trials, refused = tried(objective, batch, directions, method)
        found = {m: verdict(m, trials, directions, objective.precision) for m in trials}
        for candidate, one in found.items():
            if one.worst > TOLERANCE[objective.precision]:
                refused[candidate] = _wrong(candidate, one, objective)
        if method in refused:
            raise CommuteError(f"{refused[method]}. {_advice(objective)}")
    differences = trials.get("finite-difference")
    right = [m for m in trials if m not in refused and method in (None, m)]
    for chosen in sorted(right, key=lambda m: trials[m].seconds):
        steps, verdicts = {name: trials[chosen].step}, [found[chosen]]
        near = differences.step if differences else None
        for domain, example in others:
            where = f"domain {domain!r}, batch 1"
            with located(where):
                directions = _directions(objective, example, v, together)
                try:
                    mine, one = held(objective, example, directions, chosen, found[chosen].other, near)
                except CommuteError as error:
                    if method:
                        raise
                    refused[chosen] = f"{where}: {error}"
                    break
                near = mine.step or near
            steps[domain] = mine.step
            verdicts.append(one)
            if one.worst > TOLERANCE[objective.precision]:
                refused[chosen] = f"{where}: {_wrong(chosen, one, objective)}"
                break
        else:
            return Probe(
                chosen,
                steps,
                max(one.symmetry for one in verdicts),
                max(max(one.own_error, one.gap) for one in verdicts),
                refused,
                max(verdicts, key=lambda one: one.worst).words,
                gradient_seconds,
                trials[chosen].seconds,
            )
    told = "; ".join(refused.values()) if method is None else refused[method]
    raise CommuteError(f"{told}. {_advice(objective)}")


def _directions(objective: Objective, batch: Batch, v: Vector, together: bool) -> Directions:
    g = repeatable_gradient(objective, batch)
    slope = norm(g)
    return Directions(g if slope else v, v, slope, together)


def _wrong(method: Method, found: Verdict, objective: Objective) -> str:
    allowed = TOLERANCE[objective.precision]
    return f"{method} is wrong on this model: {found.words} (allowed {allowed:.0e})"


def _advice(objective: Objective) -> str:
    """What to do where no method is right."""
    if objective.precision != objective.dtype:
        return "Give another method, or turn autocast off"
    if objective.dtype == torch.float64:
        return "Give another method"
    wider = "float64" if objective.dtype == torch.float32 else "float32 or float64"
    return f"Give another method, or the model in {wider}"


def _random_like(objective: Objective, seed: int) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: like(torch.randn(p.shape, generator=generator, dtype=torch.float32), p)
        for name, p in objective.parameters.items()
    }
