"""The answer of ``commute-verify effect`` as one self-contained page."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from commute_verify.report import (
    Block,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    literal,
    plot_effect,
    to_html,
)
from commute_verify.report.figures import svg

if TYPE_CHECKING:
    from commute_verify.cli.answer import Answer


def page(found: Answer) -> str:
    """Verdict first, then the pairs as figure and table, then what they rest on; foreign text is escaped."""
    effect = found.measured.effect
    verdict, _, *rest = found.parts
    rows = []
    for target in effect.targets:
        for one, other in combinations(effect.domains, 2):
            answer = effect.prefer_first(one, other, target)
            i, j = effect.domains.index(one), effect.domains.index(other)
            later = other if answer.first == one else one
            numbers = (answer.excess_per_area, effect.stderr[target][i, j], answer.p_value)
            told = tuple(f"{number:.3g}" for number in numbers)
            rows.append((literal(target), literal(answer.first), literal(later), *told, str(answer.resolved)))
    table = Table(
        ("target", "first", "then", "gain per area", "stderr", "p", "resolved"),
        tuple(rows),
        "Every pair and target: what the better order gains for each unit of area, in loss per (flow time)².",
    )
    figure = Figure(
        "effect",
        svg(plot_effect(effect), "effect"),
        "P of every pair, with its 95% interval.",
        "A row for each pair of domains, a panel for each target; the dot lies on the side to train first.",
    )
    blocks: list[Block] = [
        *(Paragraph(literal(line)) for line in verdict[1:]),
        Heading("Pairs"),
        figure,
        table,
        Heading("What it rests on"),
        *(Paragraph(literal(line)) for part in rest for line in part),
        Heading("Notes of the estimate"),
        *(Paragraph(literal(note)) for note in effect.notes),
    ]
    title = f"Order effect at {found.measured.checkpoint.name}"
    return to_html(Document(title, Paragraph(literal(verdict[0])), tuple(blocks)))
