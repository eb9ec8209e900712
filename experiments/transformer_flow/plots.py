"""The figure of the transformer experiment, drawn from its results alone."""

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREY, INK, VERMILION, style, svg
from experiments.transformer_flow.tables import LADDERS, TARGETS, TRAININGS, column

WIDTH = 5.8
COLOURS = {2: BLUE, 3: VERMILION}
MARKERS = {2: "o", 3: "s"}
SHOWN = (-1.0, 2.5)
"""Ratios beyond are cut off: where a prediction passes through zero they have no bound."""


def ladders(results: dict[str, Any], name: str) -> str:
    """Observed over predicted against Δt·λ_max, and its error on logarithmic axes."""
    with style():
        figure = Figure(figsize=(WIDTH, 7.0))
        ratio, error = figure.subplots(2, 1, sharex=True, height_ratios=(3, 3.2))
        for ladder, target, training, order in product(LADDERS, TARGETS, TRAININGS, COLOURS):
            _line(ratio, error, results[ladder], target, training, order, bold=ladder == "swap")
        ratio.axhline(1, color=INK, linewidth=0.8)
        for axes in (ratio, error):
            axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
        ratio.set(xscale="log", ylim=SHOWN, ylabel="observed / predicted")
        ratio.annotate(
            r"$\Delta t\,\lambda_{\max} = 1$",
            (1, SHOWN[1]),
            (-4, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            color=GREY,
        )
        _guides(error, results["swap"])
        _floor(error, results)
        error.set(xlabel=r"$\Delta t\,\lambda_{\max}$", ylabel="|observed / predicted − 1|")
        ratio.legend(loc="lower left")
        error.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=8.5)
        return svg(figure, name)


def _line(
    ratio: Axes, error: Axes, result: dict[str, Any], target: str, training: str, order: int, *, bold: bool
) -> None:
    cells = column(result, target, training, order)
    x = np.array([cell["dt"] for cell in cells]) * result["lambda_max"]
    e = np.array([cell["error"] for cell in cells])
    main = bold and target == "L" and training == "12"
    look: dict[str, Any] = {
        "color": COLOURS[order],
        "alpha": 1.0 if main else 0.3,
        "linewidth": 1.8 if main else 0.9,
        "marker": MARKERS[order] if main else None,
        "markersize": 4,
        "zorder": 3 if main else 2,
    }
    ratio.plot(x, 1 + e, label=f"order {order}, swap, 1 first, $L$" if main else None, **look)
    error.loglog(x, np.abs(e), **look)


def _guides(axes: Axes, result: dict[str, Any]) -> None:
    """Lines of slope 1 and 2 through the first error of the bold lines."""
    x = np.array(result["windows"]) * result["lambda_max"]
    for order, dashes in ((2, ":"), (3, "-.")):
        first = abs(column(result, "L", "12", order)[0]["error"])
        y = 2.5 * first * (x / x[0]) ** (order - 1)
        shown = y < 3
        axes.loglog(x[shown], y[shown], dashes, color=INK, linewidth=0.9, label=f"slope {order - 1}")


def _floor(axes: Axes, results: dict[str, Any]) -> None:
    """The stated error of what was observed, the worst of all ladders at each window."""
    result = results["swap"]
    worst = [
        max(cell["uncertainty"] for name in LADDERS for cell in results[name]["cells"] if cell["dt"] == dt)
        for dt in result["windows"]
    ]
    x = np.array(result["windows"]) * result["lambda_max"]
    axes.loglog(x, worst, "x", color=GREY, markersize=5, label="error of what was observed")
