"""The figure of the experiment beyond the local regime, drawn from its results alone."""

from typing import Any

from matplotlib.figure import Figure

from commute_verify.report.figures import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, style, svg
from experiments.beyond_local.tables import LABELS, find

WIDTH = 5.8
COLOURS = dict(zip(LABELS, (BLUE, VERMILION, ORANGE, GREEN), strict=True))
MARKERS = dict(zip(LABELS, "os^D", strict=True))


def errors(result: dict[str, Any], name: str) -> str:
    """Median error and share of right signs of each predictor against Δt·λ_max."""
    with style():
        figure = Figure(figsize=(WIDTH, 6.4))
        error, signs = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for predictor, label in LABELS.items():
            cells = [find(result, reach, predictor) for reach in result["reaches"]]
            look: dict[str, Any] = {
                "color": COLOURS[predictor],
                "marker": MARKERS[predictor],
                "markersize": 4,
            }
            error.loglog(result["reaches"], [c["median_error"] for c in cells], label=label, **look)
            signs.plot(result["reaches"], [c["share"] for c in cells], **look)
        error.axhline(0.1, color=GREY, linestyle="--", linewidth=1)
        for axes in (error, signs):
            axes.axvline(1, color=GREY, linestyle="--", linewidth=1)
        signs.axhline(0.5, color=INK, linestyle=":", linewidth=0.9)
        error.set(ylabel="median |predicted / observed − 1|", ylim=(None, 1e3))
        signs.set(xlabel=r"$\Delta t\,\lambda_{\max}$", ylabel="right signs", ylim=(0, 1.05))
        error.legend(loc="upper left")
        return svg(figure, name)
