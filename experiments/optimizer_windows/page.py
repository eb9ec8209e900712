"""Report blocks of the study of optimizer windows, a pure function of its results."""

from __future__ import annotations

from typing import Any

from commute_verify.criterion.prediction.variation import ALPHA
from commute_verify.report import Block, Figure, Heading, Paragraph
from experiments.optimizer_windows import plots, tables
from experiments.words import listed

FULL = "full"
COMMAND = "python -m experiments.optimizer_windows --out OUT"
PUBLISHED = (
    "Published before: 98, 73 and 65% of the signs at 1, 20 and 50 steps without AdamW; with AdamW the plain "
    "bracket had 47 to 57%, which is chance (Sweeney, 2026)."
)


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    result = results.get(FULL) or results["small"]
    told = result["tilts"][0]["predictors"]
    own, main = told["trajectory, own batches"], told["trajectory"]
    return (
        "On AdamW runs of a small GPT-2 one sweep of the first variation has "
        f"{_share(own['answered_right'])} of the signs of tilts within its reach from the run's own batches, "
        f"and {_share(main['answered_right'])} of those that it answers from other batches and that can be "
        "told from noise."
    )


def blocks(results: dict[str, Any]) -> list[Block]:
    """The committed study where there is one, and the small one that every report runs."""
    found: list[Block] = [Heading("Windows of AdamW: what predictions are worth where people train")]
    if FULL in results:
        found += _study(results[FULL], "optimizer-windows", f"Committed, made by `{COMMAND}`.")
    found += _study(
        results["small"], "optimizer-windows-small", "Made by `python -m experiments`.", small=True
    )
    return found


def _study(result: dict[str, Any], name: str, origin: str, *, small: bool = False) -> list[Block]:
    level = result["settings"]["level"]
    if small:
        return [
            Heading("The same at a small size", 3),
            Paragraph(
                f"What this command ran again: {_sizes(result)} Its figures mean little; it shows that the "
                "way from training to tables is whole."
            ),
            tables.lengths(
                result["tilts_by_length"],
                level,
                f"Tilts of 0.15, a small run. {origin}",
                _note(level),
            ),
        ]
    return [
        Paragraph(_sizes(result)),
        Paragraph(
            "Each step of a window trains on one batch of every domain, weighed, by `torch.optim.AdamW` with "
            "weight decay. A tilt trains more of one domain for $k$ steps and then as much more of another, "
            "and is held against the same tilt the other way round: which of the two should come first? Both "
            "run on the same batches, and again with the batches of the two stages exchanged, so that the "
            "luck of which batch falls into which stage cancels at first order (`exchange=` of the "
            "predictors). What is observed is the mean over both and over seeds of batches, and it counts as "
            "resolved where it differs from 0 at the level of 0.05 (Student). Predictions from the run's own "
            "batches know what the run will see, and are held against that very run, all of them; those from "
            "disjoint batches do not, as before a training run, and are held against the resolved means."
        ),
        Paragraph(_noise(result)),
        tables.goals(result["goals"]),
        Paragraph(
            _by_chance(result["tilts_by_length"]) + _not_run(result["settings"], result["tilts_by_length"])
        ),
        Figure(
            f"{name}-signs",
            plots.signs(result, f"{name}-signs"),
            f"Tilts of 0.15: share of right signs against $k$, with exact {level:.0%} intervals of the "
            f"trajectory's. Dotted: chance; dashed: the aim. {origin}",
            "Share of right signs against the steps of a stage, one line for each predictor; above without a "
            "common tail, below with one.",
        ),
        tables.lengths(result["tilts_by_length"], level, f"Tilts of 0.15 by length. {origin}", _note(level)),
        Paragraph(PUBLISHED),
        tables.strictness(result["strictness"], level, origin),
        tables.groups(
            result["tilts_by_size"],
            ("δ", "tail"),
            lambda key: (f"{key[0]:g}", _tail(key[1])),
            "Tilts of all lengths by size. One sweep along constant weights serves them all; beyond 0.2 it "
            "abstains.",
        ),
        tables.groups(
            result["tilts_by_target"],
            ("target", "tail"),
            lambda key: (key[0], _tail(key[1])),
            "Tilts of 0.15 by target: one of the two domains, another one, or the mixture.",
        ),
        tables.groups(
            result["tilts_by_start"],
            ("lr", "from step", "tail"),
            lambda key: (f"{key[0]:g}", str(key[1]), _tail(key[2])),
            "Tilts of 0.15 by where the window starts.",
        ),
        *_dear(result, origin),
        *_validity(result, name, origin),
        *_prices(result, origin),
    ]


