"""What was aimed at before the study ran, and whether it was met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.optimizer_windows.records import Record
from experiments.optimizer_windows.statistics import summary

LONGEST = 50
"""Steps of a stage up to which the aims are set."""
MIDDLING = 0.15
"""δ of the aims."""
SIGNS, RATIO, RIGHT, ANSWERED = 0.95, 0.1, 0.95, 0.6


def goals(tilts: Sequence[Record], level: float) -> list[dict[str, Any]]:
    """Each aim with what came out, the worst over windows where there are several.

    "met" is about the value itself; its interval stands in the tables.
    """
    short = [r for r in tilts if r.case.k <= LONGEST]
    middling = [r for r in short if r.case.delta == MIDDLING]
    found = []
    for name, what in (
        ("trajectory", "disjoint batches"),
        ("trajectory, integrated", "disjoint batches, integrated"),
        ("trajectory, own batches", "own batches"),
        ("trajectory, integrated, own batches", "own batches, integrated"),
    ):
        windows = sorted({(r.case.k, r.case.tail) for r in middling})
        told = {
            at: summary([r for r in middling if (r.case.k, r.case.tail) == at], name, level) for at in windows
        }
        found += worst(told, f"tilts of 0.15, {what}", _window)
    for some, what in ((short, "all tilts"), (middling, "tilts of 0.15")):
        every = summary(some, "trajectory", level)
        if every is None:
            continue
        if every["answered_right"]:
            found.append(_share(f"{what}: right of the answered", every["answered_right"]["share"], RIGHT))
        found.append(_share(f"{what}: answered", every["answered_of_all"] / every["cases"], ANSWERED))
        if every["judged"]:
            share = every["answered"] / every["judged"]
            found.append(_share(f"{what}: answered of those resolved", share, ANSWERED))
    return found


def worst(
    told: Mapping[tuple[int, int], Mapping[str, Any] | None], what: str, shown: Callable[[int, int], str]
) -> list[dict[str, Any]]:
    """The aims for signs and ratios, by the windows (steps of a stage, of the tail) that are furthest off."""
    signs = [(s["right"]["share"], at, s["judged"]) for at, s in told.items() if s and s["right"]]
    ratios = [(s["ratio"]["median"], at) for at, s in told.items() if s and s["ratio"]]
    found = []
    if signs:
        share, at, judged = min(signs)
        words = f"{what}: right signs at the worst window, {shown(*at)} ({judged} judged)"
        found.append(_share(words, share, SIGNS))
    if ratios:
        ratio, at = max(ratios, key=lambda pair: abs(pair[0] - 1))
        name = f"{what}: median observed / predicted at the worst window, {shown(*at)}"
        met = bool(abs(ratio - 1) <= RATIO)
        found.append({"what": name, "kind": "ratio", "value": ratio, "aim": RATIO, "met": met})
    return found


def _window(k: int, tail: int) -> str:
    return f"$k$ = {k}, tail {tail}" if tail else f"$k$ = {k} without tail"


def _share(what: str, value: float, aim: float) -> dict[str, Any]:
    return {"what": what, "kind": "share", "value": value, "aim": aim, "met": bool(value >= aim)}
