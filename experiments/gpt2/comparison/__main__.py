"""``python -m experiments.gpt2.comparison RUN/results.json --out FOLDER``: a run's comparison as a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from commute_verify.errors import CommuteError
from commute_verify.report import Document, Paragraph, to_html, to_markdown
from experiments.gpt2 import page
from experiments.storage import publish


def main(argv: Sequence[str]) -> int:
    """Write index.html, report.md and the figures; return 0, or 2 after bad input."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpt2.comparison", description=__doc__)
    parser.add_argument("results", type=Path, help="results.json of a run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    options = parser.parse_args(argv)
    try:
        publish(options.out, render(_read(options.results)))
    except CommuteError as error:
        print(f"experiments.gpt2.comparison: {error}", file=sys.stderr)
        return 2
    print(f"{options.out / 'index.html'} is written")
    return 0


def render(results: page.Results) -> dict[str, bytes]:
    """The files of a page about the results of presets."""
    shown = Document(
        "GPT-2 in two languages: predicted and observed",
        Paragraph(page.sentence(results)),
        tuple(page.blocks(results)),
    )
    files = {"index.html": to_html(shown).encode(), "report.md": to_markdown(shown).encode()}
    for figure in shown.figures():
        files[f"figures/{figure.name}.svg"] = f'<?xml version="1.0" encoding="utf-8"?>\n{figure.svg}'.encode()
    return files


def _read(path: Path) -> page.Results:
    try:
        results = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CommuteError(f"cannot read {path} as results of a run ({error}): give results.json") from error
    if isinstance(results, dict) and "result" in results:
        results = results["result"]
    settings = results.get("settings", {}) if isinstance(results, dict) else {}
    return {settings.get("name", "run"): results}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
