"""The figure of the study, drawn from its results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, style, svg

WIDTH = 5.2
MILLI = 1e3
COLOURS = (BLUE, GREEN, ORANGE, VERMILION, PURPLE)


def scatter(result: dict[str, Any], name: str) -> str:
    """Observed against predicted excess of every tilt and target, with standard errors."""
    rows = result["rows"]
    values = MILLI * np.array([[row[key] for key in ("predicted", "observed")] for row in rows])
    linear = float(np.median(np.abs(values))) / 3
    with style():
        figure = Figure(figsize=(WIDTH, WIDTH))
        axes = figure.subplots()
        for k, colour in zip(sorted({row["k"] for row in rows}), COLOURS, strict=False):
            for answered in (True, False):
                some = [row for row in rows if row["k"] == k and row["answered"] is answered]
                axes.errorbar(
                    [MILLI * row["predicted"] for row in some],
                    [MILLI * row["observed"] for row in some],
                    xerr=[MILLI * row["predicted_stderr"] for row in some],
                    yerr=[MILLI * row["observed_stderr"] for row in some],
                    fmt="o",
                    color=colour if answered else GREY,
                    markerfacecolor=colour if answered else "none",
                    markeredgecolor=colour,
                    markersize=4,
                    linewidth=0.7,
                    label=f"$k$ = {k}" if answered else None,
                )
        largest = 1.3 * float(np.abs(values).max())
        axes.plot([-largest, largest], [-largest, largest], color=INK, linewidth=0.8)
        axes.axhline(0, color=GREY, linewidth=0.5)
        axes.axvline(0, color=GREY, linewidth=0.5)
        axes.set_xscale("symlog", linthresh=linear)
        axes.set_yscale("symlog", linthresh=linear)
        axes.set(
            xlim=(-largest, largest),
            ylim=(-largest, largest),
            xlabel="predicted excess, nat/1000 a token",
            ylabel="observed excess, nat/1000 a token",
        )
        axes.legend(loc="upper left")
        return svg(figure, name)
