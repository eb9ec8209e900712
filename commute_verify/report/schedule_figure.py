"""A schedule as a figure: the weights of all domains, stacked, against what has been trained."""

from __future__ import annotations

import numpy as np

from commute_verify.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, style, svg
from commute_verify.schedules import WeightSchedule

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY)


def plot_schedule(schedule: WeightSchedule, unit: str = "steps") -> str:
    """The figure as SVG, the same bytes for the same schedule.

    Needs matplotlib. Durations are in ``unit``, which labels the axis.
    """
    from matplotlib.figure import Figure

    edges = np.concatenate([[0.0], np.cumsum(schedule.durations)])
    tops = np.cumsum(schedule.weights, axis=1)
    with style():
        figure = Figure(figsize=(5.8, 2.8))
        axes = figure.subplots()
        bottom = np.zeros(len(schedule.durations))
        for k, name in enumerate(schedule.domains):
            axes.stairs(
                tops[:, k],
                edges,
                baseline=bottom,
                fill=True,
                color=COLOURS[k % len(COLOURS)],
                alpha=0.85 if k < len(COLOURS) else 0.5,
                label=name.replace("$", r"\$"),
            )
            bottom = tops[:, k]
        axes.set(xlabel=unit, ylabel="share of tokens", xlim=(0, edges[-1]), ylim=(0, 1))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4)
        return svg(figure, "schedule")
