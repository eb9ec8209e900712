"""Tables of the experiment beyond the local regime, and what is counted from them."""

from collections.abc import Callable, Sequence
from typing import Any

from commute_verify.report import Table

LABELS = {
    "local": "order 2",
    "local-3": "order 3",
    "frozen at the start": "frozen at the start",
    "frozen-curvature": "frozen curvature",
}

KINDS = {"swap": "swap", "tilt": "tilt, equal weights", "skewed tilt": "tilt, skewed weights"}


def quadratics(result: dict[str, Any]) -> Table:
    """Median error of each predictor at every window, the largest of all times t, and signs."""
    rows = []
    for dt in result["windows"]:
        row = [f"{dt:g}"]
        for predictor in ("order 2", "order 3", "frozen-curvature"):
            cells = [c for c in result["cells"] if (c["dt"], c["predictor"]) == (dt, predictor)]
            wrong = sum(c["count"] - c["right"] for c in cells) / sum(c["count"] for c in cells)
            row += [_size(max(c["median_error"] for c in cells)), f"{wrong:.1%}"]
        row.append(_size(max(c["largest_error"] for c in cells)))
        rows.append(tuple(row))
    return Table(
        (r"$\Delta t$", *("median error", "wrong signs") * 3, "largest error"),
        tuple(rows),
        f"Table 1 on a longer ladder, $t$ from {min(result['times']):g} to {max(result['times']):g}: median "
        "of |predicted / observed − 1|, the worst of all $t$, and wrong signs of all draws, targets and "
        "orders of training.",
        f"Series: {result['draws']} problems in dimension {result['dimension']}; frozen curvature: the first "
        f"{result['frozen_draws']} of them, to {result['tolerance']:.0e} of the displacement.",
        (("", 1), ("order 2", 2), ("order 3", 2), ("frozen curvature", 3)),
    )


def transformer(result: dict[str, Any]) -> Table:
    """Errors and signs of each predictor at every window."""
    rows = []
    for reach in result["reaches"]:
        row = [f"{reach:g}"]
        for name in LABELS:
            cell = find(result, reach, name)
            row += [_size(cell["median_error"]), f"{cell['right']}/{cell['count']}", _answers(cell)]
        rows.append(tuple(row))
    return Table(
        (r"$\Delta t\,\lambda_{\max}$", *("error", "signs", "answers") * len(LABELS)),
        tuple(rows),
        "Median of |predicted / observed − 1|, right signs, and, of the cases that a predictor answers, "
        f"how many are right; {len(result['points'])} trained GPT-2 of {result['parameters']} parameters, "
        "swap and two tilts, both orders, three targets.",
        "",
        (("", 1), *((label, 3) for label in LABELS.values())),
    )


def kinds(result: dict[str, Any]) -> Table:
    """Errors and signs of frozen curvature at every window, for each kind of schedule."""
    rows = []
    for reach in result["reaches"]:
        row = [f"{reach:g}"]
        for kind in KINDS:
            (cell,) = (cell for cell in of_kind(result, kind) if cell["reach"] == reach)
            row += [_size(cell["median_error"]), f"{cell['right']}/{cell['count']}", _answers(cell)]
        rows.append(tuple(row))
    return Table(
        (r"$\Delta t\,\lambda_{\max}$", *("error", "signs", "answers") * len(KINDS)),
        tuple(rows),
        "Frozen curvature by kind of schedule, both orders and three targets of each.",
        "",
        (("", 1), *((label, 3) for label in KINDS.values())),
    )


def of_kind(result: dict[str, Any], kind: str, predictor: str = "frozen-curvature") -> list[dict[str, Any]]:
    """The rows of one kind of schedule, from the shortest window to the longest."""
    return [row for row in result["kinds"] if (row["kind"], row["predictor"]) == (kind, predictor)]


def find(result: dict[str, Any], reach: float, predictor: str) -> dict[str, Any]:
    """One row of the transformer's results."""
    return next(r for r in result["rows"] if (r["reach"], r["predictor"]) == (reach, predictor))


