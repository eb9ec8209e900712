"""From pieces to results: cells of the tables, the map of validity and the goals, all plain data."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.optimizer_windows.goals import MIDDLING, goals
from experiments.optimizer_windows.pieces import label, pieces
from experiments.optimizer_windows.records import Pieces, Record, records
from experiments.optimizer_windows.settings import Settings
from experiments.optimizer_windows.statistics import SIGNS, by, errors
from experiments.optimizer_windows.validity import OPTIMIZERS, mapped
from experiments.quadratic.statistics import plain

TRAJECTORY = ("trajectory", "trajectory, one seed", "trajectory, own batches")
LOCAL = ("local", "local, preconditioned")
DEAR = (
    "trajectory, integrated",
    "trajectory, integrated, own batches",
    "frozen-curvature",
    "local-3",
    "memory",
)
STRICTNESS = (0.05, 0.01, 0.002)
"""Levels at which an observed mean counts as different from 0."""
SIZED = (*TRAJECTORY, *DEAR, *LOCAL)
ALL = (*SIZED, *SIGNS)
COLUMNS = (
    *("lr", "step", "kind", "delta", "first", "second", "k", "tail"),
    *("target", "observed", "stderr", "p"),
)


def study(settings: Settings) -> dict[str, Any]:
    """All pieces in one go, and what they come to."""
    return collected(settings, {name: work() for name, work in pieces(settings).items()})


def collected(settings: Settings, found: Pieces) -> dict[str, Any]:
    """The results of a study, of all its pieces."""
    every = records(settings, found)
    tilts = [r for r in every if r.case.kind == "tilt"]
    middling = [r for r in tilts if r.case.delta == MIDDLING]
    swaps = [r for r in every if r.case.kind == "swap"]
    level = settings.level

    def window(r: Record) -> list[int]:
        return [r.case.k, r.case.tail]

    return plain(
        {
            "settings": settings.as_dict(),
            "starts": [found[label(start, "start")] for start in settings.starts],
            "cases": {
                kind: {
                    "all": len([r for r in every if r.case.kind == kind]),
                    "resolved": len([r for r in every if r.case.kind == kind and r.resolved]),
                }
                for kind in ("tilt", "raise", "swap")
            },
            "tilts_by_length": _cells(middling, window, level),
            "tilts_by_size": _cells(tilts, lambda r: [r.case.delta, r.case.tail], level),
            "tilts_by_target": _cells(middling, lambda r: [r.type, r.case.tail], level),
            "tilts_by_start": _cells(middling, lambda r: [r.start[0], r.start[1], r.case.tail], level),
            "strictness": [
                {
                    "level": bar,
                    **_cells([replace(r, p=_passed(r.p, bar)) for r in middling], lambda r: ["all"], level)[
                        0
                    ],
                }
                for bar in STRICTNESS
            ],
            "tilts": _cells(tilts, lambda r: ["all"], level),
            "raises": _cells([r for r in every if r.case.kind == "raise"], window, level),
            "swaps_by_length": _cells(swaps, window, level),
            "swaps": _cells(swaps, lambda r: ["all"], level),
            "swap_grounds": _grounds(swaps, "trajectory, integrated"),
            "swaps_by_target": _cells(swaps, lambda r: [r.type, r.case.tail], level),
            "errors": [
                {
                    "k": k,
                    "errors": {name: errors([r for r in plain_ if r.case.k == k], name) for name in SIZED},
                }
                for plain_ in [[r for r in middling if not r.case.tail]]
                for k in sorted({r.case.k for r in plain_})
            ],
            "validity": {name: mapped(found[f"validity-{name}"]) for name in OPTIMIZERS},
            "curvature_costs": _costs(found),
            "prices": found["prices"],
            "goals": goals(tilts, level),
        }
    )


def _passed(p: float, bar: float) -> float:
    """A p-value that counts as resolved where it is below the bar, and never elsewhere."""
    return p if p < bar else 1.0


def rows(settings: Settings, found: Pieces) -> str:
    """Every case and target as CSV, to be looked at and summed up in other ways."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, *ALL])
    for r in records(settings, found):
        c = r.case
        told = [r.start[0], r.start[1], c.kind, c.delta, c.first, c.second, c.k, c.tail, r.target]
        told += [f"{r.observed:.4e}", f"{r.stderr:.2e}", f"{r.p:.2e}"]
        told += [f"{r.guesses[name].value:.4e}" if name in r.guesses else "" for name in ALL]
        table.writerow(told)
    return text.getvalue()


def _cells(found: list[Record], key: Any, level: float) -> list[dict[str, Any]]:
    cells = by(found, lambda r: tuple(key(r)), ALL, level)
    return [{**cell, "key": list(cell["key"])} for cell in cells]


def _grounds(found: list[Record], predictor: str) -> dict[str, int]:
    """How often a predictor abstains on each ground."""
    told = [record.guesses[predictor] for record in found if predictor in record.guesses]
    return dict(sorted(Counter(guess.why for guess in told if not guess.answered).items()))


def _costs(found: Pieces) -> dict[str, float]:
    """The median cost in training steps of each predictor that runs for every schedule."""
    steps: dict[str, list[float]] = {}
    for name, piece in found.items():
        if name.endswith("slow"):
            for predictor, answers in piece.items():
                steps.setdefault(predictor, []).extend(_steps(answers))
    return {name: sorted(costs)[len(costs) // 2] for name, costs in steps.items() if costs}


def _steps(answers: Mapping[str, Any]) -> list[float]:
    return [one["training_steps"] for one in answers.values() if "training_steps" in one]
