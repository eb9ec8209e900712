"""``python -m experiments.gpt2``: train, intervene and predict, for a preset, into a folder.

Every piece is kept as soon as it is whole: a run that was stopped goes on with the same command. Results so
far can be written at any time with --collect, beside a run that goes on.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from commute_verify.errors import CommuteError
from experiments.gpt2 import perform
from experiments.gpt2.collect import collected, publication, times
from experiments.gpt2.options import add_options, chosen, told
from experiments.gpt2.parts import SYNTHETIC
from experiments.gpt2.presets import PRESETS
from experiments.gpt2.study import Study
from experiments.provenance import circumstances
from experiments.results import dump
from experiments.storage import write


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _run(options, argv)
    except CommuteError as error:
        print(f"experiments.gpt2: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished pieces are kept: give the same command to go on", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(prog="python -m experiments.gpt2", description=__doc__)
    found.add_argument("--preset", choices=PRESETS, default="smoke", help="the size of the study")
    found.add_argument(
        "--data",
        action="append",
        metavar="NAME=SOURCE",
        help="a domain: text, .gz, .jsonl, hf:DATASET or synthetic; repeat it, the first two are 1 and 2",
    )
    add = found.add_argument
    add("--out", type=Path, required=True, help="folder of the study")
    add("--jobs", type=int, default=None, help="processes side by side (2; 1 on a GPU)")
    add("--threads", type=int, default=1, help="threads of each process")
    add("--only", metavar="I/N", help="farm out: every N-th branch from the I-th, of runs that are there")
    add("--collect", action="store_true", help="write results.json from what is there, and stop")
    add("--publish", type=Path, metavar="FILE", help="write the results as a committed part too")
    add("--device", choices=("auto", "cpu", "cuda"), help="another device than the preset's")
    add_options(found)
    return found


def _run(options: argparse.Namespace, argv: Sequence[str]) -> None:
    study = Study(chosen(options), tuple(options.data or SYNTHETIC), options.out)
    study.preset.branches(study.domains)
    if not options.collect:
        start = time.monotonic()
        perform.run(study, options.jobs, options.threads, options.only)
        if options.only:
            return
        record = {
            "argv": ["python", "-m", "experiments.gpt2", *argv],
            "preset": study.preset.name,
            "seconds_of_this_start": round(time.monotonic() - start, 1),
            "criterion": times(study),
            **circumstances(),
        }
        write(options.out / "provenance.json", (json.dumps(record, sort_keys=True, indent=1) + "\n").encode())
    results = collected(study)
    write(options.out / "results.json", dump(results))
    if options.publish:
        write(options.publish, dump(publication(results, told(options))))
    print(f"{options.out / 'results.json'} is written")


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
