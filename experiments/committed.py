"""Studies too heavy for the default command: computed piece by piece, committed, and rendered again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.experiment import Experiment, Part
from experiments.provenance import EarlierRun, circumstances
from experiments.results import FORMAT, VERSION, dump
from experiments.runner import compute
from experiments.storage import FinishedParts, publish


def study(
    module: str,
    pieces: Sequence[Part],
    together: Callable[[Mapping[str, Any]], dict[str, Any]],
    argv: Sequence[str],
    *,
    code: tuple[str, ...],
    name: str = "full",
) -> int:
    """Run ``python -m module --out DIR``: compute every piece, and write DIR/NAME.json and its provenance.

    Finished pieces are kept under DIR/.work, so that a run which was stopped goes on where it was.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=together.__doc__)
    parser.add_argument("--out", type=Path, required=True, help=f"folder of {name}.json")
    out: Path = parser.parse_args(argv).out
    experiment = Experiment(module.replace(".", "-"), lambda scale: pieces, lambda results: (), code=code)
    try:
        kept = FinishedParts(out)
        record, seconds = compute([experiment], name, kept, EarlierRun({}, here=False))
        found = {part: entry["result"] for part, entry in record["experiments"][experiment.name].items()}
        publication = {
            "format": FORMAT,
            "version": VERSION,
            "command": f"python -m {module} --out …",
            "result": together(found),
        }
        provenance = {"argv": ["python", "-m", module], "seconds": seconds, **circumstances()}
        publish(
            out,
            {
                f"{name}.json": dump(publication),
                f"{name}.provenance.json": (json.dumps(provenance, sort_keys=True, indent=1) + "\n").encode(),
            },
        )
        kept.clear()
    except CommuteError as error:
        print(f"{module}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished pieces are kept: give the same command to go on", file=sys.stderr)
        return 130
    print(f"{out / f'{name}.json'} is written")
    return 0
