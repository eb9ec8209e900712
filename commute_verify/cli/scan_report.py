"""A scan in words, as a table, a page and plain data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill

from commute_verify.cli.files import write
from commute_verify.cli.scan_figure import draw
from commute_verify.cli.series import Scanned, record
from commute_verify.cli.verdict import clearest
from commute_verify.criterion import Violation
from commute_verify.criterion.rendering import columns
from commute_verify.report import Block, Document, Figure, Heading, Paragraph, Table, literal, to_html
from commute_verify.report.figures import style, svg

Weights = dict[str, float] | None
WIDTH = 100
HEAD = ("step", "target", "first", "then", "gain per area", "stderr", "p", "resolved")


def rows(series: Sequence[Scanned]) -> list[tuple[str, ...]]:
    """The clearest pair of every target at every checkpoint."""
    found = []
    for one in series:
        effect = one.effect
        for target in effect.targets:
            first, later = clearest(effect, target)
            answer = effect.prefer_first(first, later, target)
            i, j = effect.domains.index(first), effect.domains.index(later)
            told = (answer.excess_per_area, effect.stderr[target][i, j], answer.p_value)
            numbers = tuple(f"{number:.3g}" for number in told)
            found.append((str(one.step), target, first, later, *numbers, "yes" if answer.resolved else "no"))
    return found


def table(series: Sequence[Scanned], weights: Weights) -> list[str]:
    """What was found in sentences, an empty line, and the table."""
    said = (fill(sentence, WIDTH, subsequent_indent="  ") for sentence in sentences(series, weights))
    return [*said, "", *columns([HEAD, *rows(series)])]


def sentences(series: Sequence[Scanned], weights: Weights) -> list[str]:
    """For each target what to train last and when, and when the schedule was furthest from optimal."""
    found = [_order(series, target) for target in series[0].effect.targets]
    if weights is not None:
        given = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        found += [_distance(series, target, weights, given) for target in series[0].effect.targets]
    return found


def _order(series: Sequence[Scanned], target: str) -> str:
    """Runs of checkpoints that agree on the clearest pair."""
    told = []
    for (last, resolved), group in groupby(series, key=lambda one: _says(one, target)):
        held = list(group)
        told.append(f"{last} last {_steps(held)}" if resolved else f"not resolved {_steps(held)}")
    return f"For the {target} loss: {'; '.join(told)}."


def _says(one: Scanned, target: str) -> tuple[str, bool]:
    first, later = clearest(one.effect, target)
    resolved = one.effect.prefer_first(first, later, target).resolved
    return (later if resolved else "", resolved)


def _steps(held: Sequence[Scanned]) -> str:
    if len(held) == 1:
        return f"at step {held[0].step}"
    return f"at steps {held[0].step} to {held[-1].step}"


def _distance(series: Sequence[Scanned], target: str, weights: dict[str, float], given: str) -> str:
    """Where Corollary 3.2(b) is violated, and where most."""
    worst: list[tuple[Scanned, Violation]] = []
    for one in series:
        found = [violation for violation in one.effect.optimality(weights) if violation.target == target]
        if found:
            worst.append((one, max(found, key=lambda violation: violation.value)))
    if not worst:
        return (
            f"At weights {given} no tilt is resolved to lower the {target} loss at any of these checkpoints."
        )
    at, most = max(worst, key=lambda pair: pair[1].value)
    where = f"step{'s' * (len(worst) > 1)} {', '.join(str(one.step) for one, _ in worst)}"
    return (
        f"At weights {given} the schedule was not optimal for the {target} loss at {len(worst)} of "
        f"{len(series)} checkpoints ({where}), and furthest from it at step {at.step}: {most.later} "
        f"later and {most.earlier} earlier, a tilt of δ for ε, would have gained {most.value:.3g} δε² (± "
        f"{most.stderr:.2g})."
    )


def names(series: Sequence[Scanned]) -> list[str]:
    """``effect_STEP``, and ``effect_STEP-2`` for a second checkpoint of the same step."""
    seen: Counter[int] = Counter()
    found = []
    for one in series:
        seen[one.step] += 1
        found.append(f"effect_{one.step}" + f"-{seen[one.step]}" * (seen[one.step] > 1))
    return found


def publish(series: Sequence[Scanned], weights: Weights, out: Path) -> None:
    """scan.json, scan.svg, scan.html, and each effect."""
    with style():
        drawing = svg(draw(series), "scan")
    for one, name in zip(series, names(series), strict=True):
        write(out / f"{name}.json", one.effect.to_json() + "\n")
    write(out / "scan.json", json.dumps(record(series, weights), sort_keys=True, indent=1) + "\n")
    write(out / "scan.svg", drawing)
    write(out / "scan.html", page(series, weights, drawing))


def page(series: Sequence[Scanned], weights: Weights, drawing: str) -> str:
    """The scan as one self-contained page; foreign text is escaped."""
    told = [Paragraph(literal(sentence)) for sentence in sentences(series, weights)]
    figure = Figure(
        "scan",
        drawing,
        "P of each pair along the run, with 95% intervals: above zero the second of a pair belongs first. "
        "Filled where resolved.",
        "P against the step of the checkpoint, a panel for each target and a line for each pair of domains.",
    )
    cells = tuple(tuple(literal(cell) for cell in row) for row in rows(series))
    blocks: list[Block] = [
        *told[1:],
        Heading("Along the run"),
        figure,
        Heading("Checkpoints"),
        Table(
            HEAD, cells, "The clearest pair of each target at each checkpoint; gain in loss per (flow time)²."
        ),
    ]
    return to_html(Document("The order effect along a run", told[0], tuple(blocks)))
