"""The tables of the study, from its results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from commute_verify.report import Table

NBSP = "\u00a0"
NONE = "–"
SIGNS = ("trajectory", "local", "local, preconditioned", "gradient product", "last wins")
"""What is asked of every case, in the tables of signs."""


def lengths(cells: Sequence[dict[str, Any]], level: float, caption: str, note: str) -> Table:
    """Signs and ratios against the length of a window."""
    return _signs(
        cells, ("$k$", "tail"), lambda key: (str(key[0]), str(key[1]) if key[1] else "none"), caption, note
    )


def groups(
    cells: Sequence[dict[str, Any]],
    heads: tuple[str, ...],
    show: Callable[[Any], tuple[str, ...]],
    caption: str,
) -> Table:
    """The same against anything else."""
    return _signs(cells, heads, show, caption, "")


def _signs(
    cells: Sequence[dict[str, Any]],
    heads: tuple[str, ...],
    show: Callable[[Any], tuple[str, ...]],
    caption: str,
    note: str,
) -> Table:
    rows = []
    for cell in cells:
        told = cell["predictors"]
        own, main = told.get("trajectory, own batches"), told.get("trajectory")
        rows.append(
            (
                *show(cell["key"]),
                f"{cell['resolved']} of {cell['cases']}",
                right(own, "right"),
                ratio(own),
                right(main, "right"),
                ratio(main),
                right(main, "answered_right"),
                *(right(told.get(name), "right", plain=True) for name in SIGNS[1:]),
            )
        )
    columns = (
        *heads,
        "resolved",
        "right",
        "ratio",
        "right",
        "ratio",
        "answered: right",
        "local",
        "with D",
        "product",
        "last",
    )
    runs = (
        ("", len(heads) + 1),
        ("trajectory, own batches", 2),
        ("trajectory, disjoint batches", 3),
        ("right signs of others", 4),
    )
    return Table(columns, tuple(rows), caption, note, runs)


def dear(
    cells: Sequence[dict[str, Any]], predictors: Sequence[tuple[str, str]], caption: str, note: str
) -> Table:
    """Right signs and ratios of predictors that are run for each schedule."""
    rows = []
    for cell in cells:
        told = cell["predictors"]
        if any(name in told for name, _ in predictors):
            k, tail = cell["key"]
            row = [str(k), str(tail) if tail else "none"]
            for name, _ in predictors:
                row += [right(told.get(name), "right"), ratio(told.get(name))]
            rows.append(tuple(row))
    columns = ("$k$", "tail", *("right", "ratio") * len(predictors))
    return Table(columns, tuple(rows), caption, note, (("", 2), *((shown, 2) for _, shown in predictors)))


def goals(found: Sequence[dict[str, Any]]) -> Table:
    """What was aimed at, and what came out."""
    rows = tuple(
        (
            goal["what"],
            f"{goal['value']:.0%}" if goal["kind"] == "share" else f"{goal['value']:.2f}",
            f"at least {goal['aim']:.0%}" if goal["kind"] == "share" else f"1 ± {goal['aim']:g}",
            "met" if goal["met"] else "missed",
        )
        for goal in found
    )
    return Table(("Aim", "came out", "wanted", ""), rows, "The aims that were set before, and what came out.")


def swaps(validity: Mapping[str, Any], origin: str) -> Table:
    """Whole swaps without noise: how far each predictor is off, its signs and its answers."""
    found = {
        name: [cell for cell in told["cells"] if cell["kind"] == "swap"] for name, told in validity.items()
    }
    predictors = list(next(cells[0] for cells in found.values() if cells)["predictors"])
    rows = []
    for optimizer, cells in found.items():
        for cell in sorted(cells, key=lambda cell: cell["k"]):
            row = [optimizer, str(cell["k"])]
            for name in predictors:
                told = cell["predictors"][name]
                error = NONE if told["error"] is None else f"{told['error']:.2g}"
                row += [error, f"{told['right']}/{told['of']}", str(told["answered"])]
            rows.append(tuple(row))
    return Table(
        ("optimizer", "$k$", *("error", "signs", "answers") * len(predictors)),
        tuple(rows),
        "Whole swaps of $k$ steps of each domain in the same runs without noise, one order against the "
        "other: median of |predicted / observed − 1| over targets, right signs, and how many are answered. "
        f"{origin}",
        "",
        (("", 2), *((name, 3) for name in predictors)),
    )


def strictness(found: Sequence[dict[str, Any]], level: float, origin: str) -> Table:
    """How the share of right signs depends on what counts as resolved."""
    rows = tuple(
        (
            f"{cell['level']:g}",
            f"{cell['resolved']} of {cell['cases']}",
            f"{cell['level'] * cell['cases']:.1f}",
            right(cell["predictors"].get("trajectory"), "right"),
            ratio(cell["predictors"].get("trajectory")),
            right(cell["predictors"].get("trajectory"), "answered_right"),
        )
        for cell in found
    )
    return Table(
        ("level", "resolved", "by chance alone", "right", "ratio", "answered: right"),
        rows,
        "Tilts of 0.15 from disjoint batches, by the level at which an observed mean counts as different "
        f"from 0. “By chance alone”: how many would pass if no order mattered; half of those are wrong by "
        f"chance. {origin}",
        f"Exact {level:.0%} intervals.",
    )


def costs(prices: dict[str, Any], curvature: dict[str, float]) -> Table:
    """Training steps for each step of the window: predictors beside running the branches."""
    window = prices["window"]
    rows = []
    for row in prices["rows"]:
        K, steps = row["K"], row["steps"]
        tilts = prices["tilts"][str(K)]
        sweep = steps["sweep"] / window
        rows.append(
            (
                str(K),
                row["targets"],
                f"{steps['local']:.0f}",
                f"{steps['local-3']:.0f}",
                f"{steps['memory'] / window:.1f}",
                f"{sweep:.1f}",
                f"{steps['three points'] / window:.1f}",
                str(tilts),
                str(tilts + 1),
                f"{(tilts + 1) / sweep:.1f}",
                f"{max(1, int(sweep))}",
            )
        )
    names = {"frozen-curvature": "frozen curvature of the start", "local-3": "order 3"}
    note = "; ".join(f"{names.get(name, name)} {value:.0f}" for name, value in sorted(curvature.items()))
    return Table(
        (
            *("$K$", "targets", "local", "order 3", "memory", "sweep", "three points"),
            *("tilts", "runs", "runs / sweep", "pays from"),
        ),
        tuple(rows),
        "What predictions cost, in training steps: the local series once, for each batch that they average "
        "over (order 2 is taken again along windows that are short enough for it, these are not); for each "
        "step of the window memory, the trajectory's sweep, and its three points, which are about one pair "
        "of schedules. Running the branches costs a step for each of them and for the reference, all "
        "targets included. “Pays from” is the number of schedules from which one sweep is "
        "cheaper than runs of them and of the reference.",
        "Passes as the library counts them while it runs, a product as two gradients beside its own. "
        "In the runs above predictors that run for each schedule took, whatever the window's length, in the "
        f"median: {note}."
        if note
        else "Passes as the library counts them while it runs.",
    )


def right(found: dict[str, Any] | None, which: str, *, plain: bool = False) -> str:
    """A share of right signs with its interval, or without."""
    if not found or not found[which]:
        return NONE
    cell = found[which]
    share = f"{cell['share']:.0%}"
    if plain:
        return share
    count = found["answered" if which == "answered_right" else "judged"]
    return f"{cell['count']} of {count}, {share} [{cell['low']:.0%}, {cell['high']:.0%}]".replace(" ", NBSP)


def ratio(found: dict[str, Any] | None) -> str:
    """Observed over predicted: median, and 10th to 90th percentile."""
    if not found or not found["ratio"]:
        return NONE
    r = found["ratio"]
    median, low, high = (_quotient(r[key]) for key in ("median", "p10", "p90"))
    return f"{median} ({low} to {high})".replace(" ", NBSP)


def _quotient(value: float) -> str:
    """Two decimals, or one digit: what is predicted a hundred times too large has a hundredth, not 0."""
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.1g}"
