"""Figures of the quadratic experiment, drawn from its results alone."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commute_verify.data import published
from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, style, svg

WIDTH = 5.8
ORDER_COLOURS = {2: BLUE, 3: VERMILION}
ORDER_MARKERS = {2: "o", 3: "s"}


def paths(result: dict[str, Any], name: str) -> str:
    """Figure 1: both orders of training from each start, and the ladder of the gap."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.6))
        plane, ladder = figure.subplots(2, 1, height_ratios=(3, 2))
        for number, path in enumerate(result["paths"]):
            _path(plane, path, labelled=number == 0)
        for k, (x, y) in enumerate(result["centers"], 1):
            plane.plot(x, y, "x", color=INK)
            plane.annotate(f"minimum of $L_{k}$", (x, y), (6, 4), textcoords="offset points")
        plane.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", aspect="equal")
        plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
        _ladder(ladder, result["ladder"])
        return svg(figure, name)


def _path(axes: Axes, path: dict[str, Any], labelled: bool) -> None:
    for training, colour, dashes in (("12", BLUE, "-"), ("21", ORANGE, "--")):
        line = np.array(path[training])
        label = f"{training[0]} first, then {training[1]}" if labelled else None
        axes.plot(*line.T, dashes, color=colour, label=label)
        axes.plot(*line[len(line) // 2], ".", color=colour)
    end = np.array(path["21"])[-1]
    axes.plot(*np.array(path["12"])[0], "o", color=INK, markersize=4, label="start" if labelled else None)
    gap, bracket = (np.stack([end, end + np.array(path[key])]) for key in ("gap", "bracket"))
    axes.plot(
        *gap.T,
        color=GREEN,
        linewidth=4,
        alpha=0.5,
        label=r"gap $\theta_{12}-\theta_{21}$" if labelled else None,
    )
    axes.annotate(
        "", bracket[1], bracket[0], arrowprops={"arrowstyle": "->", "color": PURPLE, "linewidth": 1.4}
    )
    axes.plot([], [], color=PURPLE, label=r"$t_1 t_2 R(L_1, L_2)$" if labelled else None)


def _ladder(axes: Axes, ladder: dict[str, Any]) -> None:
    scale = np.array(ladder["scale"])
    axes.loglog(scale, ladder["gap"], "o-", color=GREEN, label=f"gap, slope {ladder['gap_slope']:.2f}")
    axes.loglog(
        scale,
        ladder["remainder"],
        "s-",
        color=PURPLE,
        label=rf"gap $- t_1 t_2 R$, slope {ladder['remainder_slope']:.2f}",
    )
    axes.set(xlabel=r"scale of $t_1$ and $t_2$", ylabel="length")
    axes.legend()


def loss_curves(result: dict[str, Any], name: str) -> str:
    """Figure 2: L2 against L1 in the plane, and how often a loss rises in n dimensions."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.6))
        plane, share = figure.subplots(2, 1, height_ratios=(3, 2))
        for curve in result["curves"]:
            x, y = np.array(curve).T
            (line,) = plane.loglog(x, y, linewidth=1.2, color=BLUE, alpha=0.75)
            plane.plot(x[0], y[0], "o", color=line.get_color(), markersize=4)
        plane.plot(*result["optimum"], "*", color=VERMILION, markersize=13, label="optimum of the mixture")
        plane.plot([], [], "o", color=BLUE, markersize=4, label="starting points")
        plane.set(xlabel="$L_1$", ylabel="$L_2$")
        plane.legend(loc="lower left")
        rising = result["rising"]
        n = [entry["dimension"] for entry in rising]
        _share(share, n, rising, color=BLUE, marker="o", label="$L_1$ or $L_2$ rises")
        share.plot(
            n,
            [entry["mixture"] / result["draws"] for entry in rising],
            "x",
            color=GREY,
            label="mixture rises",
        )
        share.set(xscale="log", xlabel="dimension $n$", ylabel="share of problems", ylim=(-0.05, 1.05))
        share.set_xticks(n, [str(each) for each in n])
        share.minorticks_off()
        share.legend()
        return svg(figure, name)


def table1(fresh: dict[str, Any], fixed: dict[str, Any], name: str) -> str:
    """Ratios at the longest window beside the published ones, and the error's order in Δt."""
    with style():
        figure = Figure(figsize=(WIDTH, 7.0))
        at_longest, orders = figure.subplots(2, 1, height_ratios=(3, 2.4))
        _longest_window(at_longest, fresh, fixed)
        _orders(orders, fresh)
        return svg(figure, name)


def _longest_window(axes: Axes, fresh: dict[str, Any], fixed: dict[str, Any]) -> None:
    dt = max(fresh["windows"])
    places = np.arange(len(fresh["times"]))
    table = published()["table1"]
    printed = [
        (row["median"][table["dt"].index(dt)], row["range"][table["dt"].index(dt)])
        for row in table["rows"]
        if dt in table["dt"] and row["t"] in fresh["times"]
    ]
    axes.axhline(1, color=INK, linewidth=0.8)
    if len(printed) == len(places):
        medians, ranges = np.array(printed).T
        axes.errorbar(places - 0.27, medians, ranges / 2, fmt="D", color=GREY, label="published")
    for order, offset in ((2, -0.09), (3, 0.27)):
        cells = [cell for cell in fresh["cells"] if _is(cell, dt, order)]
        median, low, high = (np.array([cell[key] for cell in cells]) for key in ("median", "p10", "p90"))
        axes.errorbar(
            places + offset,
            median,
            (median - low, high - median),
            fmt=ORDER_MARKERS[order],
            color=ORDER_COLOURS[order],
            label=f"order {order}, fresh matrices",
        )
    dots = np.array([cell["medians"] for cell in fixed["cells"] if _is(cell, dt, 2)])
    x = np.repeat(places + 0.09, dots.shape[1])
    axes.plot(x, dots.ravel(), "_", color=ORANGE, markersize=12, label="order 2, medians of fixed matrices")
    axes.set_xticks(places, [f"{t:g}" for t in fresh["times"]])
    axes.set(xlabel="$t$", ylabel="observed / predicted", title=rf"$\Delta t = {dt:g}$, target $L$, 1 first")
    axes.margins(y=0.32)
    axes.legend(loc="lower center", ncols=2, fontsize=8.5)


def _orders(axes: Axes, fresh: dict[str, Any]) -> None:
    dt = np.array(fresh["windows"])
    for order in ORDER_COLOURS:
        for t in fresh["times"]:
            cells = [cell for cell in fresh["cells"] if cell["t"] == t and _is(cell, None, order)]
            error = [abs(cell["median"] - 1) for cell in cells]
            label = f"order {order}" if t == fresh["times"][0] else None
            axes.loglog(
                dt, error, ORDER_MARKERS[order] + "-", color=ORDER_COLOURS[order], label=label, alpha=0.7
            )
    table = published()["table1"]
    for number, row in enumerate(table["rows"]):
        label = None if number else "published"
        axes.loglog(
            table["dt"], np.abs(1 - np.array(row["median"])), "D:", color=GREY, label=label, alpha=0.7
        )
    axes.set(xlabel=r"$\Delta t$", ylabel="|median ratio − 1|")
    axes.legend()


def many_domains(result: dict[str, Any], name: str) -> str:
    """Ratio and sign failures against the window's length, one column for each number of domains."""
    counts = result["domain_counts"]
    with style():
        figure = Figure(figsize=(WIDTH, 5.6))
        grid = figure.subplots(2, len(counts), sharex=True, sharey="row", squeeze=False)
        for column, domains in enumerate(counts):
            ratio, signs = grid[:, column]
            ratio.axhline(1, color=INK, linewidth=0.8)
            signs.axhline(0.5, color=GREY, linestyle=":")
            for order, colour in ORDER_COLOURS.items():
                cells = [
                    cell
                    for cell in result["cells"]
                    if (cell["domains"], cell["order"], cell["target"]) == (domains, order, "L")
                ]
                T = [cell["T"] for cell in cells]
                marker = ORDER_MARKERS[order]
                ratio.fill_between(
                    T,
                    [c["p10"] for c in cells],
                    [c["p90"] for c in cells],
                    color=colour,
                    alpha=0.18,
                    linewidth=0,
                )
                median = [c["median"] for c in cells]
                ratio.plot(T, median, marker + "-", color=colour, markersize=4, label=f"order {order}")
                _share(signs, T, cells, color=colour, marker=marker)
            ratio.set(title=f"$K = {domains}$ domains", xscale="log")
            signs.set(xlabel="length of the window $T$")
        grid[0, 0].set_ylabel("observed / predicted")
        grid[1, 0].set_ylabel("share of wrong signs")
        grid[0, 0].legend(loc="lower left")
        return svg(figure, name)


def _share(
    axes: Axes, x: list[float], entries: list[dict[str, Any]], *, color: str, marker: str, label: str = ""
) -> None:
    share, low, high = (np.array([entry[key] for entry in entries]) for key in ("share", "low", "high"))
    axes.errorbar(
        x,
        share,
        (share - low, high - share),
        fmt=marker + "-",
        color=color,
        label=label,
        markersize=4,
        capsize=2,
    )


def _is(cell: dict[str, Any], dt: float | None, order: int) -> bool:
    """Whether a cell is of the mixture's loss with domain 1 first, at this order (and window)."""
    return (cell["target"], cell["training"], cell["order"]) == ("L", "12", order) and dt in (
        None,
        cell["dt"],
    )
