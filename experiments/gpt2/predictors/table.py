"""The ladder's predictors against a study's interventions: signs and sizes, as blocks of a report.

Cells are "orders" right after the window: half of L(θ_12) − L(θ_21) for both languages, as in the tables of
the comparison. The local predictors are the study's own estimates of the bracket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from commute_verify.criterion.prediction.local import REACH
from commute_verify.report import Block, Heading, Paragraph, Table
from experiments.gpt2.comparison.agreement import Share, ratios
from experiments.gpt2.comparison.cases import Case, select
from experiments.gpt2.comparison.compare import Comparison
from experiments.gpt2.comparison.words import NBSP, rough, share_cell
from experiments.words import listed

NAMES = {
    "plain": "local, plain",
    "adam": "local, Adam",
    "local-3": "local, order 3",
    "memory": "memory",
    "frozen-curvature": "frozen curvature",
    "trajectory": "trajectory, one sweep",
    "integrated": "three points, losses weighted",
    "drawn": "three points, batches drawn",
}
"""Predictors, and what a table calls them."""
LOCAL = ("plain", "adam")
ALONE = ("trajectory",)
"""Of a single replicate, by which the library answers for no sign, whatever an older file says."""
AIM = 0.95
"""Of what is answered, how much should be right."""

Key = tuple[str, int, int, float, str]
"""Weights, checkpoint, Δt, Δw and target."""


@dataclass(frozen=True)
class Cell:
    """An observed excess beside one prediction; no value where the predictor came to no number."""

    window: int
    observed: float
    resolved: bool
    value: float | None
    answered: bool

    @property
    def right(self) -> bool:
        """Whether the predicted sign is the observed one."""
        return self.value is not None and self.value * self.observed > 0


def cells(comparison: Comparison, predictions: Mapping[str, Any]) -> dict[str, list[Cell]]:
    """For every predictor the cells that it was asked for."""
    said = _said(predictions)
    found: dict[str, list[Cell]] = {name: [] for name in NAMES}
    held = comparison.results
    for case in select(comparison.cases, kind="orders", tail=False, targets=held.domains):
        at = case.at
        weights = _weights(held.runs[at.run].weights)
        for name in NAMES:
            if name in LOCAL:
                found[name].append(_local(comparison, case, name))
                continue
            answer = said.get(name, {}).get((weights, at.step, at.window, at.delta, at.target))
            if answer is None:
                continue
            found[name].append(
                Cell(
                    at.window,
                    case.observed.value,
                    case.observed.resolved,
                    answer["value"],
                    bool(answer["answered"]) and name not in ALONE,
                )
            )
    return found


def blocks(comparison: Comparison, predictions: Mapping[str, Any]) -> list[Block]:
    """The heading, what was asked, and a row for every predictor and window."""
    found = cells(comparison, predictions)
    settings = predictions["settings"]
    there, planned = len(predictions["pieces"]), predictions["planned"]
    part = "" if there == planned else f" {there} of {planned} pieces are there; the rest was not run."
    return [
        Heading("Every predictor of the ladder", 4),
        Paragraph(
            "The same interventions, order against order right after the window, predicted from each "
            "checkpoint on batches that no training of the study saw. “Local” is the bracket, as above. "
            f"Order 3, under Adam's preconditioner, takes {settings['local']} sequences of each language. "
            "Memory takes the optimizer's buffers alone, frozen curvature the domains' quadratic models of "
            f"the checkpoint, under Adam's preconditioner ({settings['frozen']} sequences of each language, "
            f"at most {settings['products']} products a stage, a flow: "
            '`freezings=0, dynamics="flow"`). The trajectory is '
            "the first variation along the run to come: one sweep of one replicate for all tilts, by which "
            "the library gives values and answers for no sign, as nothing says how much of them is luck; "
            "and, as `predict_excess_loss` takes it since, three points between the two orders, each with "
            "the batches of the two stages in both orders, for windows of at most "
            f"{settings['integrated']} steps. The study draws its batches: more of a language is more of its "
            "sequences. All predictors but the last take as many sequences of a language in every step, and "
            "its weight as that of a loss, whose gradients have other noise; the last takes the numbers of "
            "sequences that the study draws (`drawn_mixture`), for windows of at most "
            f"{settings['drawn']} steps, and was asked when the others had been seen to fail.{part}"
        ),
        table(found),
        Paragraph(words(found)),
    ]


def table(found: Mapping[str, Sequence[Cell]]) -> Table:
    """Signs right, of all cells and of resolved ones, what is answered, and the ratio."""
    rows = []
    for name, words_ in NAMES.items():
        every = found[name]
        windows = sorted({cell.window for cell in every})
        for window in [*windows, None] if len(windows) > 1 else windows:
            here = [cell for cell in every if window in (None, cell.window)]
            rows.append((words_, "all" if window is None else f"{window}", *_row(here)))
    return Table(
        ("predictor", r"$\Delta t$", "all", "resolved", "answered", "right", "ratio"),
        tuple(rows),
        "Which order ends lower for each language: signs right of the cells asked for, of those whose "
        "observed sign is resolved, and of those that the predictor answers; observed over predicted.",
        "Exact 95% intervals (Clopper–Pearson), as if cells were independent, which those of one checkpoint "
        "are not, and all tilts of a window share one sweep of the trajectory. A prediction that comes to no "
        "number counts as wrong. The verdict of “local, plain” knows plain descent only, which this run is "
        "not. Ratio: median [10%, 90%] of the cells with a number.",
        (("", 2), ("signs right", 2), ("its own verdict", 2), ("", 1)),
    )


def _row(here: Sequence[Cell]) -> tuple[str, ...]:
    resolved = [cell for cell in here if cell.resolved]
    answered = [cell for cell in here if cell.answered]
    return (
        share_cell(_right(here)),
        share_cell(_right(resolved)),
        f"{len(answered)}/{len(here)}",
        share_cell(_right(answered)),
        _ratio(here),
    )


def _right(here: Sequence[Cell]) -> Share:
    return Share(sum(cell.right for cell in here), len(here))


def _ratio(here: Sequence[Cell]) -> str:
    told = [(cell.observed, cell.value) for cell in here if cell.value is not None]
    found = ratios([observed for observed, _ in told], [value for _, value in told])
    if found is None:
        return "–"
    low, middle, high = map(rough, found)
    return f"{middle} [{low}, {high}]".replace(" ", NBSP)


def words(found: Mapping[str, Sequence[Cell]]) -> str:
    """The signs of every predictor, and which of them stand by nothing."""
    most = max(len(every) for every in found.values())
    told = [
        f"{NAMES[name]} {sum(cell.right for cell in every)} of {len(every)}"
        for name, every in found.items()
        if every
    ]
    silent = [NAMES[name] for name, every in found.items() if every and not any(c.answered for c in every)]
    return (
        f"Signs right of the cells asked for, at most {most}: {', '.join(told)}. "
        + (f"By their own verdicts {listed(silent)} answer none of them. " if silent else "")
        + _aimed(found)
    ).strip()


def _aimed(found: Mapping[str, Sequence[Cell]]) -> str:
    """How many answers are right where the observed sign is resolved, beside what was aimed at."""
    told = []
    for name, every in found.items():
        judged = [cell for cell in every if cell.answered and cell.resolved]
        if judged:
            right = sum(cell.right for cell in judged)
            met = "met" if right >= AIM * len(judged) else "missed"
            told.append(f"{NAMES[name]} {right} of {len(judged)} ({met})")
    if not told:
        return ""
    return f"Aimed at: {AIM:.0%} right of the answers whose observed sign is resolved; {listed(told)}."


def _local(comparison: Comparison, case: Case, name: str) -> Cell:
    """The bracket's prediction; it is valid where flow time · λ_max is small."""
    at = case.at
    point = comparison.results.runs[at.run].checkpoint(at.step)
    reach = 2 * at.window * point.lr * point.curvature.get(name, float("inf"))
    predicted = case.predicted[name]
    value = None if predicted is None else predicted.value
    return Cell(at.window, case.observed.value, case.observed.resolved, value, reach <= REACH)


def _said(predictions: Mapping[str, Any]) -> dict[str, dict[Key, Mapping[str, Any]]]:
    found: dict[str, dict[Key, Mapping[str, Any]]] = {}
    for piece in predictions["pieces"]:
        for cell in piece["cells"]:
            key = (_weights(piece["weights"]), piece["step"], piece["window"], cell["delta"], cell["target"])
            found.setdefault(piece["predictor"], {})[key] = cell
    return found


def _weights(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weights[name]:g}" for name in sorted(weights))
