"""Report blocks of the planning experiment, a pure function of its results."""

from typing import Any

from commute_verify.report import Block, Figure, Formula, Heading, Paragraph, Table
from experiments.planning import plots

COMMAND = "Made by `python -m experiments`."
NBSP = "\u00a0"


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    orders = results["orders"]
    short, most = min(orders["spans"]), max(orders["domain_counts"])
    cell = _cells(orders)[most, short, "mixture"]
    return (
        f"With {most} domains in a block each, the planned order is the best of all in "
        f"{cell['found']['share']:.0%} of {orders['draws']} random quadratics on a short run "
        f"($T = {short:g}$)."
    )


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each of ``PARTS``."""
    return [
        Heading("Planning: from P to a schedule"),
        *_orders(results["orders"]),
        *_tilts(results["tilts"]),
        *_noise(results["noise"]),
        *_descents(results["descents"]),
    ]


def _orders(result: dict[str, Any]) -> list[Block]:
    return [
        Paragraph(
            "One block for each domain, random totals: the order planned from P at the start, exact by "
            f"dynamic programming, against every order, run exactly. Problems of appendix B in dimension "
            f"{result['dimension']}, {result['draws']} for each number of domains. A regret of 0 is the best "
            "order of all, 1 the worst; the rules beside the plan look at the start too, or at the totals."
        ),
        Formula(
            r"L(\theta_\pi) - L(\theta_{\mathrm{const}}) \approx \tfrac12 \sum_{i \prec j} T_i T_j P_{ij}"
        ),
        Figure(
            "planned-orders",
            plots.orders(result, "planned-orders"),
            "Above: share of problems in which the planned order is the best of all, target the mixture, "
            f"with exact {result['level']:.0%} intervals. Below: mean regret of each rule and its interval. "
            f"{COMMAND}",
            "Share of best orders found against the number of domains, one line for each length of the run, "
            "and regret against the length of the run, one line for each rule.",
        ),
        _orders_table(result),
        Paragraph(_edge(result)),
    ]


def _orders_table(result: dict[str, Any]) -> Table:
    rows = tuple(
        (
            str(cell["domains"]),
            cell["target"],
            f"{cell['T']:g}",
            _share(cell["found"]),
            *(f"{cell['regrets'][name]['mean']:.3f}" for name in (*result["rules"], "mean of all")),
            f"{cell['beats_constant']['share']:.0%}",
            f"{cell['constant_best']['share']:.0%}",
        )
        for cell in result["cells"]
    )
    return Table(
        ("$K$", "target", "$T$", "best found", *result["rules"], "random", "plan", "no order"),
        rows,
        "Planned orders against all orders: share in which the plan is the best, mean regrets, and constant "
        "weights.",
        f"Exact {result['level']:.0%} intervals of {result['draws']} draws. “Plan” is the share in which the "
        "plan ends lower than constant weights, “no order” that in which constant weights end lower than all "
        "orders.",
        (("", 3), ("", 1), ("mean regret", len(result["rules"]) + 1), ("against constant weights", 2)),
    )


def _edge(result: dict[str, Any]) -> str:
    cells, sentences = _cells(result), []
    for target in ("mixture", "one domain"):
        lost = [
            f"{name} at $K = {K}$, $T = {T:g}$"
            for (K, T, of), cell in cells.items()
            for name in result["rules"]
            if of == target and cell["regrets"][name]["mean"] < cell["regrets"]["planned"]["mean"]
        ]
        sentences.append(
            f"For {'the mixture' if target == 'mixture' else 'one domain'} a rule has a smaller mean regret "
            f"than the plan in {len(lost)} of {sum(of == target for *_, of in cells)} cells"
            + (f" ({'; '.join(lost[:6])}{', …' if len(lost) > 6 else ''})." if lost else ".")
        )
    return " ".join(sentences) + " The plan knows P at the start alone: where the run is long, that ends."


def _tilts(result: dict[str, Any]) -> list[Block]:
    rows = tuple(
        (
            str(cell["domains"]),
            f"{cell['T']:g}",
            f"{cell['median']:.2f} ({cell['p10']:.2f} … {cell['p90']:.2f})".replace(" ", NBSP),
            _share(cell["gains"]),
            _share(cell["beats_rivals"]),
            f"{cell['pair']['mean']:.2f}",
        )
        for cell in result["cells"]
    )
    return [
        Heading("Bounded tilts", 3),
        Paragraph(
            f"Weights drawn at random, moved by at most {result['max_tilt']:g} and back, for the loss of one "
            "domain. The best tilt of all domains at once is a linear program; here it stands against exact "
            f"flows and {result['rivals']} tilts in random directions, each as large as the bounds allow."
        ),
        Table(
            ("$K$", "$T$", "observed / predicted", "ends lower", "none better", "best pair"),
            rows,
            "Planned tilts: gain observed over predicted, median and 10th to 90th percentile; share in which "
            "the loss ends lower; share in which no random tilt gains more; predicted gain of the best tilt "
            "of two domains over that of all.",
            f"Exact {result['level']:.0%} intervals of {result['draws']} draws.",
        ),
    ]


def _noise(result: dict[str, Any]) -> list[Block]:
    rows = tuple(
        (
            str(cell["domains"]),
            f"{cell['signal']:g}",
            _share(cell["covers"]),
            _share(cell["plain_covers"]),
            _share(cell["advised"]),
            _share(cell["plain_advised"]),
            f"{cell['good']} of {cell['advised_count']}",
            f"{cell['truth']['mean']:.2f}",
            f"{cell['optimism']['mean']:.2f}",
        )
        for cell in result["cells"]
    )
    return [
        Heading("Plans from noisy estimates", 3),
        Paragraph(
            "The best of many orders looks good by luck alone. The interval of a plan holds for all orders "
            "at once; a plain interval of the chosen order's gain, beside it, does not know that it was "
            f"chosen. Estimates of {result['replicates']} replicates, P of random entries in units of their "
            f"standard error, {result['trials']} in each row; with P = 0 any advice but to leave the order "
            "as it is is false."
        ),
        Table(
            (
                "$K$",
                "size of P",
                "plan",
                "plain",
                "plan",
                "plain",
                "truly better",
                "true gain",
                "overstated by",
            ),
            rows,
            f"Coverage of {result['level']:.0%} intervals for the gain of the chosen order, and how often "
            "its use is advised.",
            f"Exact {result['level']:.0%} intervals. “Truly better” counts the plans advised; the last two "
            "columns are means of the chosen order's true gain and of estimate minus truth.",
            (("", 2), ("interval covers", 2), ("advised", 2), ("", 3)),
        ),
    ]


def _descents(result: dict[str, Any]) -> list[Block]:
    rows = tuple(
        (
            str(cell["domains"]),
            f"{cell['T']:g}",
            _percent(cell["tilt"]),
            _percent(cell["descent"]),
            f"{cell['kept']['mean']:.2f}",
            f"{cell['steps']['mean']:.1f}",
        )
        for cell in result["cells"]
    )
    return [
        Heading("Descent on schedules", 3),
        Paragraph(
            f"Schedules of {result['stages']} stages that start constant and descend along the exact first "
            f"variation, weights within {result['max_tilt']:g} of the start, totals kept; beside them the "
            "best tilt by P at the start, with the same bounds."
        ),
        Table(
            ("$K$", "$T$", "tilt", "descent", "kept", "steps"),
            rows,
            "Share of the final loss that is gained, mean ± half of the interval; “kept” is the gain over "
            "the sum of what the steps promised.",
            f"{result['level']:.0%} Student intervals of {result['draws']} problems.",
        ),
    ]


def _cells(result: dict[str, Any]) -> dict[tuple[int, float, str], dict[str, Any]]:
    return {(cell["domains"], cell["T"], cell["target"]): cell for cell in result["cells"]}


def _share(cell: dict[str, Any]) -> str:
    return f"{cell['share']:.0%} [{cell['low']:.0%}, {cell['high']:.0%}]".replace(" ", NBSP)


def _percent(cell: dict[str, float]) -> str:
    return f"{cell['mean']:.2%} ± {cell['half']:.2%}".replace(" ", NBSP)
