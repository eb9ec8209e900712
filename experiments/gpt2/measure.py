r"""The criterion at a checkpoint, plain and preconditioned, and what cheaper baselines need.

Batches come from the far end of each domain's first pass through its data, which no training of the study
reaches. The same batches serve both estimates, so that they differ by the preconditioner alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from commute_verify.criterion import AdamPreconditioner, OrderEffect, hvp, order_effect
from commute_verify.criterion.lanczos import Ritz, lanczos
from commute_verify.criterion.objective import LossFunction
from commute_verify.errors import CommuteError
from experiments.gpt2.model import loss_fn
from experiments.gpt2.order import window_indices
from experiments.gpt2.presets import Criterion
from experiments.gpt2.shards import Shards

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

SEED = 0


def far_batches(
    shards: Shards, domains: Sequence[str], context: int, chosen: Criterion, seed: int, used: int
) -> dict[str, list[Tensor]]:
    """Batches of every domain, (sequences, context + 1) each, from the last windows of its first pass.

    ``used`` is an upper bound on the windows of a domain that trainings consume; CommuteError where the two
    would meet.
    """
    need = chosen.batches * chosen.sequences
    found = {}
    for domain in domains:
        windows = shards.windows(domain, "train", context)
        if windows < used + need:
            raise CommuteError(
                f"domain {domain!r} has {windows} windows of {context} tokens, and {used} for training and "
                f"{need} fresh ones for the criterion are needed: give it more text"
            )
        numbers = window_indices(seed, domain, windows, windows - need, need)
        drawn = torch.stack([shards.window(domain, "train", int(number), context) for number in numbers])
        found[domain] = [*drawn.view(chosen.batches, chosen.sequences, -1)]
    return found


def targets(domains: Sequence[str]) -> dict[str, dict[str, float]]:
    """Every domain, and "mix", all alike; in the order of their names, which sorted JSON keeps."""
    alone = {name: {name: 1.0} for name in domains}
    return dict(sorted((alone | {"mix": dict.fromkeys(domains, 1 / len(domains))}).items()))


def measured(
    model: GPT2LMHeadModel,
    optimizer: Mapping[str, Any],
    data: Mapping[str, Sequence[Tensor]],
    power_steps: int,
) -> dict[str, Any]:
    """The plain and the preconditioned effect, gradients, curvature and cost, ready for JSON."""
    model.train(False)
    device = next(model.parameters()).device
    placed = {name: [batch.to(device) for batch in batches] for name, batches in data.items()}
    D = AdamPreconditioner.from_state_dict(optimizer, model)
    count = min(len(batches) for batches in placed.values())

    def effect(preconditioner: AdamPreconditioner | None) -> OrderEffect:
        return order_effect(
            model,
            loss_fn,
            placed,
            targets=targets(tuple(placed)),
            batches=count,
            method="finite-difference",
            preconditioner=preconditioner,
            seed=SEED,
            progress=False,
        )

    plain, adam = effect(None), effect(D)
    mixed = torch.cat([batches[0][: max(1, len(batches[0]) // 2)] for batches in placed.values()])
    model.set_attn_implementation("eager")  # fused attention has no second derivative
    curvature = {
        "plain": largest_curvature(model, mixed, None, power_steps),
        "adam": largest_curvature(model, mixed, D.on(model), power_steps),
    }
    return {
        "effects": {"plain": json.loads(plain.to_json()), "adam": json.loads(adam.to_json())},
        "gradients": gradients(plain),
        "curvature": {name: found.value for name, found in curvature.items()},
        "curvature_error": {name: found.error for name, found in curvature.items()},
        "cost": {name: cost(one) for name, one in (("plain", plain), ("adam", adam))},
    }


def gradients(effect: OrderEffect) -> dict[str, Any]:
    """Norms of the domains' gradients and the cosine of the first two.

    From ⟨g_i, g_j⟩ estimated with independent batches for the factors, so that noise does not add to a norm;
    None where an estimate of a square is not above 0.
    """
    names = effect.domains
    mean = effect.slope_replicates.mean(axis=0)
    rows = [effect.targets.index(name) for name in names]
    gram = (mean[rows] + mean[rows].T) / 2
    squares = [float(gram[k, k]) for k in range(len(names))]
    norms = {name: math.sqrt(s) if s > 0 else None for name, s in zip(names, squares, strict=True)}
    first, second = (norms[name] for name in names[:2])
    cosine = float(gram[0, 1]) / (first * second) if first and second else None
    return {"cosine": cosine, "norms": norms}


def largest_curvature(
    model: nn.Module,
    batch: Tensor,
    scales: Mapping[str, Tensor] | None,
    steps: int,
    loss: LossFunction = loss_fn,
) -> Ritz:
    """λ_max of H, or of √D H √D, on one batch, after at most ``steps`` products from a fixed start.

    An eigenvalue lies within ``error`` of ``value``, and λ_max is not below it; ``steps`` vectors are kept.
    """
    named = dict(model.named_parameters())
    roots = {name: 1.0 if scales is None else scales[name].sqrt() for name in named}
    draw = torch.Generator().manual_seed(SEED)
    start = torch.cat([torch.randn(p.shape, generator=draw).flatten() for p in named.values()])

    def product(flat: Tensor) -> Tensor:
        pieces = flat.split([p.numel() for p in named.values()])  # type: ignore[no-untyped-call]
        pushed = {n: roots[n] * x.view_as(p) for (n, p), x in zip(named.items(), pieces, strict=True)}
        found = hvp(model, loss, batch, pushed)
        return torch.cat([(roots[name] * found[name]).flatten() for name in named])

    krylov = lanczos(product, start.to(next(iter(named.values())).device), steps)
    values, vectors = torch.linalg.eigh(krylov.matrix())
    return Ritz(float(values[-1]), krylov.residual * abs(float(vectors[-1, -1])), len(values))


def cost(effect: OrderEffect) -> dict[str, Any]:
    """Passes over one batch, and all calls of the loss; no times, which differ from run to run."""
    held = effect.cost
    return {
        "gradient_passes": held.gradient_passes,
        "hvp_passes": held.hvp_passes,
        "evaluations": held.evaluations,
    }
