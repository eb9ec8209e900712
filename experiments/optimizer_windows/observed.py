"""What really happens: AdamW runs of every case on one seed of batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from commute_verify import WeightSchedule
from experiments.optimizer_windows.cases import cases, per_step
from experiments.optimizer_windows.settings import Settings
from experiments.optimizer_windows.texts import exchanged, texts
from experiments.optimizer_windows.training import Checkpoint, Data, losses, take_step

Steps = tuple[tuple[float, ...], ...]


def observed(settings: Settings, start: Checkpoint, seed: int) -> dict[str, list[float]]:
    """The excess loss of every case and target: L after the schedule less L after its reference.

    Step s takes batch s of every domain whatever the schedule is; then all is run again with the batches of
    the two stages exchanged, and the excess is the mean of both. What two schedules have in common at their
    start is run once.
    """
    data, held_out = texts(settings).window(seed), texts(settings).held_out()
    dealt = Ends(start, data, held_out)
    every = cases(settings, start.place)
    found = {}
    for k in settings.lengths:
        orders = dealt, Ends(start, exchanged(data, k), held_out)
        for case in (case for case in every if case.k == k):
            found[case.name] = excess(case.schedules(settings), orders)
    return found


def excess(ways: tuple[WeightSchedule, WeightSchedule], orders: Sequence[Ends]) -> list[float]:
    """L after the first schedule less L after the second, every target, the mean over orders of batches."""
    one, other = (per_step(schedule) for schedule in ways)
    found: list[float] = np.mean([ends.after(one) - ends.after(other) for ends in orders], axis=0).tolist()
    return found


class Ends:
    """Losses at the end of schedules, each run once; first stages and constant weights are gone on from."""

    def __init__(self, start: Checkpoint, data: Data, held_out: Data) -> None:
        """Step s of every schedule takes batch s of ``data``."""
        self._start, self._data, self._held_out = start, data, held_out
        self._known: dict[Steps, np.ndarray] = {}
        self._runs: dict[Steps, Checkpoint] = {(): start}

    def after(self, weights: list[list[float]]) -> np.ndarray:
        """Every target's loss after these steps."""
        key = tuple(tuple(row) for row in weights)
        if key not in self._known:
            run = self._reached(key)
            self._known[key] = np.array(losses(copy.deepcopy(run.model).double(), self._held_out))
        return self._known[key]

    def _reached(self, key: Steps) -> Checkpoint:
        """The run after these steps, from the longest beginning that was kept; stage ends are kept."""
        done = max((n for n in range(len(key) + 1) if key[:n] in self._runs), default=0)
        run = self._runs[key[:done]].copied()
        for s in range(done, len(key)):
            take_step(run, self._data, s, key[s])
            if s + 1 == len(key) or key[s + 1] != key[s]:
                self._runs[key[: s + 1]] = run.copied()
        return run
