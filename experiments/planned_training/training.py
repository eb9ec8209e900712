"""AdamW on sequences dealt by a schedule: every schedule takes a domain's sequences in the same order."""

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
from experiments.optimizer_windows.training import Checkpoint

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
    found: Counts = np.diff(np.array(totals, np.int64), axis=0)[:, order]
    return found


def run_on(run: Checkpoint, rows: Rows, dealt: Counts) -> None:
    """One AdamW step for each row of ``dealt`` (N, K), the domains in the order of ``rows``."""
    ends = np.concatenate([np.zeros((1, dealt.shape[1]), np.int64), np.cumsum(dealt, axis=0)])
    short = [name for name, total in zip(rows, ends[-1], strict=True) if total > len(rows[name])]
    if short:
        raise CommuteError(f"too few sequences of {', '.join(short)}: expected {ends[-1].tolist()}")
    for first, last in pairwise(ends):
        batch = torch.cat([rows[name][a:b] for name, a, b in zip(rows, first, last, strict=True)])
        run.optimizer.zero_grad()
        logits = run.model(input_ids=batch[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        run.optimizer.step()