def _dear(result: dict[str, Any], origin: str) -> list[Block]:
    tilt = (
        ("trajectory, integrated, own batches", "integrated, own batches"),
        ("trajectory, integrated", "integrated, disjoint"),
        ("frozen-curvature", "frozen at the start"),
        ("local-3", "order 3"),
        ("memory", "memory"),
    )
    plain = (
        ("local", "local"),
        ("local, preconditioned", "local with D"),
        ("gradient product", "product"),
        ("last wins", "last"),
    )
    return [
        Heading("Predictors that run for each schedule", 3),
        Paragraph(
            "The trajectory integrated at three Gauss points between the two schedules, as "
            '`predictor="auto"` takes it under AdamW: one pair of tilts, both swaps and that tilt against '
            "constant weights, from the last two starts, the pair's own losses and the mixture's; “Tilts of "
            "AdamW windows at Gauss points” has three pairs and starts, and more seeds. Frozen curvature, of "
            'the start alone and as a flow (`freezings=0, dynamics="flow"`), and order 3, with the '
            "optimizer's preconditioner, were asked "
            "for three pairs of tilts and both swaps from every start, the same targets; memory, which has "
            "the optimizer's buffers alone, for every case and target. Columns of a row are therefore not "
            "of the same cases. All go up to the lengths shown."
        ),
        tables.dear(
            result["tilts_by_length"],
            tilt,
            f"Tilts of 0.15 by predictors that cost a run for each schedule. {origin}",
            "Only the cases that they were asked about.",
        ),
        tables.dear(
            result["swaps_by_length"],
            tilt,
            f"Whole swaps of $k$ steps of each domain, one order against the other. {origin}",
            "A swap is a long way from the mixture: the integrated trajectory says by its verdict where it "
            "cannot follow.",
        ),
        tables.dear(
            result["swaps_by_length"],
            plain,
            "The same swaps by the local criterion, plain and with Adam's preconditioner, by the product of "
            f"gradients, and by the rule that what is trained last is learnt best. {origin}",
            "",
        ),
        Paragraph(_swap_verdicts(result)),
        Paragraph(_silent(result, tilt[2:])),
        tables.dear(
            result["raises"],
            (*tilt[:2], tilt[4], plain[1]),
            f"A tilt of 0.15 against constant weights. {origin}",
            "Here the part that is even in δ counts too: the trajectory has it, the local bracket has not.",
        ),
    ]


def _validity(result: dict[str, Any], name: str, origin: str) -> list[Block]:
    return [
        Heading("How far each predictor reaches", 3),
        Paragraph(
            "For SGD, momentum and AdamW in float64, with the same batch at every step, so that nothing is "
            "left but the predictor's own error, and with frozen curvature that takes its models anew on the "
            f"way, unlike in the tables above, under momentum and AdamW {_flow(result['settings'])}; and "
            "last with minibatches, where what is predicted from other batches also has their noise. Below "
            "the dashed line a prediction is good to a tenth, "
            "above the other one it is worth nothing."
        ),
        Figure(
            f"{name}-validity",
            plots.validity(result, f"{name}-validity"),
            "Relative error of a tilt of 0.15 against the length of the window, the median over targets (and "
            f"over cases, in the last panel); errors beyond the axes are drawn at their edge. {origin}",
            "Relative error against the steps of a window, a panel for each optimizer, a line for each "
            "predictor.",
        ),
        tables.swaps(result["validity"], origin),
    ]


def _flow(settings: dict[str, Any]) -> str:
    """How frozen curvature stood for steps with memory: results before ``tail_up_to`` have the flow alone."""
    return "bent to follow their steps" if "tail_up_to" in settings else "as a flow as there"


def _prices(result: dict[str, Any], origin: str) -> list[Block]:
    return [
        Heading("What a prediction costs beside running the branches", 3),
        tables.costs(result["prices"], result["curvature_costs"]),
        Paragraph(
            "One sweep answers for the tilts of all pairs, in both orders and of any size within its reach, "
            "but each target adds products; running them answers for all targets at once. Where runs / sweep "
            f"is below 1 running the branches is cheaper: {_cheaper(result['prices'])}. What replicates and "
            "both orders of batches cost is the same for both: a sweep, or a run of each branch, for each of "
            f"them. {origin}"
        ),
    ]


def _cheaper(prices: dict[str, Any]) -> str:
    """Where running every tilt costs less than the sweep that answers for all of them."""
    found = [
        f"{row['K']} domains and {row['targets']}"
        for row in prices["rows"]
        if (prices["tilts"][str(row["K"])] + 1) * prices["window"] < row["steps"]["sweep"]
    ]
    return "; ".join(found) or "nowhere here"


