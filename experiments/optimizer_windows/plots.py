"""The figures of the study, drawn from its results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, style, svg

WIDTH = 5.8
LOOKS: dict[str, tuple[str, str, str]] = {
    "trajectory": (BLUE, "o", "-"),
    "trajectory, own batches": (BLUE, "o", ":"),
    "trajectory, one sweep": (BLUE, "^", "--"),
    "trajectory, integrated": (PURPLE, "D", "-"),
    "trajectory, integrated, own batches": (PURPLE, "D", ":"),
    "local": (VERMILION, "s", "-"),
    "local, preconditioned": (ORANGE, "s", "-"),
    "local-3": (ORANGE, "v", "-"),
    "frozen-curvature": (GREEN, "P", "-"),
    "memory": (GREY, "x", "-"),
    "gradient product": (GREEN, "x", "--"),
    "last wins": (GREY, "+", "--"),
}
SHOWN = (3e-3, 30.0)
"""Relative errors beyond are drawn at the edge."""


def signs(result: dict[str, Any], name: str) -> str:
    """Share of right signs against k, without and with a tail."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.2))
        rows = figure.subplots(2, 1, sharex=True)
        for axes, tailed in zip(rows, (False, True), strict=True):
            cells = [cell for cell in result["tilts_by_length"] if bool(cell["key"][1]) == tailed]
            for predictor in (
                "trajectory",
                "trajectory, own batches",
                "trajectory, integrated",
                "local, preconditioned",
                "local",
                "gradient product",
                "last wins",
            ):
                _signs(axes, cells, predictor)
            axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
            axes.axhline(0.95, color=GREY, linewidth=0.8, linestyle="--")
            axes.set(
                xscale="log",
                ylim=(-0.03, 1.03),
                ylabel="right signs",
                title="with a common tail" if tailed else "no tail",
            )
        rows[1].set_xlabel("steps of a stage $k$")
        rows[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return svg(figure, name)


def _signs(axes: Axes, cells: list[dict[str, Any]], predictor: str) -> None:
    told = [(c["key"][0], c["predictors"].get(predictor)) for c in cells]
    points = [(k, found["right"]) for k, found in told if found and found["right"]]
    if not points:
        return
    colour, marker, line = LOOKS[predictor]
    share, low, high = (np.array([p[key] for _, p in points]) for key in ("share", "low", "high"))
    ks = [k for k, _ in points]
    if predictor == "trajectory":
        axes.errorbar(ks, share, (share - low, high - share), fmt="none", color=colour, capsize=2)
    axes.plot(ks, share, marker + line, color=colour, markersize=4, label=predictor)


def validity(result: dict[str, Any], name: str) -> str:
    """Relative error against the length of the window, one panel for each optimizer, and the minibatches."""
    maps = result["validity"]
    with style():
        figure = Figure(figsize=(WIDTH, 2.8 * (len(maps) + 1)))
        rows = figure.subplots(len(maps) + 1, 1, sharex=True, squeeze=False)[:, 0]
        for axes, (optimizer, found) in zip(rows, maps.items(), strict=False):
            for predictor in (
                "local",
                "local-3",
                "frozen-curvature",
                "memory",
                "trajectory, one sweep",
                "trajectory",
            ):
                cells = [c for c in found["cells"] if c["kind"] == "tilt" and predictor in c["predictors"]]
                points = [(2 * c["k"], c["predictors"][predictor]["error"]) for c in cells]
                _errors(axes, points, predictor)
            axes.set_title(f"{optimizer}, lr {found['rate']:g}, the same batch at every step")
        for predictor in (
            "local",
            "local, preconditioned",
            "trajectory",
            "trajectory, own batches",
            "trajectory, integrated",
            "trajectory, integrated, own batches",
        ):
            points = [(2 * cell["k"], cell["errors"][predictor]) for cell in result["errors"]]
            _errors(rows[-1], points, predictor)
        rows[-1].set_title("AdamW, minibatches, predicted from others or from a run's own")
        for axes in rows:
            axes.axhline(1, color=INK, linewidth=0.8)
            axes.axhline(0.1, color=GREY, linewidth=0.8, linestyle="--")
            axes.set(xscale="log", yscale="log", ylim=SHOWN, ylabel="relative error")
            axes.legend(fontsize=7.5, ncols=2)
        rows[-1].set_xlabel("steps of the window $2k$")
        return svg(figure, name)


def _errors(axes: Axes, points: list[tuple[int, float | None]], predictor: str) -> None:
    known = [(x, min(max(error, SHOWN[0]), SHOWN[1])) for x, error in points if error is not None]
    if known:
        colour, marker, line = LOOKS[predictor]
        axes.plot(*zip(*known, strict=True), marker + line, color=colour, markersize=4, label=predictor)
