"""``python -m experiments.gpt2.predictors``: every predictor on the interventions of a finished study.

Each piece is kept in OUT.work as soon as it is done: a run that was stopped goes on with the same command.
The study's folder is only read.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from commute_verify.errors import CommuteError
from experiments import results as report
from experiments.gpt2.lock import alone
from experiments.gpt2.predictors.asked import Settings, as_dict, pieces, study_of
from experiments.gpt2.predictors.predict import answers
from experiments.gpt2.predictors.said import together
from experiments.gpt2.shards import Shards
from experiments.gpt2.study import load, save
from experiments.provenance import circumstances
from experiments.quadratic.statistics import plain
from experiments.results import dump
from experiments.storage import write

COMMAND = "python -m experiments.gpt2.predictors --study … --out …"


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gpt2.predictors", description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="folder of a finished study")
    parser.add_argument("--out", type=Path, required=True, help="file of the predictions")
    parser.add_argument("--collect", action="store_true", help="write what is there, and stop")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        run(options.study, options.out, Settings(), collect=options.collect)
    except CommuteError as error:
        print(f"experiments.gpt2.predictors: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished pieces are kept: give the same command to go on", file=sys.stderr)
        return 130
    print(f"{options.out} is written")
    return 0


def run(folder: Path, out: Path, settings: Settings, *, collect: bool = False) -> None:
    """Make every piece that is not there, on one thread, and write the file with its provenance beside it."""
    study = study_of(folder)
    work = out.with_suffix(".work")
    held = as_dict(study, settings)
    every = pieces(study)
    if not collect:
        start = time.monotonic()
        with alone(work):
            _begin(work / "settings.json", held)
            _make(study, every, settings, work)
        record = {"seconds_of_this_start": round(time.monotonic() - start, 1), **circumstances()}
        record["command"] = COMMAND
        text = json.dumps(record, sort_keys=True, indent=1) + "\n"
        write(out.with_suffix(".provenance.json"), text.encode())
    there = [(piece, path) for piece in every if (path := work / f"{piece.name}.json").exists()]
    write(out, dump(publication(together(held, len(every), [(piece, load(path)) for piece, path in there]))))


def publication(found: dict[str, Any]) -> dict[str, Any]:
    """The predictions as a committed part of the report, see `experiments.results.load_committed`."""
    return {"format": report.FORMAT, "version": report.VERSION, "command": COMMAND, "result": plain(found)}


def _begin(path: Path, held: dict[str, Any]) -> None:
    if not path.exists():
        save(path, held)
    elif (before := load(path)) != held:
        changed = sorted(name for name in held.keys() | before.keys() if held.get(name) != before.get(name))
        raise CommuteError(
            f"{path.parent} holds pieces made with other settings ({', '.join(changed)}): delete it, or give "
            "another --out"
        )


def _make(study: Any, every: Sequence[Any], settings: Settings, work: Path) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    shards = Shards.open(study.shards)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number, piece in enumerate(every, start=1):
            path = work / f"{piece.name}.json"
            if path.exists():
                continue
            start = time.monotonic()
            save(path, answers(study, shards, piece, settings))
            took = time.monotonic() - start
            print(f"[{number}/{len(every)}] {piece.name}: {took:.0f} s", file=sys.stderr, flush=True)
    finally:
        torch.set_num_threads(threads)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
