"""Report blocks of planned training, a pure function of its results."""

from __future__ import annotations

from typing import Any

from commute_verify.report import Block, Figure, Heading, Paragraph
from experiments.planned_training import plots, tables
from experiments.planned_training.words import first_line, imbalanced, odd_beside_even, several

COMMAND = "Made by `python -m experiments`."
FULL = "Made by `python -m experiments.planned_training --out …`, committed."


def best(results: dict[str, Any]) -> dict[str, Any]:
    """The larger study of those that are there."""
    chosen: dict[str, Any] = results.get("full", results["training"])
    return chosen


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    return first_line(best(results))


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each part."""
    result = best(results)
    made = FULL if "full" in results else COMMAND
    return [
        Heading("Planned training: does a plan help a small GPT-2?"),
        Paragraph(first_line(result)),
        Paragraph(_how(result)),
        Figure(
            "planned-training",
            plots.every(result, "planned-training"),
            "Excess of the mixture's loss over constant weights at equal tokens: dots are seeds, circles "
            f"means with {result['level']:.0%} intervals. {made}",
            "Excess over constant weights for every planner and rule: near 0 for tilts, far above it for "
            "blocks.",
        ),
        tables.shape(result, "tilt"),
        tables.versus(result, "tilt"),
        Paragraph(odd_beside_even(result)),
        tables.parts(result),
        tables.shape(result, "blocks"),
        tables.versus(result, "blocks"),
        tables.promises(result),
        Paragraph(_descent(result)),
        Heading("Several targets at once", 3),
        Paragraph(several(result)),
        tables.together(result),
        Heading("The imbalanced pair", 3),
        Paragraph(imbalanced(result)),
        tables.two(result),
        *_small(results),
    ]


def _how(result: dict[str, Any]) -> str:
    weights = ", ".join(f"{weight:g}" for weight in result["weights"])
    return (
        f"{result['seeds']} seeds, each with its own four synthetic languages, initialisation and order. "
        f"A GPT-2 of width {result['width']} is trained by AdamW (learning rate {result['rate']:g}) for "
        f"{result['warm']} steps on the weights {weights}, {result['rows']} sequences of every domain in "
        f"each; then {result['steps']} steps are planned. Tilts weigh the losses of the same batches, one of "
        "every domain in every step; blocks deal the same totals of sequences, each domain's in the same "
        "order, and are held against constant weights that are dealt so too. Plans see other sequences: two "
        "windows to train on, and held-out text for the targets; losses are measured on held-out text that "
        f"no plan has seen. Tilts move weights by at most {result['max_tilt']:g} for half of the steps and "
        "back for the rest. The trajectory plans from the first variation along constant weights, the "
        "brackets by `plan_tilt` and `plan_blocks` from P at the checkpoint; rules rank the domains, the "
        f"highest last. “Random” is the mean of {result['randoms']} random orders."
    )


def _descent(result: dict[str, Any]) -> str:
    cell = tables.find(result["cells"], target="mixture", shape="stages", by="descent")
    told = result["descent"]
    return (
        "Descent (`descend`) follows the first variation along schedules of several stages and runs every "
        f"trial on a planning window: {told['accepted']} of {told['trials']} trials were kept, which "
        f"promised {tables.milli(told['promised'])} and brought {tables.milli(told['brought'])} thousandths "
        "of a nat there. On sequences that it had not seen the excess is "
        f"{tables.milli(cell['excess'])}, lower in {cell['lower']} of {result['seeds']} seeds."
    )


def _small(results: dict[str, Any]) -> list[Block]:
    if "full" not in results:
        return []
    return [
        Paragraph(f"The same from this run, {results['training']['seeds']} seeds of a shorter training:"),
        tables.shape(results["training"], "tilt"),
    ]
