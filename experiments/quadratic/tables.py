"""Tables of the quadratic experiment, and the sentences that are counted from them."""

from collections.abc import Iterable
from typing import Any

from commute_verify.data import published
from commute_verify.report import Table

NBSP = "\u00a0"
"""No-break space: a number keeps to one line on a narrow page."""

Cells = dict[tuple[Any, ...], dict[str, Any]]


def glance(fresh: dict[str, Any]) -> Table:
    """Table 1 in the paper's layout, the published figure beside the measured one in every cell."""
    printed, one = _printed(), _swap_cells(fresh)
    rows = [
        (
            f"{t:g}",
            *(
                text
                for dt in fresh["windows"]
                for text in (
                    _in_two(_with_range(*printed[t, dt])) if (t, dt) in printed else "–",
                    _in_two(_ratio(one[t, dt, "L", "12", 2])),
                )
            ),
        )
        for t in fresh["times"]
    ]
    groups = tuple((rf"$\Delta t = {dt:g}$", 2) for dt in fresh["windows"])
    return Table(
        ("$t$", *("paper", "here") * len(fresh["windows"])),
        tuple(rows),
        "Observed over predicted excess loss of a swap: median ± 90–10 percentile range; "
        f"{fresh['draws']} random problems in each cell measured here.",
        "",
        (("", 1), *groups),
    )


def side_by_side(fresh: dict[str, Any], fixed: dict[str, Any]) -> Table:
    """Table 1 of the paper beside both readings of appendix B, for the mixture's loss with domain 1 first."""
    printed, one, many = _printed(), _swap_cells(fresh), _swap_cells(fixed)
    rows = []
    for t, dt in _grid(fresh):
        medians, ranges = many[t, dt, "L", "12", 2]["medians"], many[t, dt, "L", "12", 2]["ranges"]
        rows.append(
            (
                f"{t:g}",
                f"{dt:g}",
                _with_range(*printed[t, dt]) if (t, dt) in printed else "–",
                _ratio(one[t, dt, "L", "12", 2]),
                _ratio(one[t, dt, "L", "12", 3]),
                _span(medians),
                _span(ranges),
            )
        )
    return Table(
        ("$t$", r"$\Delta t$", "order 2", "order 2", "order 3", "medians", "ranges"),
        tuple(rows),
        "Observed over predicted excess loss of a swap, $L$ the mixture: median ± 90–10 percentile range.",
        f"Fresh matrices: {fresh['draws']} draws in each cell, all random. Fixed matrices, order 2: "
        f"smallest and largest over {fixed['matrices']} draws of the matrices, {fixed['draws']} starting "
        "points for each. The number after ± is the whole 90–10 range, as in the paper's caption. "
        "Nothing was fitted.",
        (("", 2), ("published", 1), ("fresh matrices", 2), ("fixed matrices", 2)),
    )


def comparison(fresh: dict[str, Any], fixed: dict[str, Any]) -> str:
    """How many published medians and ranges the measurements reach."""
    printed, one, many = _printed(), _swap_cells(fresh), _swap_cells(fixed)
    common = [at for at in _grid(fresh) if at in printed]
    medians = sum(_within(printed[at][0], many[*at, "L", "12", 2]["medians"]) for at in common)
    ranges = sum(_within(printed[at][1], many[*at, "L", "12", 2]["ranges"]) for at in common)
    above = sum(one[*at, "L", "12", 2]["range"] > printed[at][1] for at in common)
    worst = max(abs(cell["median"] - 1) for cell in fresh["cells"] if cell["order"] == 3)
    off = max(abs(cell["median"] - 1) for cell in fresh["cells"] if cell["order"] == 2)
    return (
        f"Of the {len(common)} published medians, {medians} lie between the smallest and the largest median "
        f"of the fixed matrices; of the published ranges, {ranges} do. With fresh matrices the range is "
        f"wider than the published one in {above} of {len(common)} cells. No reading of appendix B "
        f"that gives the published ranges is offered here. Over all targets and both orders of "
        f"training the median ratio is off by at most {off:.1%} at order 2 and {worst:.1%} at order 3."
    )


def headline(fresh: dict[str, Any]) -> str:
    """Median ratio and share of wrong signs at the shortest and the longest window, first time."""
    cells = _swap_cells(fresh)
    short, long = (
        (fresh["times"][0], dt, "L", "12") for dt in (min(fresh["windows"]), max(fresh["windows"]))
    )
    return (
        f"the observed excess is {cells[*short, 2]['median']:.3f} of the predicted one at "
        rf"$\Delta t = {short[1]:g}$ and {cells[*long, 2]['median']:.3f} at $\Delta t = {long[1]:g}$ "
        f"(order 3: {cells[*long, 3]['median']:.3f}), where {cells[*long, 2]['share']:.1%} of the "
        "signs are wrong"
    )


def signs(fresh: dict[str, Any], fixed: dict[str, Any]) -> Table:
    """How often the predicted sign is wrong, in each cell of Table 1."""
    one, many = _swap_cells(fresh), _swap_cells(fixed)
    rows = []
    for t, dt in _grid(fresh):
        row = [f"{t:g}", f"{dt:g}"]
        row += [_share(one[t, dt, "L", "12", order]) for order in (2, 3)]
        for order in (2, 3):
            failures = many[t, dt, "L", "12", order]["sign_failures"]
            total = sum(failures) / (fixed["draws"] * len(failures))
            worst = max(failures) / fixed["draws"]
            row.append(f"{total:.2%} (worst {worst:.1%})".replace(" ", NBSP))
        rows.append(tuple(row))
    return Table(
        ("$t$", r"$\Delta t$", "order 2", "order 3", "order 2", "order 3"),
        tuple(rows),
        "Sign failures: share of draws with the wrong predicted sign, target $L$, domain 1 first.",
        f"Fresh matrices: exact {fresh['level']:.0%} interval (Clopper–Pearson) of {fresh['draws']} "
        f"independent draws. Fixed matrices: all {fixed['matrices']} × {fixed['draws']} draws, and the "
        "worst draw of the matrices; draws that share their matrices are not independent, so no interval "
        "is given.",
        (("", 2), ("fresh matrices", 2), ("fixed matrices", 2)),
    )


