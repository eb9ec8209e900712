"""``python -m experiments.gpt2.predictors``: every predictor on the interventions of a finished study.

The study's folder is only read. Finished pieces are kept under OUT/.work: a run that was stopped goes on with
the same command, several share the work of one folder with --only, and --collect writes what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.committed import Committed, parser, told
from experiments.experiment import Part
from experiments.gpt2.predictors.asked import Settings, as_dict, pieces, study_of
from experiments.gpt2.predictors.said import said, together
from experiments.quadratic.statistics import plain

MODULE = "experiments.gpt2.predictors"
CODE = ("experiments/gpt2", "experiments/quadratic")


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C or SIGTERM."""
    given = parser(MODULE, __doc__)
    given.add_argument("--study", type=Path, required=True, help="folder of a finished study")
    given.add_argument("--collect", action="store_true", help="write what is there, and stop")
    options = given.parse_args(argv)
    return told(MODULE, lambda: run(options, Settings()))


def run(options: argparse.Namespace, settings: Settings) -> None:
    """Make the share of the pieces; CommuteError where the folder holds no finished study."""
    study = study_of(options.study)
    every = {piece.name: piece for piece in pieces(study, settings)}
    results = hashlib.sha256((options.study / "results.json").read_bytes()).hexdigest()
    held = as_dict(study, settings)
    parts = [
        Part(name, partial(said, study, piece, settings), {**held, "results": results, "piece": name})
        for name, piece in every.items()
    ]

    def put_together(found: Mapping[str, Any]) -> dict[str, Any]:
        there = [(every[name], answered) for name, answered in found.items()]
        return dict(plain(together(study, settings, there)))

    made = Committed(MODULE, parts, put_together, CODE, command="--study … --out …")
    if options.collect:
        made.collect(options.out)
    else:
        made.make(options.out, options.only)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
