"""What really happens: AdamW runs of every case on one seed of batches."""

from __future__ import annotations

import copy

import numpy as np

from experiments.optimizer_windows.cases import cases, per_step
from experiments.optimizer_windows.settings import Settings
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import Checkpoint, Data, losses, take_step

Steps = tuple[tuple[float, ...], ...]


def observed(settings: Settings, start: Checkpoint, seed: int) -> dict[str, list[float]]:
    """The excess loss of every case and target: L after the schedule less L after its reference.

    Step s takes batch s of every domain whatever the schedule is. What two schedules have in common at
    their start is run once.
    """
    data, held_out = texts(settings).window(seed), texts(settings).held_out()
    ends = _Ends(start, data, held_out)
    found = {}
    for case in cases(settings, start.place):
        one, other = (ends.after(per_step(schedule)) for schedule in case.schedules(settings))
        found[case.name] = (one - other).tolist()
    return found


class _Ends:
    """Losses at the end of schedules, each run once; first stages and constant weights are gone on from."""

    def __init__(self, start: Checkpoint, data: Data, held_out: Data) -> None:
        self._start, self._data, self._held_out = start, data, held_out
        self._known: dict[Steps, np.ndarray] = {}
        self._runs: dict[Steps, Checkpoint] = {(): start}

    def after(self, weights: list[list[float]]) -> np.ndarray:
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
