"""What predictions cost beside running the branches: measured passes over batches, for K domains.

Costs are those that ``predict_excess_loss`` counts while it runs: gradients, and a product as two more; the
local series' for one batch of every domain that it averages over. They depend on the numbers of domains,
targets and steps, not on the model, so that a linear one is asked. Running the branches takes a run of every
schedule and one of the reference.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

import commute_verify as cv
from experiments.optimizer_windows.settings import Settings

KS = (2, 3, 4, 5, 6, 7, 8)
STEPS = 10
"""Steps of the window that costs are measured on."""
DELTA = 0.05
PREDICTORS = {
    "local": ("local", 1),
    "local-3": ("local-3", 1),
    "memory": ("memory", 1),
    "sweep": ("trajectory", 1),
    "three points": ("trajectory", 3),
}
"""Predictors with their Gauss points, which the trajectory alone has."""
ONCE = ("local", "local-3")
"""They are asked for one batch of every domain, whatever the window's length."""

Batch = tuple[Tensor, Tensor]


def prices(settings: Settings) -> dict[str, Any]:
    """Training steps that each predictor costs for one schedule, and one sweep for all, for K domains."""
    rows = []
    for K in KS:
        model, data, optimizer = _problem(K, settings.seed)
        names = list(data)
        mixture = dict.fromkeys(names, 1 / K)
        tilt = cv.WeightSchedule.tilt(mixture, names[0], names[1], DELTA, STEPS // 2)
        every = {name: {name: 1.0} for name in names}
        first = {name: found[:1] for name, found in data.items()}
        for label, targets in (("the mixture", {"mixture": mixture}), ("every domain", every)):
            costs = {
                name: cv.predict_excess_loss(
                    model,
                    loss_fn,
                    first if name in ONCE else data,
                    tilt,
                    targets,
                    optimizer=optimizer,
                    held_out=first,
                    predictor=predictor,  # type: ignore[arg-type]
                    points=points,
                ).cost.training_steps
                for name, (predictor, points) in PREDICTORS.items()
            }
            rows.append({"K": K, "targets": label, "count": len(targets), "steps": costs})
    return {
        "window": STEPS,
        "rows": rows,
        "tilts": {str(K): len(list(permutations(range(K), 2))) for K in KS},
    }


def loss_fn(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Half the summed squared error."""
    x, y = batch
    return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)


def _problem(K: int, seed: int) -> tuple[nn.Module, dict[str, list[Batch]], torch.optim.Optimizer]:
    draw = torch.Generator().manual_seed(seed)
    model = nn.Linear(12, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, 12, generator=draw, dtype=torch.float64))
    data: dict[str, list[Batch]] = {}
    for k in range(K):
        centre = torch.randn(12, generator=draw, dtype=torch.float64)
        data[f"d{k}"] = [
            (centre + torch.randn(4, 12, generator=draw, dtype=torch.float64), torch.ones(4).double() * k)
            for _ in range(STEPS)
        ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for s in range(2):
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for found in data.values():
            loss, weight = loss_fn(model, found[s])
            total = total + loss / weight / K
        torch.autograd.backward(total)
        optimizer.step()
    return model, data, optimizer
