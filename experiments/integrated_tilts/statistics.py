"""From pieces to results: every tilt and target, and shares and ratios of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from commute_verify.criterion.prediction.rung import Replicated
from commute_verify.criterion.prediction.trajectory import Path, judged
from commute_verify.criterion.statistics import mean_and_stderr, p_values
from experiments.integrated_tilts.settings import Cell, Settings
from experiments.optimizer_windows.cases import Case
from experiments.optimizer_windows.goals import ANSWERED, RIGHT, worst
from experiments.optimizer_windows.records import Guess, Record
from experiments.optimizer_windows.settings import TARGETS
from experiments.optimizer_windows.statistics import by
from experiments.quadratic.statistics import plain, share_of

PREDICTOR, LAST = "trajectory", "last wins"


def name(cell: Cell, k: int, kind: str, seed: int) -> str:
    """A piece's name: which tilt, and what of it on which seed.

    >>> name(Cell(0, "a", "b"), 5, "observed", 3)
    'start0-ab-k5-observed-3'
    """
    return f"start{cell.start}-{cell.first}{cell.second}-k{k}-{kind}-{seed}"


def summed_up(settings: Settings, found: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page and the README show, as plain data."""
    rows = [
        row
        for cell in settings.cells
        for k in settings.windows.lengths
        for row in _rows(settings, found, cell, k)
    ]
    every = [_record(settings.windows.starts, settings.delta, row) for row in rows]

    def cells(key: Callable[[Record], list[Any]]) -> list[dict[str, Any]]:
        return _groups(every, key, settings.level)

    lengths, total = cells(lambda r: [r.case.k]), cells(lambda r: ["all"])[0]
    return plain(
        {
            "model": {
                key: getattr(settings.windows, key)
                for key in ("layers", "width", "context", "rows", "weights", "starts")
            },
            "settings": {
                "delta": settings.delta,
                "level": settings.level,
                "counts": [told._asdict() for told in settings.counts],
            },
            "rows": rows,
            "lengths": lengths,
            "cells": cells(lambda r: [*r.start, r.case.first, r.case.second]),
            "targets": cells(lambda r: [r.type]),
            "all": total,
            "halves": [
                {"k": k, **half}
                for k in settings.windows.lengths
                for half in _halves(settings, found, rows, k)
            ],
            "alone": [_alone(settings, found, rows, k) for k in settings.windows.lengths],
            "goals": _goals(lengths, total),
        }
    )


