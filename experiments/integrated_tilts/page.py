"""Report blocks of the study, a pure function of its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commute_verify.report import Block, Figure, Heading, Paragraph, Table
from experiments.integrated_tilts import plots
from experiments.integrated_tilts.statistics import LAST, PREDICTOR, of_every_size
from experiments.optimizer_windows import tables
from experiments.words import listed

COMMAND = "Made by `python -m experiments`."
FULL = "Committed, made by `python -m experiments.integrated_tilts --out OUT`."
OTHERS = "Committed, made by `python -m experiments.integrated_tilts.sizes --out OUT`."
SEEN = (
    " Seeds were added, and points at $k$ = 20, after first figures had been seen, which missed the aims: "
    "at $k$ = 20 those of the first half of the seeds. What the second says by itself stands below."
)
HEADS = ("cases", "resolved", "right", "ratio", "answered", "answered: right", "last")


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    studies = [best(results)]
    if _with_sizes(results):
        studies += results["sizes"]["sizes"]
    told = of_every_size(studies)["all"]["predictors"][PREDICTOR]
    right = told["answered_right"]
    return (
        "Integrated at Gauss points from batches that no run has seen, it answers "
        f"{told['answered_of_all']} of {told['cases']} tilts and targets, and of the answers that can be "
        f"checked {right['count'] if right else 0} of {told['answered']} have the right sign."
    )


def best(results: dict[str, Any]) -> dict[str, Any]:
    """The larger study of those that are there."""
    chosen: dict[str, Any] = results.get("full", results["small"])
    return chosen


def _with_sizes(results: dict[str, Any]) -> bool:
    """Whether tilts of other sizes stand beside the full study."""
    return {"full", "sizes"} <= results.keys()


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each part."""
    result = best(results)
    made = FULL if "full" in results else COMMAND
    level = result["settings"]["level"]
    return [
        Heading("Tilts of AdamW windows at Gauss points"),
        Paragraph(_how(result) + (SEEN if "full" in results else "")),
        tables.goals(result["goals"]),
        Figure(
            "integrated-tilts",
            plots.scatter(result, "integrated-tilts"),
            "Observed against predicted excess, with standard errors over seeds of batches: filled where the "
            f"prediction is answered, open where it abstains. The line is where both are equal. {made}",
            "Observed against predicted excess of every tilt and target, close to the diagonal.",
        ),
        _table(
            result["lengths"],
            ("$k$",),
            lambda key: (str(key[0]),),
            f"By the steps of a stage. {made}",
            f"Exact {level:.0%} intervals. Ratios are observed / predicted: the median, and the 10th to 90th "
            "percentile. Cases that share runs are not independent, and intervals do not know it.",
        ),
        _table(
            result["cells"],
            ("lr", "from step", "tilt"),
            lambda key: (f"{key[0]:g}", str(key[1]), f"{key[2]} before {key[3]}"),
            "By where the window starts, and the pair that is tilted.",
        ),
        _table(
            result["targets"],
            ("target",),
            lambda key: (str(key[0]),),
            "By target: one of the two domains, another one, or the mixture.",
        ),
        Paragraph(_abstained(result)),
        _halves(result),
        _alone(result),
        _prices(result),
        *_sizes(results),
        *_small(results),
    ]


def _how(result: dict[str, Any]) -> str:
    held, model = result["settings"], result["model"]
    lengths, observed, predicted, points = _columns(held)
    return (
        f"A GPT-2 of {model['layers']} layers and width {model['width']} on four synthetic languages is "
        f"trained by AdamW as in “Windows of AdamW”, {model['rows']} sequences of every domain a step. A "
        f"tilt by {held['delta']:g} over two stages of $k$ steps is held against the same tilt in the other "
        "order, without a common tail, each in both orders of the stages' batches. For "
        f"$k$ = {lengths} it is observed on {observed} seeds of batches and predicted from "
        f"{predicted} others, as `predict_excess_loss` does it with `replicates=` and `exchange=k`: "
        f"the first variation along the run, integrated at {points} Gauss points. Its verdict is on "
        "the mean over replicates: their slopes must explain their losses within a tenth, and the sign must "
        f"hold at the level of {1 - held['level']:.2g}. An observed mean counts as resolved "
        "at the same level."
    )


def _columns(held: dict[str, Any]) -> list[str]:
    """Steps of a stage, seeds observed and predicted from, and points, each in a sentence."""
    return [listed(told[key] for told in held["counts"]) for key in ("k", "observed", "predicted", "points")]


def _table(
    cells: list[dict[str, Any]],
    heads: tuple[str, ...],
    show: Callable[[Any], tuple[str, ...]],
    caption: str,
    note: str = "",
) -> Table:
    rows = []
    for cell in cells:
        told = cell["predictors"][PREDICTOR]
        rows.append(
            (
                *show(cell["key"]),
                str(cell["cases"]),
                str(cell["resolved"]),
                tables.right(told, "right"),
                tables.ratio(told),
                f"{told['answered_of_all']} of {told['cases']}",
                tables.right(told, "answered_right"),
                tables.right(cell["predictors"].get(LAST), "right", plain=True),
            )
        )
    runs = (("", len(heads) + 2), ("trajectory at Gauss points", 4), ("last wins", 1))
    return Table((*heads, *HEADS), tuple(rows), caption, note, runs)


