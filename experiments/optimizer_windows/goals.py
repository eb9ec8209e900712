"""What was aimed at before the study ran, and whether it was met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.optimizer_windows.records import Record
from experiments.optimizer_windows.statistics import summary

LONGEST = 50
"""Steps of a stage up to which the aims are set."""
MIDDLING = 0.15
"""δ of the aims."""
SIGNS, RATIO, RIGHT, ANSWERED = 0.95, 0.1, 0.95, 0.6


def goals(tilts: Sequence[Record], level: float) -> list[dict[str, Any]]:
    """Each aim with what came out, the worst over lengths where there are several.

    "met" is about the value itself; its interval stands in the tables.
    """
    short = [r for r in tilts if r.case.k <= LONGEST]
    middling = [r for r in short if r.case.delta == MIDDLING]
    found = []
    for name, what in (
        ("trajectory", "disjoint batches"),
        ("trajectory, own batches", "own batches"),
        ("trajectory, integrated, own batches", "own batches, integrated"),
    ):
        found += _by_length(middling, name, f"tilts of 0.15, {what}", level)
    for some, what in ((short, "all tilts"), (middling, "tilts of 0.15")):
        told = summary(some, "trajectory", level)
        if told is None:
            continue
        if told["answered_right"]:
            found.append(_share(f"{what}: right of the answered", told["answered_right"]["share"], RIGHT))
        found.append(_share(f"{what}: answered", told["answered_of_all"] / told["cases"], ANSWERED))
        if told["judged"]:
            share = told["answered"] / told["judged"]
            found.append(_share(f"{what}: answered of those resolved", share, ANSWERED))
    return found


def _by_length(tilts: Sequence[Record], predictor: str, what: str, level: float) -> list[dict[str, Any]]:
    lengths = sorted({r.case.k for r in tilts})
    told = [(k, summary([r for r in tilts if r.case.k == k], predictor, level)) for k in lengths]
    signs = [(s["right"]["share"], k) for k, s in told if s and s["right"]]
    ratios = [(s["ratio"]["median"], k) for k, s in told if s and s["ratio"]]
    found = []
    if signs:
        share, k = min(signs)
        found.append(_share(f"{what}: right signs at the worst $k$, which is {k}", share, SIGNS))
    if ratios:
        ratio, k = max(ratios, key=lambda pair: abs(pair[0] - 1))
        name = f"{what}: median observed / predicted at the worst $k$, which is {k}"
        met = bool(abs(ratio - 1) <= RATIO)
        found.append({"what": name, "kind": "ratio", "value": ratio, "aim": RATIO, "met": met})
    return found


def _share(what: str, value: float, aim: float) -> dict[str, Any]:
    return {"what": what, "kind": "share", "value": value, "aim": aim, "met": bool(value >= aim)}
