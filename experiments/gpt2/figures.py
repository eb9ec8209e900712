"""Figures of the comparison, drawn from results alone: Pareto fronts, and prediction against observation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION, style, svg
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.agreement import agreement
from experiments.gpt2.comparison.breakdown import FACTOR
from experiments.gpt2.comparison.cases import Cases, select
from experiments.gpt2.comparison.excess import Excess
from experiments.gpt2.comparison.findings import longest
from experiments.gpt2.comparison.predictions import PREDICTORS
from experiments.gpt2.comparison.published_tables import entries
from experiments.gpt2.comparison.results import BRACKETS, Results

WIDTH = 5.8
MARKERS = ("o", "P", "s", "*", "D", "v")
"""Of the checkpoints, the first four as in the paper's figures 3 and 4."""

COLOURS = {"plain": BLUE, "adam": VERMILION, "last": GREY}


def fronts(comparison: Comparison, run: int, printed: str, name: str) -> str:
    """Figure 3 or 4: base run and tilted runs in the plane of losses, and the excesses beside the paper's."""
    cases = longest(select(comparison.cases, run=run, tail=False))
    results = comparison.results
    with style():
        figure = Figure(figsize=(WIDTH, 6.4))
        grid = figure.subplots(2, 2)
        units = {
            "nats per token": dict.fromkeys(results.domains, 1.0),
            "bits per byte": {d: 1 / (math.log(2) * results.bytes_per_token[d]) for d in results.domains},
        }
        for axes, (unit, scale) in zip(grid[0], units.items(), strict=True):
            _plane(axes, results, cases, run, [scale[d] for d in results.domains])
            axes.set(title=unit)
        _excesses(grid[1, 0], results, cases)
        _published(grid[1, 1], printed)
        one, two = results.domains
        for axes in grid[0]:
            axes.set(xlabel=f"{one} loss", ylabel=f"{two} loss")
        grid[1, 0].set(xlabel=f"excess on {one}, nats", ylabel=f"excess on {two}, nats", title="here")
        grid[1, 1].set(xlabel="excess on English, nats", ylabel="excess on Russian, nats", title="paper")
        figure.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return svg(figure, name)


def _plane(axes: Axes, results: Results, cases: Cases, run: int, scale: Sequence[float]) -> None:
    first = min(point.step for point in results.runs[run].checkpoints)
    curve = [[loss[d] for d in results.domains] for step, loss in results.runs[run].curve if step >= first]
    if curve:
        axes.plot(*(np.array(curve) * scale).T, ".-", color=BLUE, markersize=4, linewidth=0.8)
    for marker, step in zip(_markers(cases), _steps(cases), strict=True):
        here = select(cases, step=step)
        base = results.runs[run].base_loss(step, here[0].at.window, False) or {}
        start = np.array([base[d] for d in results.domains])
        points, _ = _points(results, here)
        axes.plot(*((points + start) * scale).T, marker + "-", color=VERMILION, markersize=4, linewidth=0.9)
    axes.tick_params(axis="x", labelrotation=30)


def _excesses(axes: Axes, results: Results, cases: Cases) -> None:
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    for number, (marker, step) in enumerate(zip(_markers(cases), _steps(cases), strict=True)):
        points, errors = _points(results, select(cases, step=step))
        colour = (VERMILION, ORANGE, GREEN, PURPLE, BLUE, GREY)[number % 6]
        axes.errorbar(
            points[:, 0],
            points[:, 1],
            yerr=errors[:, 1],
            xerr=errors[:, 0],
            fmt=marker + "-",
            color=colour,
            markersize=4,
            linewidth=0.8,
            label=f"$t = {step}$",
        )
    axes.tick_params(axis="x", labelrotation=30)


def _published(axes: Axes, table: str) -> None:
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    found = entries(table)
    colours = (VERMILION, ORANGE, GREEN, PURPLE)
    for marker, colour, t in zip(MARKERS, colours, sorted({entry.t for entry in found}), strict=False):
        one, two = (entry for entry in found if entry.t == t)
        axes.plot(
            [one.excess_21, 0, one.excess_12],
            [two.excess_21, 0, two.excess_12],
            marker + "-",
            color=colour,
            markersize=4,
            linewidth=0.8,
        )
    axes.tick_params(axis="x", labelrotation=30)


