"""The figure of the planning experiment, drawn from its results alone."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, style, svg

WIDTH = 5.8
COLOURS = (BLUE, GREEN, ORANGE, VERMILION)
MARKERS = ("o", "s", "D", "^")


def orders(result: dict[str, Any], name: str) -> str:
    """Share of best orders found against K, and the regret of each rule against the length of the run."""
    most = max(result["domain_counts"])
    with style():
        figure = Figure(figsize=(WIDTH, 6.6))
        found, regret = figure.subplots(2, 1)
        for number, span in enumerate(result["spans"]):
            cells = [cell for cell in result["cells"] if (cell["T"], cell["target"]) == (span, "mixture")]
            share, low, high = (
                np.array([c["found"][key] for c in cells]) for key in ("share", "low", "high")
            )
            found.errorbar(
                [cell["domains"] for cell in cells],
                share,
                (share - low, high - share),
                fmt=MARKERS[number % 4] + "-",
                color=COLOURS[number % 4],
                capsize=2,
                markersize=4,
                label=f"$T = {span:g}$",
            )
        found.set(xlabel="number of domains $K$", ylabel="best order found", ylim=(-0.03, 1.03))
        found.legend(ncols=2)
        names = [*result["rules"], "mean of all"]
        colours = dict(zip(names, (BLUE, VERMILION, ORANGE, PURPLE, GREEN, GREY), strict=True))
        for rule in names:
            cells = [
                cell for cell in result["cells"] if (cell["domains"], cell["target"]) == (most, "mixture")
            ]
            mean, half = (np.array([c["regrets"][rule][key] for c in cells]) for key in ("mean", "half"))
            spans = [cell["T"] for cell in cells]
            label = "random (mean of all)" if rule == "mean of all" else rule
            regret.errorbar(
                spans, mean, half, fmt="o-", color=colours[rule], capsize=2, markersize=4, label=label
            )
        regret.set(xscale="log", xlabel="length of the run $T$", ylabel=f"regret, $K = {most}$")
        regret.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return svg(figure, name)