def _sizes(result: dict[str, Any]) -> str:
    s, starts = result["settings"], result["starts"]
    places = "; ".join(
        f"lr {start['rate']:g} after {start['step']} steps, loss {start['losses'][-1]:.2f}"
        for start in starts
    )
    cases = result["cases"]
    return (
        f"A GPT-2 of {s['layers']} × {s['width']} ({starts[0]['parameters']:,} parameters, float32), "
        f"{len(s['weights'])} synthetic languages with {starts[0]['vocabulary']} words, {s['rows']} rows of "
        f"{s['context']} tokens of each at every step, weights {', '.join(f'{w:g}' for w in s['weights'])}. "
        f"Windows start at: {places}. {s['observed']} observed seeds of batches, {s['disjoint']} disjoint "
        f"ones. {cases['tilt']['all']} tilts, {cases['raise']['all']} against constant weights, "
        f"{cases['swap']['all']} swaps, each target counted."
    )


def _noise(result: dict[str, Any]) -> str:
    told = ", ".join(f"{cell['resolved']} of {cell['all']} {kind}s" for kind, cell in result["cases"].items())
    return (
        f"Resolved are {told}. In the others the luck of the batches moves the loss more than the order "
        "does, so that there is nothing to be right about; they are left out of signs and ratios from "
        "disjoint batches, and count where the share answered is of all. Cases that share runs are not "
        "independent, so that the exact intervals are narrower than they should be."
    )


def _by_chance(cells: list[dict[str, Any]]) -> str:
    """The windows whose resolved tilts are no more than would be resolved if no order mattered."""
    few = [cell for cell in cells if cell["resolved"] <= ALPHA * cell["cases"]]
    if not few:
        return ""
    told = _windows([cell["key"] for cell in few])
    return f"No more tilts of 0.15 are resolved than chance alone would resolve, at {told}: disregard these. "


def _not_run(settings: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    """What the grid of lengths, starts and sizes leaves out, and the aims therefore say nothing of."""
    long = [k for k in settings["lengths"] if k >= settings["long_from"]]
    told = [f"$k$ = {listed(long)} from the other starts"] if long else []
    swept = [cell["key"] for cell in cells if "trajectory, integrated" not in cell["predictors"]]
    if swept:
        told.append(f"points between the two schedules at {_windows(swept)}")
    told.append(
        "points between them for tilts of other sizes than 0.15, whose answers are those of one sweep alone"
    )
    return f"Not run, and not in the aims: {'; '.join(told)}. A dash is a case that was not asked."


def _windows(keys: list[list[int]]) -> str:
    return listed(f"$k$ = {k}, tail {_tail(tail)}" for k, tail in keys)


def _swap_verdicts(result: dict[str, Any]) -> str:
    found = result["swaps"][0]["predictors"].get("trajectory, integrated")
    if not found:
        return "No swap was asked of the trajectory."
    answered = found["answered_of_all"]
    right = _share(found["answered_right"]) if found["answered_right"] else "none to be judged"
    why = "; ".join(f"{count} times {ground}" for ground, count in result["swap_grounds"].items())
    return (
        f"Of {found['cases']} swaps and targets the trajectory from {result['settings']['dear_seeds']} "
        f"disjoint seeds of batches answers {answered} ({answered / found['cases']:.0%}); right of those "
        f"resolved among them: {right}. What it abstains for: {why or 'nothing'}."
    )


def _silent(result: dict[str, Any], predictors: tuple[tuple[str, str], ...]) -> str:
    """How many tilts and swaps the other predictors answer, by their own verdicts."""
    told = []
    for name, label in predictors:
        found = [cells[0]["predictors"].get(name) for cells in (result["tilts"], result["swaps"])]
        answers = sum(cell["answered_of_all"] for cell in found if cell)
        told.append(f"{label} {answers} of {sum(cell['cases'] for cell in found if cell)}")
    return f"Of the tilts and swaps that they were asked about the others answer: {', '.join(told)}."


def _share(found: dict[str, Any] | None) -> str:
    return "none" if not found else f"{found['share']:.0%} [{found['low']:.0%}, {found['high']:.0%}]"


def _tail(tail: int) -> str:
    return str(tail) if tail else "none"


def _note(level: float) -> str:
    return (
        f"Right signs with exact {level:.0%} intervals; ratios are observed over predicted, the median and "
        "the 10th to 90th percentile. Resolved: observed means that differ from 0. The trajectory is one "
        "sweep along constant weights; “answered” has its verdict's shares. “With D”: the local criterion "
        "with Adam's preconditioner; “product”: the likelier gradient last; “last”: what is trained last is "
        "learnt best, on the two domains' own losses."
    )
