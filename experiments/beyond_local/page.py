"""Report blocks of the experiment beyond the local regime, a pure function of its results."""

from typing import Any

from commute_verify.report import Block, Figure, Heading, Paragraph
from experiments.beyond_local import plots, tables

COMMAND = "Made by `python -m experiments`."
FULL = "Made by `python -m experiments.beyond_local --out …`, committed."


def best(results: dict[str, Any]) -> dict[str, Any]:
    """The finest results there are: the committed ones where they are."""
    chosen: dict[str, Any] = results.get("full", results["transformer"])
    return chosen


def sentence(results: dict[str, Any]) -> str:
    """One sentence for the head of a report."""
    result = best(results)
    far = tables.within_a_tenth(result)
    if far is None:
        return "Frozen curvature is nowhere within 10% of a small GPT-2's gradient flow."
    local, frozen = (tables.find(result, far, name) for name in ("local", "frozen-curvature"))
    return (
        rf"In a small GPT-2 at $\Delta t\,\lambda_{{\max}} = {far:g}$ the criterion is off by a factor of "
        f"{1 + local['median_error']:.1f}, frozen curvature by {frozen['median_error']:.1%} (medians), with "
        f"{frozen['right']} of {frozen['count']} signs right."
    )


def blocks(results: dict[str, Any]) -> list[Block]:
    """Everything the report says of this experiment; ``results`` holds a dict for each part."""
    quadratic, result = results["quadratics"], best(results)
    found: list[Block] = [
        Heading("Beyond the local regime"),
        Paragraph(
            "The criterion is the first term of a series in the window's length. Frozen curvature "
            '(`predict_excess_loss(predictor="frozen-curvature")`) replaces each domain\'s loss by its '
            "quadratic model and descends it exactly, whatever the length. On quadratics that is no "
            "approximation at all:"
        ),
        tables.quadratics(quadratic),
        Paragraph(
            "On a GPT-2 in float64 it is one. “Frozen at the start” takes the models of the point where the "
            "window starts; frozen curvature cuts the window into one part, two, four and eight, takes the "
            "models anew in the middle of each, and stops where every target is answered, its excess changed "
            "by at most a tenth. "
            f"{_points(result)} Each window is followed by its gradient "
            f"flow, so closely that no excess changes by more than {result['uncertainty']:.0e} of itself "
            "under looser tolerances and other steps."
        ),
        Figure(
            "beyond-local",
            plots.errors(result, "beyond-local"),
            "Above: median error against the window in units of the largest curvature; the dashed lines are "
            "10% and the mark of 1. Below: share of right signs, with chance dotted. "
            f"{FULL if 'full' in results else COMMAND}",
            "Error of each predictor against the window: the local ones rise early, the models of the start "
            "late, those taken anew stay low; and the share of right signs.",
        ),
        Paragraph(f"{tables.verdict(result)} {tables.prices(result)}"),
        tables.transformer(result),
        tables.kinds(result),
        Paragraph(
            "Cases of one model share its gradients and curvature and are not independent; no interval is "
            "given for their shares."
        ),
    ]
    if "later" in result:
        found += _later(result["later"])
    if "full" in results:
        found.append(Paragraph("The same from this run, one model on a coarse ladder:"))
        found.append(tables.transformer(results["transformer"]))
    return found


def _later(result: dict[str, Any]) -> list[Block]:
    """The same models nearer to their minimum."""
    losses = [loss for point in result["points"] for loss in point["losses"]]
    return [
        Paragraph(
            f"The same nearer to the minimum, at losses of {min(losses):.2g} to {max(losses):.2g} nat a "
            f"token: {_points(result)} {tables.verdict(result)} {tables.prices(result)} {FULL}"
        ),
        tables.transformer(result),
        tables.kinds(result),
    ]


def _points(result: dict[str, Any]) -> str:
    largest = [point["lambda_max"] for point in result["points"]]
    return (
        f"{len(largest)} models, each trained for {result['steps']} steps from its own start, with "
        rf"$\lambda_{{\max}}$ of {', '.join(f'{x:.0f}' for x in largest)}."
    )
