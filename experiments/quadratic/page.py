"""Report blocks of the quadratic experiment, a pure function of its results."""

from typing import Any

from commute_verify.report import Block, Figure, Formula, Heading, Paragraph
from experiments.quadratic import plots, tables

COMMAND = "Made by `python -m experiments`."


def glance(results: dict[str, Any]) -> list[Block]:
    """Table 1 in the paper's layout, for the head of a report."""
    return [Heading("Table 1, printed and measured"), tables.glance(results["table1_fresh"])]


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each of ``PARTS``."""
    fresh, fixed = results["table1_fresh"], results["table1_fixed"]
    return [
        Heading("Quadratic experiment"),
        Paragraph(
            "Two quadratic losses with random orientations, as in §4.1 and appendix B of the paper: "
            f"dimension {fresh['dimension']}, eigenvalues ${fresh['decay']:g}^j$, Gaussian centres and "
            "starting points. The flows are exact, so every deviation below is the prediction's. An excess "
            "is computed from differences of parameters, not of losses."
        ),
        Formula(
            r"L(\theta_{12}) - L(\theta_{\mathrm{base}}) = \tfrac12 \Delta t^2 P(L_1, L_2; L) + O(\Delta t^3)"
        ),
        Formula(r"P(L_1, L_2; L) = \langle H_2 g_1 - H_1 g_2, \nabla L \rangle"),
        *_table1(fresh, fixed),
        *_figure1(results["figure1"]),
        *_figure2(results["figure2"]),
        *_many_domains(results["many_domains"]),
    ]


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    fresh = results["table1_fresh"]
    return f"On random quadratics ({fresh['draws']} draws a cell) {tables.headline(fresh)}."


def _table1(fresh: dict[str, Any], fixed: dict[str, Any]) -> list[Block]:
    return [
        Heading("Table 1 in both readings of appendix B", 3),
        tables.side_by_side(fresh, fixed),
        Paragraph(tables.comparison(fresh, fixed)),
        Figure(
            "table-1",
            plots.table1(fresh, fixed, "table-1"),
            "Above: the ratio at the longest window; bars span the 10th to the 90th percentile, the "
            "published range is centred on its median, and each dash is the median of one fixed draw of "
            r"matrices. Below: the error of the median ratio shrinks as $\Delta t$ at order 2 and as "
            rf"$\Delta t^2$ at order 3, one line for each $t$. {COMMAND}",
            "Observed over predicted excess loss at each t for the published table and both readings, and "
            "the error of the median ratio against the window on logarithmic axes.",
        ),
        tables.signs(fresh, fixed),
        tables.full(fresh),
    ]


def _figure1(result: dict[str, Any]) -> list[Block]:
    ladder = result["ladder"]
    return [
        Heading("Figure 1: two flows that do not commute", 3),
        Figure(
            "quadratic-paths",
            plots.paths(result, "quadratic-paths"),
            f"Above: two affine flows in the plane, $t_1 = {result['t1']:g}$ and $t_2 = {result['t2']:g}$, "
            r"in both orders. The bracket starts where the path with 2 first ends and points to where the "
            "path with 1 first ends, up to third order: at these times the difference is plain to see. "
            f"Below: shrinking both times, the gap falls with slope {ladder['gap_slope']:.2f} and what the "
            f"bracket leaves of it with slope {ladder['remainder_slope']:.2f}. {COMMAND}",
            "Pairs of trajectories from three starting points with the gap between their ends and the "
            "bracket, and a logarithmic plot of both against the times.",
        ),
    ]


def _figure2(result: dict[str, Any]) -> list[Block]:
    counts = ", ".join(f"{entry['count']} ($n = {entry['dimension']}$)" for entry in result["rising"])
    return [
        Heading("Figure 2: losses along constant weights", 3),
        Figure(
            "quadratic-losses",
            plots.loss_curves(result, "quadratic-losses"),
            r"Above: $(L_1, L_2)$ along the weights $(\frac12, \frac12)$ for two losses in the plane; on "
            f"{result['rising_curves']} of {len(result['curves'])} curves one of the losses rises on the "
            f"way, and all end within {result['distance']:.0e} of the optimum of the mixture. Below: how "
            f"often a loss rises, by more than a millionth of its start, in {result['draws']} problems of "
            f"appendix B at each dimension, with exact {result['level']:.0%} intervals. {COMMAND}",
            "Curves of one domain loss against the other, meeting at one point, and the share of problems in "
            "which a loss rises against the dimension.",
        ),
        Paragraph(
            f"A loss rises in {counts} of {result['draws']} problems. In many dimensions the decaying "
            "spectra leave room to make both losses small together, and then neither needs to rise."
        ),
    ]


def _many_domains(result: dict[str, Any]) -> list[Block]:
    return [
        Heading("More domains, random schedules", 3),
        Paragraph(
            f"Random schedules of {result['stages']} stages, weights and relative durations uniform on their "
            f"simplices, against the constant schedule with the same totals on a window of length $T$: "
            f"{result['draws']} problems in dimension {result['dimension']} for each number of domains. The "
            "prediction reads the schedule only through its iterated integrals; at order 2, through its area."
        ),
        Figure(
            "many-domains",
            plots.many_domains(result, "many-domains"),
            "Above: observed over predicted excess, median and 10th to 90th percentile. Below: share of "
            f"wrong signs with exact {result['level']:.0%} intervals; the dotted line is chance. {COMMAND}",
            "Ratio of observed to predicted excess and share of sign failures against the length of the "
            "window, for each number of domains and both orders.",
        ),
        Paragraph(tables.breakdown(result)),
        tables.many_domains(result),
    ]
