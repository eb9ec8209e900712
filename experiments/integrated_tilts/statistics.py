"""From pieces to results: every tilt and target, and shares and ratios of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from commute_verify.criterion.prediction.rung import Replicated
from commute_verify.criterion.prediction.trajectory import Path, judged
from commute_verify.criterion.statistics import mean_and_stderr, p_values
from experiments.integrated_tilts.settings import Cell, Settings
from experiments.optimizer_windows.goals import ANSWERED, RATIO, RIGHT, SIGNS
from experiments.optimizer_windows.records import Guess, Record
from experiments.optimizer_windows.settings import TARGETS
from experiments.optimizer_windows.statistics import by
from experiments.quadratic.statistics import plain

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
    every = [_record(settings, row) for row in rows]

    def cells(key: Callable[[Record], list[Any]]) -> list[dict[str, Any]]:
        groups = by(every, lambda r: tuple(key(r)), (PREDICTOR, LAST), settings.level)
        return [{**group, "key": list(group["key"])} for group in groups]

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
            "goals": _goals(lengths, total),
        }
    )


def _rows(settings: Settings, found: Mapping[str, Any], cell: Cell, k: int) -> list[dict[str, Any]]:
    runs = np.array([found[name(cell, k, "observed", seed)] for seed in settings.observed(k)])
    replicates = [found[name(cell, k, "predicted", seed)] for seed in settings.predicted(k)]
    paths = [Path(*(np.array(one[key]) for key in Path._fields)) for one in replicates]
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


def _record(settings: Settings, row: Mapping[str, Any]) -> Record:
    cell = Cell(row["start"], *row["pair"])
    guesses = {PREDICTOR: Guess(row["predicted"], row["answered"])}
    if row["target"] in row["pair"]:
        guesses[LAST] = Guess(1.0 if row["target"] == cell.first else -1.0)
    return Record(
        settings.windows.starts[cell.start],
        settings.case(cell, row["k"]),
        row["target"],
        row["observed"],
        row["observed_stderr"],
        row["p"],
        guesses,
    )


def _goals(lengths: list[dict[str, Any]], total: dict[str, Any]) -> list[dict[str, Any]]:
    """The aims that were set before, with what came out; of lengths, the worst."""
    told = [(group["key"][0], group["predictors"][PREDICTOR]) for group in lengths]
    signs = [(one["right"]["share"], k) for k, one in told if one["right"]]
    ratios = [(one["ratio"]["median"], k) for k, one in told if one["ratio"]]
    everything = total["predictors"][PREDICTOR]
    found = [_share("all tilts: answered", everything["answered_of_all"] / everything["cases"], ANSWERED)]
    if everything["answered_right"]:
        share = everything["answered_right"]["share"]
        found.insert(0, _share("all tilts: right of the answered", share, RIGHT))
    if signs:
        share, k = min(signs)
        found.append(_share(f"right signs at the worst $k$, which is {k}", share, SIGNS))
    if ratios:
        ratio, k = max(ratios, key=lambda pair: abs(pair[0] - 1))
        what = f"median observed / predicted at the worst $k$, which is {k}"
        met = bool(abs(ratio - 1) <= RATIO)
        found.append({"what": what, "kind": "ratio", "value": ratio, "aim": RATIO, "met": met})
    return found


def _share(what: str, value: float, aim: float) -> dict[str, Any]:
    return {"what": what, "kind": "share", "value": value, "aim": aim, "met": bool(value >= aim)}
