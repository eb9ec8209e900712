"""The report as files: a pure function of results.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from commute_verify.errors import CommuteError
from commute_verify.report import Block, Document, Heading, Paragraph, Table, to_html, to_markdown
from experiments.experiment import Experiment
from experiments.results import AGAIN, Record, load

TITLE = "Which training domain should come later"


def document(record: Record, experiments: Sequence[Experiment]) -> Document:
    """Lay out the report: a sentence and a glance of each experiment, their blocks, and the origins."""
    results = {
        experiment.name: {
            name: entry["result"] for name, entry in record["experiments"][experiment.name].items()
        }
        for experiment in experiments
    }
    sentences = [e.sentence(results[e.name]) for e in experiments if e.sentence]
    if record["scale"] != "default":
        sentences.append(f"This is a trial run at {record['scale']} scale: its figures mean little.")
    blocks = [block for e in experiments if e.glance for block in e.glance(results[e.name])]
    blocks += [block for e in experiments for block in e.blocks(results[e.name])]
    return Document(TITLE, Paragraph(" ".join(sentences)), (*blocks, *_origins(record, experiments)))


def render(record: Record, experiments: Sequence[Experiment]) -> dict[str, bytes]:
    """Render report.md, index.html and the figures, by file name."""
    shown = document(record, experiments)
    files = {"index.html": to_html(shown).encode(), "report.md": to_markdown(shown).encode()}
    for figure in shown.figures():
        files[f"figures/{figure.name}.svg"] = f'<?xml version="1.0" encoding="utf-8"?>\n{figure.svg}'.encode()
    return files


def render_again(path: Path, experiments: Sequence[Experiment]) -> dict[str, bytes]:
    """Render the files from results.json; raises CommuteError when it does not fit this program."""
    record = load(path, experiments)
    try:
        return render(record, experiments)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CommuteError(f"{path} does not fit this program ({reason}): {AGAIN}") from error


def _origins(record: Record, experiments: Sequence[Experiment]) -> list[Block]:
    alike: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for experiment in experiments:
        for name, entry in record["experiments"][experiment.name].items():
            alike[experiment.name, entry["origin"], entry["command"]].append(name.replace("_", " "))
    rows = tuple(
        (name, ", ".join(parts), origin, f"`{command}`") for (name, origin, command), parts in alike.items()
    )
    caption = "Recomputed: by the default command, on every run."
    if any(origin == "committed" for _, origin, _ in alike):
        caption += " Committed: computed once, elsewhere, and only rendered again."
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
        Table(("Experiment", "Parts", "Origin", "Command"), rows, caption),
    ]
