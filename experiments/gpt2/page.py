"""Report blocks of the GPT-2 experiment, a pure function of its results.

``results`` maps the name of a preset to its results.json. The smoke preset is a trial of the machinery: it is
shown in brief beside a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commute_verify.report import Block, Figure, Heading, Paragraph, Table
from experiments.gpt2 import agreement_tables, figures, reanalysis, sentences, tables, verdict_tables
from experiments.gpt2.comparison import Comparison, compare
from experiments.gpt2.comparison.findings import run_of
from experiments.gpt2.parts import PREDICTORS
from experiments.gpt2.predictors import table as predictor_table

Results = Mapping[str, Any]

BRIEF = "smoke"
"""The preset that only shows that everything runs."""


def glance(results: Results) -> list[Block]:
    """Table 2 in the paper's layout, for the head of a report."""
    name, comparison = _main(results)
    table = tables.commutation(comparison, balanced=True)
    heading = Heading(f"Table 2, printed and measured (preset {name})")
    return [] if table is None else [heading, table]


def sentence(results: Results) -> str:
    """One sentence for the head of a report."""
    name, comparison = _main(results)
    return (
        f"On GPT-2 in two languages (preset {name}) {sentences.headline(comparison)}; "
        f"{sentences.verdicts(comparison)}."
    )


def blocks(results: Results) -> list[Block]:
    """Everything the report says of this experiment."""
    shown: list[Block] = [
        Heading("GPT-2 in two languages"),
        Paragraph(
            "§4.2 and §4.3 of the paper: from checkpoints of a run with constant weights, more of one "
            "language first and as much more of the other later, against the constant weights, on the same "
            "batches of each language. An excess loss is what that changes; the brackets predict it from the "
            "checkpoint. The plain bracket is the paper's; the Adam bracket takes the fields that Adam's "
            "state at the checkpoint would follow. Neither knows momentum, noise, or what happens within the "
            "window."
        ),
    ]
    main, _ = _main(results)
    for name, result in _studies(results).items():
        comparison = compare(result)
        shown += [Heading(f"Preset {name}", 3), Paragraph(sentences.about(comparison))]
        shown += study(comparison, name) if name == main else brief(comparison, name)
        if f"{name}{PREDICTORS}" in results:
            shown += predictor_table.blocks(comparison, results[f"{name}{PREDICTORS}"])
    return [*shown, *reanalysis.blocks()]


def study(comparison: Comparison, name: str) -> list[Block]:
    """Everything about one preset."""
    return [
        *_paper(comparison, name),
        *_agreement(comparison, name),
        Heading("The paper's findings", 4),
        verdict_tables.findings(comparison),
        *_beyond(comparison),
    ]


def brief(comparison: Comparison, name: str) -> list[Block]:
    """Signs and the fronts of one preset."""
    return [
        Paragraph(f"In brief: {sentences.headline(comparison)}; {sentences.verdicts(comparison)}."),
        agreement_tables.predictors(comparison),
        *_fronts(comparison, name),
    ]


def _paper(comparison: Comparison, name: str) -> list[Block]:
    after = any(case.at.tail for case in comparison.cases)
    found = [
        tables.commutation(comparison, balanced, tail=tail)
        for balanced in (True, False)
        for tail in ((False, True) if after else (False,))
    ]
    found += tables.criterion(comparison)
    shown: list[Block] = [Heading("Tables 2, 3 and 4, figures 3 and 4", 4)]
    shown += [table for table in found if table is not None]
    return [*shown, *_fronts(comparison, name)]


def _fronts(comparison: Comparison, name: str) -> list[Block]:
    shown: list[Block] = []
    one, two = comparison.results.domains
    for number, balanced in ((3, True), (4, False)):
        run = run_of(comparison.results, balanced)
        if run is None or not any(case.at.run == run for case in comparison.cases):
            continue
        key = f"gpt2-{name}-figure-{number}"
        drawn = figures.fronts(comparison, run, tables.PRINTED[balanced], key)
        shown.append(
            Figure(
                key,
                drawn,
                f"Figure {number} of the paper. Above: the losses of the base run (blue) and of the tilted "
                "runs (red), one curve for each checkpoint, through every Δw of one order, the base and "
                "every Δw of the other. Below: the same as excesses, with standard errors where there are "
                f"any, and the excesses of table {tables.PRINTED[balanced][-1]} of the paper, whose Δw is "
                f"not stated. {_made(name)}",
                f"Losses on {one} and {two} along the base run and after tilts, in nats per token and in "
                "bits per byte, and excess losses here and in the paper.",
            )
        )
    return shown


def _agreement(comparison: Comparison, name: str) -> list[Block]:
    tails = agreement_tables.tails(comparison.cases)
    shown: list[Block] = [
        Heading("Prediction against observation", 4),
        agreement_tables.predictors(comparison),
    ]
    if comparison.cases:
        shown += [
            Figure(
                f"gpt2-{name}-windows",
                figures.by_window(comparison, f"gpt2-{name}-windows"),
                "Order against order on the two languages. Above: share of right signs with exact 95% "
                "intervals; the dotted line is chance. Below: observed over predicted, median and 10% to "
                f"90%; the band is a factor of 2. {_made(name)}",
                "Share of right signs and ratio of observed to predicted excess against the length of the "
                "window, for both brackets and the rule that the last language wins.",
            ),
            Figure(
                f"gpt2-{name}-scatter",
                figures.scatter(comparison, f"gpt2-{name}-scatter"),
                "Observed against predicted, half the difference between the two orders, a dot for each "
                f"language, checkpoint and tilt, right after the window. {_made(name)}",
                "Scatter of observed against predicted excess for both brackets, by length of the window.",
            ),
            Paragraph(
                " ".join(
                    [
                        "Where does local prediction stop working?",
                        *(sentences.breakdown(comparison, tail=tail) for tail in tails),
                        sentences.RULE,
                        sentences.curvature(comparison),
                    ]
                ).strip()
            ),
        ]
    lengths = tables.lengths(comparison)
    return [
        *shown,
        *([lengths] if lengths else []),
        agreement_tables.by_window(comparison),
        agreement_tables.orders(comparison),
        agreement_tables.asymmetry(comparison),
    ]


def _beyond(comparison: Comparison) -> list[Block]:
    both: Table | None = verdict_tables.guess(comparison)
    along: Table | None = verdict_tables.series(comparison)
    return [
        Heading("Both languages at once", 4),
        Paragraph(
            "The paper guesses that where P has the helpful sign for both languages a finer experiment "
            f"improves both. {sentences.guess(comparison)}"
        ),
        *([both] if both else []),
        Heading("The series of checkpoints", 4),
        Paragraph(sentences.series(comparison)),
        *([along, verdict_tables.helped(comparison)] if along else []),
    ]


def _main(results: Results) -> tuple[str, Comparison]:
    """The preset that is shown in full: the first that is not the trial."""
    name = next((name for name in _studies(results) if name != BRIEF), BRIEF)
    return name, compare(results[name])


def _studies(results: Results) -> Results:
    """The presets' own results, without what predictors say of them."""
    return {name: result for name, result in results.items() if not name.endswith(PREDICTORS)}


def _made(name: str) -> str:
    return f"Made by `python -m experiments.gpt2 --preset {name}`."
