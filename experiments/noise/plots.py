"""The figure of the noise experiment, drawn from its results alone."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, PURPLE, VERMILION, style, svg

WIDTH = 5.8
LINES = {
    "bracket": ("bracket", BLUE, "--"),
    "noise": ("+ noise", VERMILION, "-"),
    "steps": ("+ steps", GREEN, ":"),
}


def seeds(result: dict[str, Any], name: str) -> str:
    """The difference of the orders over (nη)², observed and predicted, against the rate, for each start."""
    with style():
        figure = Figure(figsize=(WIDTH, 5.6))
        panels = figure.subplots(len(result["starts"]), 1, sharex=True, squeeze=False)[:, 0]
        for panel, start in zip(panels, result["starts"], strict=True):
            cells = start["cells"]
            rates = np.array([cell["rate"] for cell in cells])
            area = (result["steps"] * rates) ** 2
            mean, half = (np.array([cell["observed"][key] for cell in cells]) for key in ("mean", "half"))
            panel.errorbar(
                rates, mean / area, half / area, fmt="o", color=PURPLE, capsize=2, markersize=4, label="SGD"
            )
            for key, (label, colour, line) in LINES.items():
                predicted = np.array([cell["predicted"][key] for cell in cells])
                panel.plot(rates, predicted / area, line, color=colour, label=label)
            low, high = ((mean - half) / area).min(), ((mean + half) / area).max()
            panel.set(xscale="log", ylim=(low - 0.5 * (high - low), high + 0.5 * (high - low)))
            panel.set(ylabel=r"$\Delta L / (n\eta)^2$", title=f"after {start['warm_up']} steps")
            panel.axhline(0, color="0.7", linewidth=0.6, zorder=0)
        panels[-1].set(xlabel=r"$\eta$")
        panels[0].legend(ncols=2)
        return svg(figure, name)
