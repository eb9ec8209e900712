"""What the results say, in words chosen by rule."""

from __future__ import annotations

from typing import Any

from experiments.planned_training.plans import PLANNERS
from experiments.planned_training.statistics import odd_and_even
from experiments.planned_training.tables import MILLI, find, milli, reverse

UNIT = "thousandths of a nat"
ENDS = {
    -1: "ends lower than constant weights",
    0: "is not told from constant weights",
    1: "ends higher than constant weights",
}


def verdict(one: dict[str, float]) -> int:
    """−1 where the interval lies below 0, 1 where above, 0 where it holds 0.

    >>> verdict({"mean": -2.0, "half": 1.0}), verdict({"mean": 0.5, "half": 1.0})
    (-1, 0)
    """
    return 0 if abs(one["mean"]) <= one["half"] else (-1 if one["mean"] < 0 else 1)


def first_line(result: dict[str, Any]) -> str:
    """Which planner is best on tilts for the mixture, and whether the plain bracket beats a simple rule."""
    cells = {by: find(result["cells"], target="mixture", shape="tilt", by=by) for by in PLANNERS}
    winner = min(PLANNERS, key=lambda by: float(cells[by]["excess"]["mean"]))
    plain = find(result["versus"], target="mixture", shape="tilt", by="plain bracket", rival="smallest last")
    told = {
        -1: "beats “smallest domain last”",
        0: "is not told from “smallest domain last”",
        1: "loses to “smallest domain last”",
    }[verdict(plain["difference"])]
    excess = cells[winner]["excess"]
    end = ENDS[verdict(excess)]
    followed = find(result["cells"], target="mixture", shape="stages", by="descent")["excess"]
    blocks = [
        find(result["cells"], target="mixture", shape="blocks", by=by)["excess"]["mean"] for by in PLANNERS
    ]
    return (
        f"Under AdamW the plain bracket {told} (tilts for four domains alike: {milli(plain['difference'])} "
        f"{UNIT}, paired); the best planner is the {winner}, whose tilt {end} ({milli(excess)}); descent, "
        f"which runs its trials, {ENDS[verdict(followed)]} ({milli(followed)}). Blocks cost at least "
        f"{min(blocks) * MILLI:.0f} {UNIT} whichever planner orders them."
    )


def odd_beside_even(result: dict[str, Any]) -> str:
    """What the order does beside what any tilt costs, and the size of tilt that would pay."""
    by = "trajectory"
    cell, turned = (
        find(result["cells"], target="mixture", shape="tilt", by=name) for name in (by, reverse(by))
    )
    odd, even = odd_and_even(cell, turned, result["level"])
    said = (
        f"The {by} promises {cell['promised']['mean'] * MILLI:.2g} {UNIT} from the order alone, and the "
        f"order brings {milli(odd)}; any tilt of this size also changes the loss by {milli(even)}, whichever "
        "way it goes"
    )
    if verdict(odd) >= 0 or verdict(even) <= 0:
        return f"{said}."
    best = -odd["mean"] / (2 * even["mean"])
    return (
        f"{said}. Where the first grows as the tilt and the second as its square, the size that pays best is "
        f"{best:.2g} of this one, for a gain of {-odd['mean'] * best / 2 * MILLI:.1g}."
    )


def several(result: dict[str, Any]) -> str:
    """Whether tilts improve several targets at once."""
    said = []
    for label, each in result["together"].items():
        cell = each["trajectory"]
        none = result["seeds"] - cell["exists"]
        said.append(
            f"For {label} the first variation finds a tilt that improves each in {cell['exists']} of "
            f"{result['seeds']} seeds"
            + (f", and proves in {none} that at this order there is none" if none else "")
            + (
                f"; of those run, {cell['all_lower']} ended lower for every target, and {cell['lower']} of "
                f"{cell['targets'] * cell['exists']} single targets did."
                if cell["exists"]
                else "."
            )
        )
    return " ".join(said)


def imbalanced(result: dict[str, Any]) -> str:
    """Whether the known answer is found: more of the small domain at the end."""
    last = find(result["two"], shape="tilt", by="smallest last")
    first = find(result["two"], shape="tilt", by="largest last")
    found = "; ".join(
        f"the {by} in {cell['small_later']}"
        for by in PLANNERS
        for cell in [find(result["two"], shape="tilt", by=by)]
    )
    apart = {-1: "lower than", 0: "no different, beyond luck, from", 1: "higher than"}
    odd, even = odd_and_even(last, first, result["level"])
    why = {
        -1: "so that the order does what is known",
        0: "so that which way is the better one is not told from luck here",
        1: "so that the order does the opposite of what is known",
    }[verdict(odd)]
    return (
        f"With two domains a tilt has two directions. Raising the small one at the end leaves "
        f"{milli(last['excess'])} {UNIT}, {apart[verdict(last['excess'])]} constant weights, lowering it "
        f"{milli(first['excess'])}. The known answer, raising it at the end, is the better of the two by the "
        f"means {'here' if last['excess']['mean'] < first['excess']['mean'] else 'elsewhere, not here'}: "
        f"half the difference is {milli(odd)}, {why}, beside {milli(even)} that either way costs. Of "
        f"{result['seeds']} seeds it is what is planned by {found}."
    )