def _halves(result: dict[str, Any]) -> Table:
    """What each half of the predicted seeds says by itself."""
    rows = []
    for first, second in zip(result["halves"][::2], result["halves"][1::2], strict=True):
        row = [str(first["k"])]
        for half in (first, second):
            ratio = "–" if half["ratio"] is None else f"{half['ratio']:.2f}"
            row += [str(half["seeds"]), f"{half['right']} of {half['resolved']}", ratio]
        rows.append(tuple(row))
    return Table(
        ("$k$", *("seeds", "right", "ratio") * 2),
        tuple(rows),
        "The same from each half of the predicted seeds: right signs of resolved cases, and the median of "
        "observed over predicted.",
        "",
        (("", 1), ("first half", 3), ("second half", 3)),
    )


def _alone(result: dict[str, Any]) -> Table:
    """What a single replicate answers, which has no standard error to tell luck by."""
    rows = []
    for told in result["alone"]:
        shown = told["interval"]
        signs = f"{told['right']} of {told['judged']}"
        if shown:
            signs += f", {shown['share']:.0%} [{shown['low']:.0%}, {shown['high']:.0%}]"
        rows.append((str(told["k"]), f"{told['answered']} of {told['cases']}", signs))
    right, judged = (sum(told[key] for told in result["alone"]) for key in ("right", "judged"))
    return Table(
        ("$k$", "answered", "answered: right"),
        tuple(rows),
        "The same replicates one by one, as `replicates=1` takes them: what one answers is of its own "
        f"batches, and of others its sign was right in {right} of {judged} cases.",
        "All replicates are held against the same observed means, so that they are not independent.",
    )


def _prices(result: dict[str, Any]) -> Table:
    """What a prediction costs beside observing the same tilt on spare batches."""
    rows = []
    for told in result["settings"]["counts"]:
        k, seeds = told["k"], told["predicted"]
        steps = next(row["training_steps"] for row in result["rows"] if row["k"] == k)
        runs = 2 * 2 * 2 * k * seeds
        rows.append((str(k), str(seeds), f"{steps:,.0f}", f"{runs:,}", f"{steps / runs:.0f}"))
    return Table(
        ("$k$", "sets of batches", "predicted", "run", "predicted / run"),
        tuple(rows),
        "Training steps for one tilt and all targets: predicted, or run in both orders of the stages and of "
        "their batches on as many sets.",
        "For one schedule, running it on spare batches is cheaper at every length, whatever the number of "
        "domains; what sweeps give besides is what every step and domain does to the loss.",
    )


def _abstained(result: dict[str, Any]) -> str:
    """How many abstain, on what ground, and how the answers that are wrong came out."""
    silent = [row for row in result["rows"] if not row["answered"]]
    unsure = [row for row in silent if "p-value" in row["verdict"]]
    wrong = [
        row
        for row in result["rows"]
        if row["answered"]
        and row["p"] < 1 - result["settings"]["level"]
        and row["observed"] * row["predicted"] < 0
    ]
    named = "; ".join(
        f"{row['pair'][0]} before {row['pair'][1]}, k = {row['k']}, target {row['target']}: predicted "
        f"{1e3 * row['predicted']:+.2g}, observed {1e3 * row['observed']:+.2g} ± "
        f"{1e3 * row['observed_stderr']:.1g} thousandths of a nat"
        for row in wrong
    )
    return (
        f"It abstains from {len(silent)} of {len(result['rows'])} cases, from {len(unsure)} because the "
        f"replicates do not settle the sign and from {len(silent) - len(unsure)} because their slopes do not "
        f"explain their losses. Answers whose observed sign is another one: {named or 'none'}."
    )


def _sizes(results: dict[str, Any]) -> list[Block]:
    """Smaller and larger tilts, alone and together with those above."""
    if not _with_sizes(results):
        return []
    others = results["sizes"]["sizes"]
    whole = of_every_size([results["full"], *others])
    above = f"{results['full']['settings']['delta']:g}"
    deltas = [f"{told['settings']['delta']:g}" for told in others]
    return [
        Heading("Smaller and larger tilts", 3),
        Paragraph(
            "The same with other sizes of a tilt, each on batches of its own. Seeds and points were settled "
            "before these ran. No weight falls below 0, so that large tilts are those of the heavier domains."
        ),
        *(Paragraph(_counted(told)) for told in others),
        tables.goals(whole["goals"]),
        _table(
            [*whole["sizes"], whole["all"]],
            ("tilt",),
            lambda key: (str(key[0]) if key[0] == "all" else f"{key[0]:g}",),
            f"By the size of the tilt, with those of {above} from above. {OTHERS}",
        ),
        _table(whole["lengths"], ("$k$",), lambda key: (str(key[0]),), "All sizes, by the steps of a stage."),
        *(
            _table(
                told["lengths"],
                ("$k$",),
                lambda key: (str(key[0]),),
                f"Tilts of {delta} alone. {_abstained(told)}",
            )
            for delta, told in zip(deltas, others, strict=True)
        ),
    ]


def _counted(result: dict[str, Any]) -> str:
    """How often tilts of one size are observed and predicted, and where from."""
    held, model = result["settings"], result["model"]
    lengths, observed, predicted, points = _columns(held)
    cells = {(row["start"], *row["pair"]): None for row in result["rows"]}
    places = listed(
        f"{first} before {second} from step {model['starts'][start][1]} at lr {model['starts'][start][0]:g}"
        for start, first, second in cells
    )
    return (
        f"Tilts of {held['delta']:g}: {places}; for $k$ = {lengths} observed on {observed} "
        f"seeds and predicted from {predicted} others at {points} points."
    )


def _small(results: dict[str, Any]) -> list[Block]:
    if "full" not in results:
        return []
    small = results["small"]
    return [
        Heading("The same at a small size", 3),
        Paragraph("What this command ran again; it shows that the way from training to tables is whole."),
        _table(small["lengths"], ("$k$",), lambda key: (str(key[0]),), f"A small run. {COMMAND}"),
    ]