def _points(results: Results, cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """Excesses on both languages from the largest Δw of order 21 through the base to that of order 12."""
    deltas = sorted({case.at.delta for case in cases})
    base = Excess((0.0,), 0.0, "seeds")
    line = [
        *(_pair(results, select(cases, kind="21", delta=delta)) for delta in reversed(deltas)),
        (base, base),
        *(_pair(results, select(cases, kind="12", delta=delta)) for delta in deltas),
    ]
    points = np.array([[each.value for each in pair] for pair in line])
    return points, np.array([[each.error or 0.0 for each in pair] for pair in line])


def _pair(results: Results, cases: Cases) -> tuple[Excess, Excess]:
    one, two = (select(cases, targets=(target,))[0].observed for target in results.domains)
    return one, two


def _steps(cases: Cases) -> list[int]:
    return sorted({case.at.step for case in cases})


def _markers(cases: Cases) -> list[str]:
    return [MARKERS[n % len(MARKERS)] for n in range(len(_steps(cases)))]


def by_window(comparison: Comparison, name: str) -> str:
    """Sign agreement and ratio of observed to predicted against Δt, before the common tail and after it."""
    cases = select(comparison.cases, kind="orders", targets=comparison.results.domains)
    tails = sorted({case.at.tail for case in cases})
    with style():
        figure = Figure(figsize=(WIDTH, 5.4))
        grid = figure.subplots(2, len(tails), sharex=True, sharey="row", squeeze=False)
        for column, tail in enumerate(tails):
            here = select(cases, tail=tail)
            signs, sizes = grid[:, column]
            signs.axhline(0.5, color=GREY, linestyle=":")
            for offset, by in zip((0.94, 1.0, 1.06), COLOURS, strict=True):
                _signs(signs, here, by, offset)
            sizes.axhspan(1 / FACTOR, FACTOR, color=GREEN, alpha=0.15, linewidth=0)
            sizes.axhline(1, color=INK, linewidth=0.8)
            for offset, by in zip((0.96, 1.04), BRACKETS, strict=True):
                _sizes(sizes, here, by, offset)
            signs.set(title="after the common tail" if tail else "right after the window", xscale="log")
            sizes.set(xlabel=r"$\Delta t$, steps")
            sizes.set_yscale("symlog", linthresh=0.1)
        windows = sorted({case.at.window for case in cases})
        grid[0, 0].set_xticks(windows, [str(window) for window in windows])
        grid[0, 0].minorticks_off()
        grid[0, 0].set(ylabel="share of right signs", ylim=(-0.05, 1.05))
        grid[1, 0].set(ylabel="observed / predicted")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return svg(figure, name)


def _signs(axes: Axes, cases: Cases, by: str, offset: float) -> None:
    windows = sorted({case.at.window for case in cases})
    found = [agreement(select(cases, window=window), by).all for window in windows]
    kept = [(w * offset, each) for w, each in zip(windows, found, strict=True) if each.total]
    if not kept:
        return
    share = np.array([each.count / each.total for _, each in kept])
    low, high = np.array([each.interval for _, each in kept]).T
    x = [at for at, _ in kept]
    bars = (share - low, high - share)
    axes.errorbar(x, share, bars, fmt="o-", color=COLOURS[by], markersize=4, label=PREDICTORS[by])


def _sizes(axes: Axes, cases: Cases, by: str, offset: float) -> None:
    windows = sorted({case.at.window for case in cases})
    found = [(window, agreement(select(cases, window=window), by).ratio) for window in windows]
    kept = [(window * offset, ratio) for window, ratio in found if ratio is not None]
    if kept:
        low, middle, high = np.array([ratio for _, ratio in kept]).T
        x = [at for at, _ in kept]
        axes.errorbar(
            x, middle, (middle - low, high - middle), fmt="s-", color=COLOURS[by], markersize=4, capsize=2
        )


def scatter(comparison: Comparison, name: str) -> str:
    """Observed against predicted, each case a dot, for both brackets, right after the window."""
    cases = select(comparison.cases, kind="orders", tail=False, targets=comparison.results.domains)
    windows = sorted({case.at.window for case in cases})
    with style():
        figure = Figure(figsize=(WIDTH, 3.4))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, by in zip(panels, BRACKETS, strict=True):
            for n, window in enumerate(windows):
                here = select(cases, window=window)
                predicted = [found.value for case in here if (found := case.predicted[by]) is not None]
                observed = [case.observed.value for case in here]
                colour = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)[n % 5]
                axes.plot(predicted, observed, MARKERS[n % 6], color=colour, markersize=4, label=f"{window}")
                axes.set(title=PREDICTORS[by], xlabel="predicted, nats")
            _symmetric(axes, "x", [f.value for case in cases if (f := case.predicted[by]) is not None])
            _symmetric(axes, "y", [case.observed.value for case in cases])
            axes.axhline(0, color=INK, linewidth=0.6)
            axes.axvline(0, color=INK, linewidth=0.6)
            axes.tick_params(axis="x", labelrotation=60)
        panels[0].set(ylabel="observed, nats")
        figure.legend(*panels[0].get_legend_handles_labels(), title=r"$\Delta t$", loc="outside right center")
        return svg(figure, name)


def _symmetric(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic scale on both sides of 0, straight below the smaller decades of the values."""
    sizes = np.abs([value for value in values if value])
    if sizes.size:
        threshold = 10 ** math.floor(math.log10(float(np.percentile(sizes, 20))))
        largest = math.ceil(math.log10(float(sizes.max()))) if sizes.max() > threshold else 0
        every = max(1, round((largest - math.log10(threshold)) / 3))
        powers = [10.0**p for p in range(largest, int(math.log10(threshold)) - 1, -every)]
        ticks = [*(-p for p in powers), 0.0, *reversed(powers)]
        getattr(axes, f"set_{which}scale")("symlog", linthresh=threshold)
        getattr(axes, f"set_{which}ticks")(ticks)
    axes.minorticks_off()
