"""The tables of planned training, from its results alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commute_verify.report import Table
from experiments.optimizer_windows.settings import DOMAINS
from experiments.planned_training.plans import PLANNERS
from experiments.planned_training.statistics import odd_and_even

NBSP = "\u00a0"
MILLI = 1e3
RULES = (
    "smallest last",
    "largest last",
    "cosine",
    "cosine, reversed",
    "gradient norm",
    "gradient norm, reversed",
    "random",
)
ROWS = (*(name for planner in PLANNERS for name in (planner, f"{planner}, reversed")), *RULES)
TITLES = {"tilt": "tilts", "blocks": "one block for each domain"}


def find(cells: list[dict[str, Any]], **keys: str) -> dict[str, Any]:
    """The cell of these keys."""
    return next(cell for cell in cells if all(cell[key] == value for key, value in keys.items()))


def shape(result: Mapping[str, Any], which: str) -> Table:
    """Every planner and rule for one shape of schedule: a column for each target."""
    targets = list(dict.fromkeys(cell["target"] for cell in result["cells"]))
    rows = []
    for by in ROWS:
        row = [by]
        for target in targets:
            cell = find(result["cells"], target=target, shape=which, by=by)
            row += [milli(cell["excess"]), f"{cell['lower']}/{result['seeds']}"]
        rows.append(tuple(row))
    if which == "tilt":
        cell = find(result["cells"], target="mixture", shape="stages", by="descent")
        blank = ("", "") * (len(targets) - 1)
        rows.append(("descent", milli(cell["excess"]), f"{cell['lower']}/{result['seeds']}", *blank))
    return Table(
        ("planned by", *("excess", "lower") * len(targets)),
        tuple(rows),
        f"Loss at the end less that of constant weights, {TITLES[which]}, in thousandths of a nat a token, "
        "and in how many seeds it is lower.",
        f"Means with {result['level']:.0%} Student intervals of {result['seeds']} seeds, paired: the same "
        "model, and each domain's sequences in the same order.",
        (("", 1), *((word(target, result), 2) for target in targets)),
    )


def versus(result: Mapping[str, Any], which: str, target: str = "mixture") -> Table:
    """Paired differences of each plan to its reverse and every rival."""
    rivals = ("its reverse", "smallest last", "cosine", "gradient norm", "random")
    rows = []
    for by in PLANNERS:
        row = [by]
        for rival in rivals:
            name = f"{by}, reversed" if rival == "its reverse" else rival
            cell = find(result["versus"], target=target, shape=which, by=by, rival=name)
            row.append(milli(cell["difference"]))
        rows.append(tuple(row))
    return Table(
        ("planned by", *rivals),
        tuple(rows),
        f"Plans against each other, {TITLES[which]} for {word(target, result)}: excess of the plan less that "
        "of the rival, in thousandths of a nat; below 0 the plan is better.",
        f"Paired means with {result['level']:.0%} Student intervals of {result['seeds']} seeds.",
    )


def parts(result: Mapping[str, Any], target: str = "mixture") -> Table:
    """What of a tilt's excess turns its sign with the order, and what does not."""
    rows = []
    for by in (*PLANNERS, "smallest last", "cosine", "gradient norm"):
        cell = find(result["cells"], target=target, shape="tilt", by=by)
        turned = find(result["cells"], target=target, shape="tilt", by=reverse(by))
        odd, even = odd_and_even(cell, turned, result["level"])
        promised = f"{cell['promised']['mean'] * MILLI:.2g}" if "promised" in cell else ""
        rows.append((by, promised, milli(odd), milli(even)))
    return Table(
        ("planned by", "promised", "odd part", "even part"),
        tuple(rows),
        f"Tilts for {word(target, result)} and their reverses, in thousandths of a nat: half the difference, "
        "which is what the order does and what planners predict, and half the sum, which any tilt of this "
        "size costs.",
        f"Means with {result['level']:.0%} Student intervals of {result['seeds']} seeds.",
    )


def reverse(by: str) -> str:
    """The name of a planner's or rule's reverse."""
    return "largest last" if by == "smallest last" else f"{by}, reversed"


def promises(result: Mapping[str, Any]) -> Table:
    """What planners promised beside what came, and how sure they were."""
    rows = []
    for which in TITLES:
        for by in PLANNERS:
            cell = find(result["cells"], target="mixture", shape=which, by=by)
            rows.append(
                (
                    TITLES[which],
                    by,
                    f"{cell['promised']['mean'] * MILLI:.2g}",
                    milli(cell["excess"]),
                    f"{cell['recommended']}/{result['seeds']}",
                )
            )
    return Table(
        ("schedule", "planned by", "promised", "came", "recommended"),
        tuple(rows),
        "What each planner promised for the mixture and what came, in thousandths of a nat.",
        "“Recommended”: the bracket's own interval is below 0, as `recommended` of a plan says; for the "
        "trajectory, each of its planning windows by itself promises a lower loss.",
    )


def together(result: Mapping[str, Any]) -> Table:
    """Tilts for several targets at once."""
    rows = []
    for label, each in result["together"].items():
        for by, cell in each.items():
            rows.append(
                (
                    label,
                    by,
                    f"{cell['exists']}/{result['seeds']}",
                    "" if cell["share"] is None else f"{cell['share']:.0%}",
                    f"{cell['all_lower']}/{cell['exists']}" if cell["exists"] else "",
                    f"{cell['lower']}/{cell['targets'] * cell['exists']}" if cell["exists"] else "",
                    "; ".join(milli(one) for one in cell["excess"]) if cell["excess"] else "",
                )
            )
    return Table(
        ("targets", "planned by", "exists", "share", "all lower", "lower", "excess of each"),
        tuple(rows),
        "A tilt that improves every target at once: in how many seeds there is one to first order (in the "
        "others the multipliers prove that there is none), the least share of its own best gain that it "
        "gives a target, and in how many runs the targets ended lower; excess in thousandths of a nat.",
    )


def two(result: Mapping[str, Any], which: str = "tilt") -> Table:
    """The imbalanced pair."""
    rows = []
    for by in (*PLANNERS, *RULES):
        cell = find(result["two"], shape=which, by=by)
        rows.append(
            (
                by,
                f"{cell['small_later']}/{result['seeds']}" if by != "random" else "",
                milli(cell["excess"]),
                f"{cell['lower']}/{result['seeds']}",
                f"{cell['promised']['mean'] * MILLI:.2g}" if "promised" in cell else "",
            )
        )
    return Table(
        ("planned by", "small one later", "excess", "lower", "promised"),
        tuple(rows),
        f"Two languages of weights {' and '.join(f'{w:g}' for w in result['imbalanced'])}, target both "
        f"alike, {TITLES[which]}: in how many seeds the small one's share is raised at the end, and what "
        "that brought, in thousandths of a nat.",
    )


def milli(one: Mapping[str, float]) -> str:
    """Mean and half width in thousandths.

    >>> milli({"mean": -0.0012, "half": 0.0001}).replace(NBSP, " ")
    '-1.20 ± 0.10'
    """
    mean, half = one["mean"] * MILLI, one["half"] * MILLI
    digits = 2 if abs(mean) < 10 else 1 if abs(mean) < 100 else 0
    return f"{mean:.{digits}f} ± {half:.{digits}f}".replace(" ", NBSP)


def word(target: str, result: Mapping[str, Any]) -> str:
    """A target in words."""
    if target == "mixture":
        return "all four alike"
    return f"domain {target} ({result['weights'][DOMAINS.index(target)]:g})"
