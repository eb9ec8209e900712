"""Tables of the transformer experiment, and the sentences that are counted from them."""

from collections.abc import Callable, Sequence
from typing import Any

from commute_verify.report import Table
from experiments.quadratic.predictions import ORDERS

LADDERS = {
    "swap": "swap",
    "tilt_even": "tilt, equal weights",
    "tilt_skewed": "tilt, skewed weights",
}
TARGETS = {"L": "$L$", "L1": "$L_1$", "L2": "$L_2$"}
TRAININGS = ("12", "21")

Cells = list[dict[str, Any]]


def column(result: dict[str, Any], target: str, training: str, order: int) -> Cells:
    """The cells of one target, order of training and order of prediction, windows ascending."""
    key = (target, training, order)
    return [cell for cell in result["cells"] if (cell["target"], cell["training"], cell["order"]) == key]


def ratios(result: dict[str, Any], caption: str, shown: Sequence[tuple[str, str]]) -> Table:
    """Observed over predicted at every window, order 2 and 3, for pairs of target and order of training."""
    columns = [column(result, *pair, order) for pair in shown for order in ORDERS]
    rows = [
        (f"{dt:.2g}", f"{dt * result['lambda_max']:.2g}", *(_ratio(cells[at]) for cells in columns))
        for at, dt in enumerate(result["windows"])
    ]
    groups = [(f"{TARGETS[target]}, {training}", 2) for target, training in shown]
    return Table(
        (r"$\Delta t$", r"$\Delta t\,\lambda_{\max}$", *("order 2", "order 3") * len(shown)),
        tuple(rows),
        caption,
        "",
        (("", 2), *groups),
    )


def slopes(results: dict[str, Any]) -> Table:
    """The slopes of the error at the shortest windows, of every ladder."""
    rows = []
    for name, words in LADDERS.items():
        found = {(s["target"], s["training"], s["order"]): s["slope"] for s in results[name]["slopes"]}
        for training in TRAININGS:
            cells = (found[target, training, order] for target in TARGETS for order in ORDERS)
            rows.append((words, training, *(f"{cell:.3f}" for cell in cells)))
    return Table(
        ("schedule", "training", *("order 2", "order 3") * len(TARGETS)),
        tuple(rows),
        r"Slope of $\log|\mathrm{observed}/\mathrm{predicted} - 1|$ over $\log \Delta t$ between the two "
        "shortest windows: 1 is due at order 2, and 2 at order 3.",
        "",
        (("", 2), *((words, 2) for words in TARGETS.values())),
    )


def validity(results: dict[str, Any]) -> Table:
    """How far each order reaches: the worse of both orders of training, for every ladder and target."""
    rows = []
    for name, words in LADDERS.items():
        result = results[name]
        for target, label in TARGETS.items():
            row = [words, label]
            for order in ORDERS:
                both = [column(result, target, training, order) for training in TRAININGS]
                row += [
                    _up_to(both, result, lambda cell: abs(cell["error"]) <= 0.01),
                    _up_to(both, result, lambda cell: abs(cell["error"]) <= 0.1),
                    _from(both, result, lambda cell: abs(cell["error"]) >= 0.5),
                    _from(both, result, wrong_sign),
                ]
            rows.append(tuple(row))
    return Table(
        ("schedule", "target", *("1% up to", "10% up to", "50% off from", "wrong sign from") * 2),
        tuple(rows),
        r"Where the prediction is good and where it is useless, in $\Delta t\,\lambda_{\max}$: the longest "
        "window up to which both orders of training are within 1% and 10%, the shortest at which one is "
        "off by half or has the wrong sign.",
        "",
        (("", 2), ("order 2", 4), ("order 3", 4)),
    )


def wrong_sign(cell: dict[str, Any]) -> bool:
    """Whether the prediction has the other sign than what was observed."""
    return bool(cell["observed"] * cell["predicted"] < 0)


def failures(results: dict[str, Any]) -> str:
    """How many signs are wrong at each order, where from, and where order 3 is worse than order 2."""
    cells = [
        (cell["dt"] * results[name]["lambda_max"], cell)
        for name in LADDERS
        for cell in results[name]["cells"]
    ]
    sentences = []
    for order in ORDERS:
        mine = [(at, cell) for at, cell in cells if cell["order"] == order]
        wrong = [at for at, cell in mine if wrong_sign(cell)]
        where = rf", the first at $\Delta t\,\lambda_{{\max}} = {min(wrong):.2g}$" if wrong else ""
        sentences.append(f"At order {order}, {len(wrong)} of {len(mine)} signs are wrong{where}.")
    pairs = list(zip(cells[::2], cells[1::2], strict=True))
    worse = [at for (at, two), (_, three) in pairs if abs(three["error"]) > abs(two["error"])]
    if worse:
        sentences.append(
            f"Order 3 is further off than order 2 in {len(worse)} of {len(pairs)} cells, the first at "
            rf"$\Delta t\,\lambda_{{\max}} = {min(worse):.2g}$: past the radius of the series another term "
            "does not help."
        )
    else:
        sentences.append("Order 3 is nowhere further off than order 2.")
    return " ".join(sentences)


def headline(result: dict[str, Any]) -> str:
    """Ratios at the shortest and the longest window of a ladder, for the mixture with 1 first."""
    two, three = (column(result, "L", "12", order) for order in ORDERS)
    short, long = (cell["dt"] * result["lambda_max"] for cell in (two[0], two[-1]))
    return (
        f"the observed excess of a swap is {_ratio(two[0])} of the predicted one at "
        rf"$\Delta t\,\lambda_{{\max}} = {short:.2g}$ and {_ratio(two[-1])} at {long:.2g} "
        f"(order 3: {_ratio(three[0])} and {_ratio(three[-1])})"
    )


def _ratio(cell: dict[str, Any]) -> str:
    ratio = 1 + cell["error"]
    digits = 3 if abs(ratio) < 10 else 0
    return f"{ratio:.{digits}f}".replace("-", "−")


def _up_to(both: list[Cells], result: dict[str, Any], good: Callable[[dict[str, Any]], bool]) -> str:
    """The last window before the first that is not good."""
    reached = "–"
    for pair in zip(*both, strict=True):
        if not all(good(cell) for cell in pair):
            break
        reached = f"{pair[0]['dt'] * result['lambda_max']:.2g}"
    return reached


def _from(both: list[Cells], result: dict[str, Any], bad: Callable[[dict[str, Any]], bool]) -> str:
    """The first window that is bad."""
    found = (pair[0]["dt"] for pair in zip(*both, strict=True) if any(bad(cell) for cell in pair))
    first = next(found, None)
    return "never" if first is None else f"{first * result['lambda_max']:.2g}"
