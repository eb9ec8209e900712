"""Before any estimate: is the model deterministic, and which method is right on it, and fastest?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from commute_verify.criterion.finite_difference import Step, choose_step
from commute_verify.criterion.gradient import Products, gradient
from commute_verify.criterion.hvp import METHODS, Method, hessian_vector_products
from commute_verify.criterion.objective import Batch, Objective, located
from commute_verify.criterion.vectors import Vector, dot, norm, relative_gap
from commute_verify.errors import CommuteError

TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2, torch.bfloat16: 0.5, torch.float16: 0.5}
"""How far two methods, or ⟨u, Hv⟩ and ⟨v, Hu⟩, may differ, relative to their size."""
NEGLIGIBLE = {torch.float64: 1e-7, torch.float32: 2e-2, torch.bfloat16: 0.5, torch.float16: 0.5}
"""A curvature ‖H v̂‖ / ‖g‖ below this is as good as 0 when methods are compared: differences end there."""
REPEATABLE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""How far two gradients of one batch may differ, relative to their size: the order of sums on a GPU."""


@dataclass(frozen=True)
class Probe:
    """The method to use, its step for each domain, and what was found on the way."""

    method: Method
    steps: Mapping[str, Step | None]
    symmetry: float
    disagreement: float
    refused: Mapping[Method, str]


class _Trial(NamedTuple):
    """One method's products along u and v, its seconds, and the step's own error for finite differences."""

    answer: Products
    seconds: float
    own_error: float


def probe(
    objective: Objective, first_batches: Mapping[str, Batch], method: Method | None, seed: int
) -> Probe:
    """Try the methods on one batch of the first domain; ``method=None`` takes the fastest that is right.

    Right is symmetric and equal to another method. Central differences need nothing but the gradient: where
    their own error is small they decide for the others. Asked for by name, they are held against themselves
    at a quarter of the step, and nothing that takes more memory is run.

    Raises CommuteError if the same batch gives two losses (dropout), if the loss changes a buffer (batch
    normalisation in train mode), if the method asked for fails or is wrong, or if none is right.
    """
    name, batch = next(iter(first_batches.items()))
    with located(f"domain {name!r}, batch 1"):
        g, v = repeatable_gradient(objective, batch), _random_like(objective, seed)
        directions = [g if norm(g) else v, v]
        trials, refused = _tried(objective, batch, directions, method)
        found = {m: _gaps(m, trials, directions, norm(g), objective.dtype) for m in trials}
        allowed = TOLERANCE[objective.dtype]
        for candidate, (symmetry, disagreement) in found.items():
            if not (symmetry <= allowed and disagreement <= allowed):
                refused[candidate] = (
                    f"{candidate} is wrong on this model: ⟨u, Hv⟩ and ⟨v, Hu⟩ differ by {symmetry:.1e}, the "
                    f"products from another method's by {disagreement:.1e} (allowed {allowed:.0e})"
                )
        right = [m for m in trials if m not in refused and method in (None, m)]
        if not right:
            told = "; ".join(refused.values()) if method is None else refused[method]
            raise CommuteError(f"{told}. Give another method, or the model in float64 or float32")
    chosen = min(right, key=lambda candidate: trials[candidate].seconds)
    steps: dict[str, Step | None] = dict.fromkeys(first_batches)
    if chosen == "finite-difference":
        near: Step | None = None
        for domain, example in first_batches.items():
            with located(f"domain {domain!r}, batch 1"):
                along = gradient(objective, example).vector
                near = steps[domain] = choose_step(objective, example, along if norm(along) else v, near)
    return Probe(chosen, steps, *found[chosen], refused)


def repeatable_gradient(objective: Objective, batch: Batch) -> Vector:
    """The gradient of a batch, twice the same, without a change to any buffer."""
    buffers = {name: buffer.clone() for name, buffer in objective.buffers().items()}
    g, weight, loss = gradient(objective, batch)
    again, weight_again, loss_again = gradient(objective, batch)
    changed = [name for name, b in objective.buffers().items() if not _same(b, buffers.get(name))]
    if changed:
        raise CommuteError(
            f"the loss changes the buffer {changed[0]}, as batch normalisation does in train mode; call "
            "model.eval()"
        )
    gap = norm({name: g[name] - again[name] for name in g})
    allowed = REPEATABLE[objective.dtype]
    if weight != weight_again or gap > allowed * norm(g) or abs(loss - loss_again) > allowed * abs(loss):
        raise CommuteError(
            f"the same batch gives two answers (losses {loss:.9g} and {loss_again:.9g}, gradients {gap:.1e} "
            "apart); call model.eval(), which stops dropout, and keep randomness out of loss_fn"
        )
    return g


def _tried(
    objective: Objective, batch: Batch, directions: list[Vector], method: Method | None
) -> tuple[dict[Method, _Trial], dict[Method, str]]:
    """Each method's products or why it has none; beside a method asked for, only what can judge it."""
    trials: dict[Method, _Trial] = {}
    refused: dict[Method, str] = {}
    for candidate in sorted(METHODS, key=lambda m: (m != method, m != "finite-difference")):
        if method == "finite-difference" != candidate:
            break
        if method not in (None, "finite-difference", candidate) and _judge(trials, objective.dtype):
            break
        try:
            trials[candidate] = _trial(objective, batch, directions, candidate)
        except CommuteError as error:
            refused[candidate] = str(error)
            if candidate == method:
                raise
    return trials, refused


def _trial(objective: Objective, batch: Batch, directions: list[Vector], method: Method) -> _Trial:
    step = choose_step(objective, batch, directions[0]) if method == "finite-difference" else None
    started = time.perf_counter()
    answer = hessian_vector_products(objective, batch, directions, method, step)
    if objective.device.type == "cuda":
        torch.cuda.synchronize(objective.device)
    return _Trial(answer, time.perf_counter() - started, step.relative_error if step else 0.0)


def _judge(trials: Mapping[Method, _Trial], dtype: torch.dtype) -> _Trial | None:
    """Central differences, where their own error is far below the tolerance."""
    differences = trials.get("finite-difference")
    return differences if differences and differences.own_error <= TOLERANCE[dtype] / 10 else None


def _gaps(
    method: Method,
    trials: Mapping[Method, _Trial],
    directions: list[Vector],
    slope: float,
    dtype: torch.dtype,
) -> tuple[float, float]:
    """How unsymmetric a method is, and how far from the judge, or from the nearest other method."""
    mine = trials[method]
    (u, v), (hu, hv) = directions, mine.answer.products
    least = NEGLIGIBLE[dtype] * slope
    size = norm(u) * norm(hv) + norm(v) * norm(hu) + 2 * least * norm(u) * norm(v)
    symmetry = float((dot(u, hv) - dot(v, hu)).abs()) / size if size else 0.0
    judge = _judge(trials, dtype)
    if mine is judge:
        return symmetry, mine.own_error
    others = [judge] if judge else [trial for trial in trials.values() if trial is not mine]
    gaps = [relative_gap(hu, other.answer.products[0], least * norm(u)) for other in others]
    return symmetry, max(mine.own_error, min(gaps, default=0.0))


def _random_like(objective: Objective, seed: int) -> Vector:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float32).to(p.device, p.dtype)
        for name, p in objective.parameters.items()
    }


def _same(buffer: torch.Tensor, before: torch.Tensor | None) -> bool:
    return before is not None and torch.equal(buffer, before)
