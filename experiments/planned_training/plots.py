"""The figure of planned training, drawn from its results alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, style, svg
from experiments.planned_training.tables import MILLI, ROWS, TITLES, find

WIDTH = 5.8
COLOURS = {
    "trajectory": BLUE,
    "Adam bracket": VERMILION,
    "plain bracket": ORANGE,
    "smallest last": GREEN,
    "descent": PURPLE,
}
SHOWN = tuple(name for name in ROWS if name not in ("cosine, reversed", "gradient norm, reversed"))


def every(result: dict[str, Any], name: str) -> str:
    """Excess for the mixture of every planner and rule: seeds as dots, means with intervals."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.4))
        panels = figure.subplots(len(TITLES), 1)
        for axes, (which, title) in zip(panels, TITLES.items(), strict=True):
            rows = [(by, find(result["cells"], target="mixture", shape=which, by=by)) for by in SHOWN]
            if which == "tilt":
                rows.append(
                    ("descent", find(result["cells"], target="mixture", shape="stages", by="descent"))
                )
            for place, (by, cell) in enumerate(rows):
                colour = COLOURS.get(by, GREY)
                values = MILLI * np.array(cell["values"])
                spread = place + 0.25 * np.linspace(-1, 1, len(values))
                axes.plot(values, spread, ".", color=colour, markersize=3, alpha=0.5)
                axes.errorbar(
                    MILLI * cell["excess"]["mean"],
                    place,
                    xerr=MILLI * cell["excess"]["half"],
                    fmt="o",
                    color=colour,
                    capsize=3,
                    markersize=5,
                )
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(range(len(rows)), [by for by, _ in rows])
            axes.invert_yaxis()
            axes.set(title=title)
        panels[-1].set_xlabel("excess over constant weights, nat/1000 a token")
        return svg(figure, name)
