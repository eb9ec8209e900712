"""The report as files: a pure function of results.json."""

from __future__ import annotations

from collections.abc import Sequence

from commute_verify.report import Block, Document, Heading, Paragraph, Table, to_html, to_markdown
from experiments.experiment import Experiment
from experiments.results import Record

TITLE = "Which training domain should come later"


def document(record: Record, experiments: Sequence[Experiment]) -> Document:
    """Lay out the report: the sentences of all experiments, their blocks, and where the numbers come from."""
    results = {
        experiment.name: {
            name: entry["result"] for name, entry in record["experiments"][experiment.name].items()
        }
        for experiment in experiments
    }
    sentences = [e.sentence(results[e.name]) for e in experiments if e.sentence]
    if record["scale"] != "default":
        sentences.append(f"This is a trial run at {record['scale']} scale: its figures mean little.")
    blocks: list[Block] = []
    for experiment in experiments:
        blocks += experiment.blocks(results[experiment.name])
    return Document(TITLE, Paragraph(" ".join(sentences)), (*blocks, *_origins(record, experiments)))


def render(record: Record, experiments: Sequence[Experiment]) -> dict[str, bytes]:
    """Render report.md, index.html and the figures, by file name."""
    shown = document(record, experiments)
    files = {"index.html": to_html(shown).encode(), "report.md": to_markdown(shown).encode()}
    for figure in shown.figures():
        files[f"figures/{figure.name}.svg"] = f'<?xml version="1.0" encoding="utf-8"?>\n{figure.svg}'.encode()
    return files


def _origins(record: Record, experiments: Sequence[Experiment]) -> list[Block]:
    rows = tuple(
        (f"{experiment.name}: {name.replace('_', ' ')}", entry["origin"], f"`{entry['command']}`")
        for experiment in experiments
        for name, entry in record["experiments"][experiment.name].items()
    )
    return [
        Heading("Where the numbers come from"),
        Paragraph(
            "No verdict is written by hand: each is computed from the printed formula and its derivation, "
            "under each reading of the paper's conventions, and each derivation must reject a neighbouring "
            "formula with one sign, factor or order changed."
        ),
        Paragraph(
            "This page is a pure function of `results.json`; `python -m experiments --render-only` writes it "
            "again, byte for byte. `provenance.json` beside it says on which commit, with which versions and "
            "seeds, on what machine and in what time the numbers were computed."
        ),
        Table(
            columns=("Part", "Origin", "Command"),
            rows=rows,
            caption="Recomputed: by the default command, on every run. Committed: computed once, elsewhere, "
            "and only rendered again.",
        ),
    ]
