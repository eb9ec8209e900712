"""An order effect as a figure: P of every pair and target, with intervals."""

from __future__ import annotations

from itertools import combinations
from textwrap import fill
from typing import TYPE_CHECKING, Any

from commute_verify.report.figures import BLUE, GREY, INK, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from commute_verify.criterion import OrderEffect


LABEL = 20
"""Characters in a line of a label; longer names are wrapped."""


def plot_effect(effect: OrderEffect, *, alpha: float = 0.05) -> Figure:
    """Draw P(L_i, L_j; L) of every pair i < j, one panel for each target, as a Matplotlib figure.

    A row is a pair: P > 0 says j first, so j stands at the right and i at the left, and the dot lies on the
    side of the domain to train first. Bars are 1 − alpha Student intervals, each on its own; a filled dot is
    resolved at alpha after Holm's correction over all rows, so a hollow one may lie off zero by its own
    interval. Units: loss per (flow time)². Needs Matplotlib.

    >>> import numpy as np
    >>> from commute_verify.criterion import Cost, OrderEffect
    >>> P = np.array([[[[0.0, p], [-p, 0.0]]] for p in (1.0, 1.1, 0.9, 1.0)])
    >>> cost = Cost(8, 8, 2, 24, 1.0, 0)
    >>> slopes, mixing = np.zeros((4, 1, 2)), {"mix": {"en": 0.5, "ru": 0.5}}
    >>> effect = OrderEffect(("en", "ru"), mixing, P, slopes, cost, "double-backward")
    >>> figure = plot_effect(effect)  # figure.savefig("effect.svg") writes it
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['en first']
    """
    from matplotlib.figure import Figure

    pairs = list(combinations(range(len(effect.domains)), 2))
    with style():
        lines = max(_label(name).count("\n") for name in effect.domains)
        height = len(effect.targets) * (0.45 + (0.3 + 0.16 * lines) * len(pairs)) + 0.9
        figure = Figure(figsize=(6.4, height))
        panels = figure.subplots(len(effect.targets), 1, sharex=True, squeeze=False)[:, 0]
        for axes, target in zip(panels, effect.targets, strict=True):
            _panel(axes, effect, target, pairs, alpha)
        panels[-1].set_xlabel("P, loss per (flow time)²: the dot lies on the side to train first")
        figure.legend(handles=_legend(effect, alpha), loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, effect: OrderEffect, target: str, pairs: list[tuple[int, int]], alpha: float) -> None:
    from commute_verify.criterion.statistics import half_width

    axes.axvline(0.0, color=INK, linewidth=1.0)
    widths = half_width(effect.stderr[target], len(effect.P_replicates), alpha)
    for row, (i, j) in enumerate(pairs):
        found = effect.prefer_first(effect.domains[i], effect.domains[j], target, alpha=alpha)
        axes.errorbar(effect.P[target][i, j], row, xerr=widths[i, j], **_mark(found.resolved))
    rows = range(len(pairs))
    axes.set_yticks(rows, [_label(effect.domains[i]) for i, _ in pairs])
    axes.set(ylim=(len(pairs) - 0.4, -0.6), title=f"{target} loss")
    right = axes.secondary_yaxis("right")
    right.set_yticks(rows, [_label(effect.domains[j]) for _, j in pairs])
    right.spines["right"].set_visible(False)
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")


def _label(domain: str) -> str:
    return fill(f"{domain} first", LABEL)


def _mark(resolved: bool) -> dict[str, Any]:
    colour = BLUE if resolved else GREY
    face = BLUE if resolved else "none"
    return {"fmt": "o", "color": colour, "markerfacecolor": face, "markersize": 6, "capsize": 3}


def _legend(effect: OrderEffect, alpha: float) -> list[Any]:
    from matplotlib.lines import Line2D

    interval = f"{100 * (1 - alpha):g}% interval of each ({len(effect.P_replicates)} replicates)"
    marks = ((f"resolved at {alpha:g}", BLUE, BLUE), ("not resolved", GREY, "none"))
    dots = [
        Line2D([], [], linestyle="", marker="o", color=colour, markerfacecolor=face, label=label)
        for label, colour, face in marks
    ]
    return [*dots, Line2D([], [], color=INK, label=interval)]
