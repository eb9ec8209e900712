"""AdamW on sequences weighed or dealt by a schedule, each domain's always in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.errors import CommuteError
from commute_verify.mixture.turns import Turns
from commute_verify.schedules import WeightSchedule
from experiments.optimizer_windows.training import Checkpoint, step_on

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Rows = Mapping[str, Tensor]
"""Sequences (M, context + 1) of every domain, in the order in which they are trained on."""


def counts(schedule: WeightSchedule, domains: Sequence[str], batch: int) -> Counts:
    """Sequences (N, K) of every domain in each step of a schedule in steps, ``batch`` to a step.

    The counts follow the weights to within a sequence at every step, and equal totals stay equal.

    >>> counts(WeightSchedule.blocks({"a": 1, "b": 2}), ("b", "a"), 4).tolist()
    [[0, 4], [4, 0], [4, 0]]
    """
    samples = WeightSchedule(schedule.domains, schedule.durations * batch, schedule.weights)
    turns, had = Turns.of(samples), [0] * len(schedule.domains)
    totals = [[0] * len(had)]
    for n in range(round(samples.duration)):
        had[turns.next(n, had)] += 1
        if (n + 1) % batch == 0:
            totals.append(had.copy())
    order = [schedule.domains.index(name) for name in domains]
    after = np.array(totals, np.int64)[:, order]
    return after[1:] - after[:-1]


def run_weighed(run: Checkpoint, rows: Rows, weights: Array, each: int) -> None:
    """One AdamW step for each row of ``weights`` (N, K): the gradient of Σ_k w_k L_k on the step's batches.

    Step s takes ``each`` sequences of every domain, whatever the schedule is.
    """
    _enough(rows, np.full(len(rows), len(weights) * each))
    for s, row in enumerate(weights):
        batch = torch.cat([one[s * each : (s + 1) * each] for one in rows.values()])
        step_on(run, batch, torch.from_numpy(np.repeat(row / each, each)))


def run_dealt(run: Checkpoint, rows: Rows, dealt: Counts) -> None:
    """One AdamW step for each row of ``dealt`` (N, K), the domains in the order of ``rows``."""
    ends = np.concatenate([np.zeros((1, dealt.shape[1]), np.int64), np.cumsum(dealt, axis=0)])
    _enough(rows, ends[-1])
    for first, last in pairwise(ends):
        batch = torch.cat([rows[name][a:b] for name, a, b in zip(rows, first, last, strict=True)])
        run.optimizer.zero_grad()
        logits = run.model(input_ids=batch[:, :-1]).logits
        torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()))
        run.optimizer.step()


def per_step(schedule: WeightSchedule, domains: Sequence[str]) -> Array:
    """The weights (N, K) of every step of a schedule in whole steps."""
    order = [schedule.domains.index(name) for name in domains]
    found: Array = np.repeat(schedule.weights[:, order], schedule.durations.astype(int), axis=0)
    return found


def _enough(rows: Rows, totals: Counts) -> None:
    short = [name for name, total in zip(rows, totals, strict=True) if total > len(rows[name])]
    if short:
        raise CommuteError(f"too few sequences of {', '.join(short)}: expected {totals.tolist()}")
