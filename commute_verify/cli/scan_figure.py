"""P of every pair against the step, as a Matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from commute_verify.cli.verdict import ALPHA
from commute_verify.report.figures import INK, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from commute_verify.cli.series import Scanned


def draw(series: Sequence[Scanned]) -> Figure:
    """A panel for each target, a line for each pair i < j: P > 0 says j first. Bars are 95% intervals."""
    from matplotlib.figure import Figure

    effect = series[0].effect
    with style():
        figure = Figure(figsize=(6.4, 2.1 * len(effect.targets) + 0.9))
        panels = figure.subplots(len(effect.targets), 1, sharex=True, squeeze=False)[:, 0]
        for axes, target in zip(panels, effect.targets, strict=True):
            _panel(axes, series, target)
        panels[-1].set_xlabel("step; where P(i, j) > 0, j belongs first")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _panel(axes: Axes, series: Sequence[Scanned], target: str) -> None:
    from commute_verify.criterion.statistics import half_width

    axes.axhline(0.0, color=INK, linewidth=1.0)
    domains = series[0].effect.domains
    steps = [one.step for one in series]
    for number, (i, j) in enumerate(combinations(range(len(domains)), 2)):
        colour = f"C{number % 6}"
        values = [float(one.effect.P[target][i, j]) for one in series]
        bars = [
            float(half_width(one.effect.stderr[target], len(one.effect.P_replicates), ALPHA)[i, j])
            for one in series
        ]
        label = f"P({domains[i]}, {domains[j]})".replace("$", r"\$")
        axes.errorbar(steps, values, yerr=bars, color=colour, capsize=3, linewidth=1.2, label=label)
        for step, value, one in zip(steps, values, series, strict=True):
            resolved = one.effect.prefer_first(domains[i], domains[j], target, alpha=ALPHA).resolved
            face = colour if resolved else "none"
            axes.plot([step], [value], marker="o", color=colour, markerfacecolor=face, linestyle="")
    axes.set_title(f"{target} loss".replace("$", r"\$"))
    axes.set_ylabel("P")