def of_every_size(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several studies, each of tilts of one size, together: by size, by the steps of a stage, and all."""
    every = [
        _record(told["model"]["starts"], told["settings"]["delta"], row)
        for told in sorted(summaries, key=lambda told: float(told["settings"]["delta"]))
        for row in told["rows"]
    ]
    level = summaries[0]["settings"]["level"]
    total = _groups(every, lambda r: ["all"], level)[0]
    lengths = _groups(every, lambda r: [r.case.k], level)
    return {
        "sizes": _groups(every, lambda r: [r.case.delta], level),
        "lengths": sorted(lengths, key=lambda group: group["key"]),
        "all": total,
        "goals": _answers(total, "tilts of every size"),
    }


def _groups(
    every: Sequence[Record], key: Callable[[Record], list[Any]], level: float
) -> list[dict[str, Any]]:
    groups = by(every, lambda r: tuple(key(r)), (PREDICTOR, LAST), level)
    return [{**group, "key": list(group["key"])} for group in groups]


def _rows(settings: Settings, found: Mapping[str, Any], cell: Cell, k: int) -> list[dict[str, Any]]:
    runs = np.array([found[name(cell, k, "observed", seed)] for seed in settings.observed(k)])
    replicates = [found[name(cell, k, "predicted", seed)] for seed in settings.predicted(k)]
    paths = [_path(one) for one in replicates]
    value, stderr, verdicts = Replicated(np.stack([p.excess for p in paths]), judged(paths)).mean()
    (mean, error), p = mean_and_stderr(runs), p_values(runs)
    return [
        {
            "start": cell.start,
            "pair": [cell.first, cell.second],
            "k": k,
            "target": target,
            "observed": float(mean[t]),
            "observed_stderr": float(error[t]),
            "p": float(p[t]),
            "predicted": float(value[t]),
            "predicted_stderr": float(stderr[t]),
            "answered": verdicts[t].valid,
            "verdict": verdicts[t].words,
            "training_steps": sum(one["training_steps"] for one in replicates),
        }
        for t, target in enumerate(TARGETS)
    ]


def _halves(
    settings: Settings, found: Mapping[str, Any], rows: list[dict[str, Any]], k: int
) -> list[dict[str, Any]]:
    """Signs and ratios of resolved cases from the first half of the predicted seeds, and from the second."""
    seeds = settings.predicted(k)
    middle = len(seeds) // 2
    told = []
    for some in (seeds[:middle], seeds[middle:]):
        ratios = []
        for cell in settings.cells:
            here = [row for row in rows if (row["start"], *row["pair"], row["k"]) == (*cell, k)]
            paths = [_path(found[name(cell, k, "predicted", seed)]) for seed in some]
            mean = np.mean([path.excess for path in paths], axis=0)
            ratios += [
                row["observed"] / value
                for row, value in zip(here, mean, strict=True)
                if row["p"] < 1 - settings.level
            ]
        median = float(np.median(ratios)) if ratios else None
        right = sum(ratio > 0 for ratio in ratios)
        told.append({"seeds": len(some), "resolved": len(ratios), "right": right, "ratio": median})
    return told


def _alone(
    settings: Settings, found: Mapping[str, Any], rows: list[dict[str, Any]], k: int
) -> dict[str, Any]:
    """Every replicate's own answers, as a single one would give them: how many, and how many are right."""
    cases = answered = resolved = right = 0
    for cell in settings.cells:
        here = [row for row in rows if (row["start"], *row["pair"], row["k"]) == (*cell, k)]
        for seed in settings.predicted(k):
            path = _path(found[name(cell, k, "predicted", seed)])
            for row, value, own in zip(here, path.excess, judged([path]), strict=True):
                cases += 1
                answered += own.valid
                if own.valid and row["p"] < 1 - settings.level:
                    resolved += 1
                    right += bool(value * row["observed"] > 0)
    shown = share_of(right, resolved, settings.level) if resolved else None
    return {
        "k": k,
        "cases": cases,
        "answered": answered,
        "judged": resolved,
        "right": right,
        "interval": shown,
    }


def _path(piece: Mapping[str, Any]) -> Path:
    return Path(*(np.array(piece[key]) for key in Path._fields))


def _record(starts: Sequence[Sequence[float]], delta: float, row: Mapping[str, Any]) -> Record:
    first, second = row["pair"]
    guesses = {PREDICTOR: Guess(row["predicted"], row["answered"])}
    if row["target"] in (first, second):
        guesses[LAST] = Guess(1.0 if row["target"] == first else -1.0)
    rate, step = starts[row["start"]]
    return Record(
        (rate, int(step)),
        Case("tilt", delta, first, second, row["k"], 0),
        row["target"],
        row["observed"],
        row["observed_stderr"],
        row["p"],
        guesses,
    )


def _goals(lengths: list[dict[str, Any]], total: dict[str, Any]) -> list[dict[str, Any]]:
    """The aims that were set before, with what came out; of lengths, the worst."""
    told = {(group["key"][0], 0): group["predictors"][PREDICTOR] for group in lengths}
    return _answers(total, "all tilts") + worst(told, "tilts", lambda k, tail: f"$k$ = {k}")


def _answers(total: dict[str, Any], whose: str) -> list[dict[str, Any]]:
    """How many are answered, and rightly, beside what was aimed at."""
    told, found = total["predictors"][PREDICTOR], []
    if told["answered_right"]:
        found.append(_share(f"{whose}: right of the answered", told["answered_right"]["share"], RIGHT))
    return [*found, _share(f"{whose}: answered", told["answered_of_all"] / told["cases"], ANSWERED)]


def _share(what: str, value: float, aim: float) -> dict[str, Any]:
    return {"what": what, "kind": "share", "value": value, "aim": aim, "met": bool(value >= aim)}