def verdict(result: dict[str, Any]) -> str:
    """Where frozen curvature is within a tenth, where its signs end, and what is answered, counted."""
    cells = [find(result, reach, "frozen-curvature") for reach in result["reaches"]]
    last, far = result["reaches"][-1], within_a_tenth(result)
    if all(cell["right"] == cell["count"] for cell in cells):
        signs = f"Every sign is right, {sum(cell['count'] for cell in cells)} of them."
    else:
        until = "; ".join(f"{label} {_until(signs_until(result, kind))}" for kind, label in KINDS.items())
        signs = f"Every sign is right, by kind of schedule: {until}."
    if far == last:
        error = f"is at most {max(cell['median_error'] for cell in cells):.1%}, {_until(far)}"
    else:
        error = f"stays within 10% {_until(far)}"
    answered, right = (sum(row[key] for row in result["rows"]) for key in ("answered", "answered_right"))
    silent = [cell["reach"] for cell in cells if cell["answered"] < cell["count"]]
    start = [find(result, reach, "frozen at the start") for reach in result["reaches"]]
    wrong = next((cell["reach"] for cell in start if cell["right"] < cell["count"]), None)
    return (
        f"The median error of frozen curvature {error}. {signs} Of all answers that a predictor's own "
        f"verdict lets through, {right} of {answered} have the right sign"
        + (
            rf"; frozen curvature leaves some cases open at $\Delta t\,\lambda_{{\max}}$ of "
            f"{', '.join(f'{x:g}' for x in silent)}"
            if silent
            else ""
        )
        + ". The models of the start alone stay within 10% "
        + _until(within_a_tenth(result, "frozen at the start"))
        + (
            "."
            if wrong is None
            else rf", the first wrong signs being at $\Delta t\,\lambda_{{\max}} = {wrong:g}$."
        )
    )


def prices(result: dict[str, Any]) -> str:
    """What frozen curvature costs as windows grow, beside the models of the start and beside training."""
    first, last = result["reaches"][0], result["reaches"][-1]
    short, long, once = (
        find(result, reach, name)["training_steps"]
        for reach, name in (
            (first, "frozen-curvature"),
            (last, "frozen-curvature"),
            (last, "frozen at the start"),
        )
    )
    return (
        f"For all three targets frozen curvature takes {short:.0f} training steps (median) on the shortest "
        f"windows and {long:.0f} on the longest, where the models of the start alone take {once:.0f}. "
        r"Running a schedule and its reference takes $4\,\Delta t / \eta$, which is less unless steps are as "
        rf"short as $\eta\,\lambda_{{\max}} = {4 * first / short:.1g}$ on the shortest windows and "
        f"{4 * last / long:.1g} on the longest."
    )


def within_a_tenth(result: dict[str, Any], predictor: str = "frozen-curvature") -> float | None:
    """The last window up to which the median error of a predictor is at most 10%."""
    found = [find(result, reach, predictor) for reach in result["reaches"]]
    return reaches_until(found, lambda cell: bool(cell["median_error"] <= 0.1))


def signs_until(result: dict[str, Any], kind: str) -> float | None:
    """The last window up to which frozen curvature has every sign of a kind of schedule."""
    return reaches_until(of_kind(result, kind), lambda cell: bool(cell["right"] == cell["count"]))


def reaches_until(cells: Sequence[dict[str, Any]], good: Callable[[dict[str, Any]], bool]) -> float | None:
    """The last window up to which all are good; None where the first is not."""
    until: float | None = None
    for cell in cells:
        if not good(cell):
            break
        until = cell["reach"]
    return until


def _until(reach: float | None) -> str:
    return "nowhere" if reach is None else rf"up to $\Delta t\,\lambda_{{\max}} = {reach:g}$"


def _size(error: float) -> str:
    return f"{error:.0e}" if error < 1e-3 else f"{error:.2g}" if error < 100 else f"{error:.0f}"


def _answers(cell: dict[str, Any]) -> str:
    return f"{cell['answered_right']}/{cell['answered']}" if cell["answered"] else "–"