def full(fresh: dict[str, Any]) -> Table:
    """Every target and both orders of training, fresh matrices."""
    cells = _swap_cells(fresh)
    kinds = list(dict.fromkeys((cell["target"], cell["training"]) for cell in fresh["cells"]))
    rows = [
        (
            {"L": "$L$", "L1": "$L_1$", "L2": "$L_2$"}[target],
            training,
            f"{t:g}",
            *(
                _ratio_and_failures(cells[t, dt, target, training, order])
                for order in (2, 3)
                for dt in fresh["windows"]
            ),
        )
        for target, training in kinds
        for t in fresh["times"]
    ]
    windows = tuple(rf"$\Delta t = {dt:g}$" for dt in fresh["windows"])
    return Table(
        ("target", "training", "$t$", *windows, *windows),
        tuple(rows),
        "All targets and both orders of training, fresh matrices: median ± 90–10 range / sign failures.",
        f"{fresh['draws']} draws in each cell; “12” trains domain 1 first.",
        (("", 3), ("prediction of order 2", len(windows)), ("prediction of order 3", len(windows))),
    )


def many_domains(result: dict[str, Any]) -> Table:
    """Ratio and sign failures at every window, for the mean of all losses and for the first."""
    cells = {
        tuple(cell[key] for key in ("domains", "T", "target", "order")): cell for cell in result["cells"]
    }
    rows = [
        (
            str(domains),
            {"L": "mean", "L1": "$L_1$"}[target],
            f"{T:g}",
            *(
                text
                for order in (2, 3)
                for text in (
                    _ratio(cells[domains, T, target, order]),
                    _share(cells[domains, T, target, order]),
                )
            ),
        )
        for domains in result["domain_counts"]
        for target in ("L", "L1")
        for T in result["spans"]
    ]
    return Table(
        ("$K$", "target", "$T$", "ratio", "wrong sign", "ratio", "wrong sign"),
        tuple(rows),
        "Random schedules: median ± 90–10 range of observed over predicted, and share of wrong signs.",
        f"Exact {result['level']:.0%} intervals of {result['draws']} independent draws.",
        (("", 3), ("order 2", 2), ("order 3", 2)),
    )


def breakdown(result: dict[str, Any]) -> str:
    """Where the local prediction stops being of use, and where order 3 is worse than order 2."""
    sentences = []
    for domains in result["domain_counts"]:
        cells = {
            (cell["T"], cell["order"]): cell
            for cell in result["cells"]
            if cell["domains"] == domains and cell["target"] == "L"
        }
        good = [T for T in result["spans"] if cells[T, 2]["high"] <= 0.05]
        worse = [T for T in result["spans"] if cells[T, 3]["share"] > cells[T, 2]["share"]]
        last = max(result["spans"])
        sentences.append(
            f"With $K = {domains}$ the sign at order 2 is wrong in less than 5% (upper limit) "
            + (f"up to $T = {max(good):g}$" if good else "at no window")
            + f", and in {cells[last, 2]['share']:.0%} at $T = {last:g}$, where the median ratio is "
            f"{cells[last, 2]['median']:.2g}; "
            + (
                f"order 3 has more wrong signs than order 2 at {_listed(worse)}."
                if worse
                else "order 3 is never worse."
            )
        )
    return " ".join(sentences)


def _printed() -> dict[tuple[float, float], tuple[float, float]]:
    table = published()["table1"]
    return {
        (row["t"], dt): (median, spread)
        for row in table["rows"]
        for dt, median, spread in zip(table["dt"], row["median"], row["range"], strict=True)
    }


def _swap_cells(result: dict[str, Any]) -> Cells:
    return {
        tuple(cell[key] for key in ("t", "dt", "target", "training", "order")): cell
        for cell in result["cells"]
    }


def _grid(result: dict[str, Any]) -> list[tuple[float, float]]:
    return [(t, dt) for t in result["times"] for dt in result["windows"]]


def _within(value: float, values: list[float]) -> bool:
    return min(values) <= value <= max(values)


def _ratio(cell: dict[str, Any]) -> str:
    return _with_range(cell["median"], cell["range"])


def _ratio_and_failures(cell: dict[str, Any]) -> str:
    return f"{_ratio(cell)}{NBSP}/{NBSP}{cell['sign_failures']}"


def _with_range(median: float, spread: float) -> str:
    return f"{median:.3f}{NBSP}±{NBSP}{spread:.3f}".replace("-", "−")


def _in_two(text: str) -> str:
    """Let a narrow page set median and range on two lines."""
    return text.replace(f"{NBSP}±", " ±")


def _span(values: list[float]) -> str:
    return f"{min(values):.3f}{NBSP}…{NBSP}{max(values):.3f}"


def _share(cell: dict[str, Any]) -> str:
    return f"{cell['share']:.1%} [{cell['low']:.1%}, {cell['high']:.1%}]".replace(" ", NBSP)


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"$T = {value:g}$" for value in values)
