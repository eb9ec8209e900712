"""Observed beside predicted, case by case and target by target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.rung import Replicated
from commute_verify.criterion.prediction.trajectory import Path, judged
from commute_verify.criterion.prediction.variation import ALPHA, AROUND
from commute_verify.criterion.statistics import mean_and_stderr, p_values
from experiments.optimizer_windows.cases import Case, Start, cases
from experiments.optimizer_windows.pieces import label
from experiments.optimizer_windows.settings import DOMAINS, TARGETS, Settings

Array = NDArray[np.float64]
Pieces = Mapping[str, Mapping[str, Any]]
TYPES = ("own", "other", "mixture")


class Guess(NamedTuple):
    """A predicted excess, whether the predictor stands by it, and what it is held against if not the mean.

    ``why`` is the quantity that the verdict rests on, where one was kept.
    """

    value: float
    answered: bool = True
    observed: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Record:
    """One case and target: the mean excess over batch seeds, its standard error, and every guess at it.

    ``p`` is the mean's two-sided p-value; ``resolved`` says that it is below 0.05.
    """

    start: Start
    case: Case
    target: str
    observed: float
    stderr: float
    p: float
    guesses: Mapping[str, Guess] = field(default_factory=dict)

    @property
    def resolved(self) -> bool:
        """Whether the mean differs from 0 at the level of 0.05."""
        return self.p < ALPHA

    @property
    def type(self) -> str:
        """Whether the target is one of the two domains, another one, or the mixture."""
        if self.target == "mixture":
            return "mixture"
        return "own" if self.target in (self.case.first, self.case.second) else "other"


def records(settings: Settings, found: Pieces) -> list[Record]:
    """Everything that has been both observed and predicted."""
    return [
        record
        for start in settings.starts
        for case in cases(settings, start)
        for record in _of(settings, found, start, case)
    ]


def _of(settings: Settings, found: Pieces, start: Start, case: Case) -> list[Record]:
    runs = np.array([found[label(start, "observed", seed)][case.name] for seed in range(settings.observed)])
    (mean, stderr), p = mean_and_stderr(runs), p_values(runs)
    guesses: list[dict[str, Guess]] = [{} for _ in TARGETS]
    for source in (_sweeps, _local, _baselines, _dear, _memory, _slow):
        for target, name, guess in source(settings, found, start, case, runs):
            guesses[TARGETS.index(target)][name] = guess
    return [
        Record(start, case, target, float(mean[t]), float(stderr[t]), float(p[t]), guesses[t])
        for t, target in enumerate(TARGETS)
    ]


Guesses = list[tuple[str, str, Guess]]


def _sweeps(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    """The trajectory, from disjoint batches and from those of the first runs."""
    if case.kind != "tilt":
        return []
    own = np.array([found[label(start, "sweeps", seed)][case.name] for seed in range(settings.own)])
    guesses: Guesses = []
    for t, target in enumerate(TARGETS):
        seen = float(runs[: settings.own, t].mean())
        guess = Guess(float(own[:, t].mean()), case.delta <= AROUND, seen)
        guesses.append((target, "trajectory, own batches", guess))
    every = np.array([found[label(start, "sweeps", seed)][case.name] for seed in settings.others])
    p, close = p_values(every), case.delta <= AROUND
    for t, target in enumerate(TARGETS):
        guesses.append((target, "trajectory", Guess(float(every[:, t].mean()), close and bool(p[t] < ALPHA))))
        guesses.append((target, "trajectory, one seed", Guess(float(every[0, t]), close)))
    return guesses


def _local(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    named = {"plain": "local", "preconditioned": "local, preconditioned"}
    local = found[label(start, "local")]
    return [
        (target, name, Guess(float(local[key][case.name][t])))
        for key, name in named.items()
        for t, target in enumerate(TARGETS)
    ]


def _baselines(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    """Signs alone: what is trained last is learnt best; the likelier gradient last; the longer one last."""
    local = found[label(start, "local")]
    i, j = DOMAINS.index(case.first), DOMAINS.index(case.second)
    guesses: Guesses = []
    for t, target in enumerate(TARGETS):
        if target in (case.first, case.second):
            guesses.append((target, "last wins", Guess(1.0 if target == case.first else -1.0)))
        for key, name in (("slopes", "gradient product"), ("cosines", "gradient cosine")):
            guesses.append((target, name, Guess(local[key][t][i] - local[key][t][j])))
        guesses.append((target, "gradient norm", Guess(local["norms"][i] - local["norms"][j])))
    return guesses


def _dear(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    """Trajectories of their own, from disjoint batches and from the runs' own, judged by their means."""
    guesses: Guesses = []
    for name, seeds, against in (
        ("integrated", settings.others, None),
        ("integrated, own batches", range(settings.own), runs),
    ):
        pieces = [found.get(label(start, "dear", seed), {}) for seed in seeds]
        told = [piece[case.name] for piece in pieces if case.name in piece]
        if not told:
            continue
        targets: list[str] = told[0]["targets"]
        for target, (value, valid, why) in zip(targets, _integral(told), strict=True):
            t = TARGETS.index(target)
            seen = None if against is None else float(against[: settings.own, t].mean())
            guesses.append((target, f"trajectory, {name}", Guess(value, valid, seen, why)))
    return guesses


def _integral(told: Sequence[Mapping[str, Any]]) -> list[tuple[float, bool, str]]:
    """Every target's mean over replicates, whether it is answered, and on what ground; nan from overflow."""
    if any("failed" in one for one in told):
        return [(math.nan, False, "a number that is none")] * len(told[0]["targets"])
    paths = [Path(*(np.array(one[part]) for part in Path._fields)) for one in told]
    values, _, verdicts = Replicated(np.stack([path.excess for path in paths]), judged(paths)).mean()
    return [(float(value), v.valid, v.quantity) for value, v in zip(values, verdicts, strict=True)]


def _memory(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    return _told(found.get(label(start, "memory"), {}), "memory", case)


def _slow(settings: Settings, found: Pieces, start: Start, case: Case, runs: Array) -> Guesses:
    slow = found.get(label(start, "slow"), {})
    return [guess for name in slow for guess in _told(slow[name], name, case)]


def _told(found: Mapping[str, Any], name: str, case: Case) -> Guesses:
    excess: Mapping[str, Sequence[Any]] = found.get(case.name, {}).get("excess", {})
    return [
        (target, name, Guess(math.nan if value is None else value, answered))
        for target, (value, answered) in excess.items()
    ]
