"""Studies too heavy for the default command: computed piece by piece, committed, and rendered again."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.experiment import Experiment, Part
from experiments.lock import alone
from experiments.provenance import EarlierRun, circumstances
from experiments.results import FORMAT, VERSION, dump
from experiments.runner import compute
from experiments.shares import reserved, share
from experiments.storage import FinishedParts, publish

Saved = dict[str, Any]
"""A finished piece as it is kept: "result" and "seconds"."""


def study(
    module: str,
    pieces: Sequence[Part],
    together: Callable[[Mapping[str, Any]], dict[str, Any]],
    argv: Sequence[str],
    *,
    code: tuple[str, ...],
    beside: Mapping[str, Callable[[Mapping[str, Any]], str]] | None = None,
) -> int:
    """Run ``python -m module --out DIR``: compute every piece, and write DIR/full.json and its provenance.

    Finished pieces are kept under DIR/.work, so that a run which was stopped goes on where it was and several
    processes can share the work of one folder: ``--only 1/2`` and ``--only 2/2``. The last writes the files.
    `beside` are further files of the pieces, by their ending: ``{"cases.csv": rows}`` writes full.cases.csv.
    """
    options = parser(module, together.__doc__).parse_args(argv)
    return told(module, lambda: carry_out(module, pieces, together, options, code=code, beside=beside))


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The options of a study: the folder, and a share of the pieces."""
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    found.add_argument("--out", type=Path, required=True, help="folder of full.json")
    found.add_argument("--only", metavar="I/N", help="every N-th piece from the I-th")
    return found


def told(module: str, work: Callable[[], None]) -> int:
    """Do the work of a command; return 0, 2 after bad input, or 130 after Ctrl-C or SIGTERM, with a line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except CommuteError as error:
        print(f"{module}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished pieces are kept: give the same command to go on", file=sys.stderr)
        return 130
    return 0


def carry_out(
    module: str,
    pieces: Sequence[Part],
    together: Callable[[Mapping[str, Any]], dict[str, Any]],
    options: argparse.Namespace,
    *,
    code: tuple[str, ...],
    beside: Mapping[str, Callable[[Mapping[str, Any]], str]] | None = None,
    command: str = "--out …",
    collect: bool = False,
) -> None:
    """Compute the share of the pieces, and write the files where all are there.

    With ``collect`` nothing is computed, and what is there is put together and stays. ``command`` is what
    stands after the module's name in the command that makes the file.
    """
    out: Path = options.out
    mine = share(pieces, options.only)
    experiment = Experiment(module.replace(".", "-"), lambda scale: mine, lambda results: (), code=code)
    if collect:
        kept = FinishedParts(out, writing=False)
        stale = [part.name for part in pieces if kept.is_stale(experiment, part)]
        if stale:
            print(f"{len(stale)} pieces are of other code or settings and left out, the first is {stale[0]}")
        whole = _loaded(kept, experiment, pieces)
        if not whole:
            raise CommuteError(
                f"{out} holds no finished piece of this code and these settings: give the command "
                "without --collect"
            )
        publish(out, _files(module, command, whole, together, beside or {}))
    else:
        with reserved(out, options.only):
            kept = FinishedParts(out)
            compute([experiment], "full", kept, EarlierRun({}, here=False))
            with alone(out, "writing", wait=True):
                whole = _loaded(kept, experiment, pieces)
                missing = [part.name for part in pieces if part.name not in whole]
                if any(part.name in missing for part in mine):
                    print("another share has put the pieces together")
                    return
                if missing:
                    print(f"{len(missing)} pieces of other shares are missing, the first is {missing[0]}")
                    return
                publish(out, _files(module, command, whole, together, beside or {}))
                kept.clear()
    print(f"{out / 'full.json'} is written")


def _loaded(kept: FinishedParts, experiment: Experiment, pieces: Sequence[Part]) -> dict[str, Saved]:
    """The finished pieces by name: their results, and how long they took."""
    there = {part.name: kept.load(experiment, part) for part in pieces}
    return {name: saved for name, saved in there.items() if saved}


def _files(
    module: str,
    command: str,
    whole: Mapping[str, Saved],
    together: Callable[[Mapping[str, Any]], dict[str, Any]],
    beside: Mapping[str, Callable[[Mapping[str, Any]], str]],
) -> dict[str, bytes]:
    """What is written: the results, where they are from, and what stands beside them."""
    found = {name: saved["result"] for name, saved in whole.items()}
    publication = {
        "format": FORMAT,
        "version": VERSION,
        "command": f"python -m {module} {command}",
        "result": together(found),
    }
    name = module.replace(".", "-")
    seconds = {f"{name}/{part}": saved["seconds"] for part, saved in whole.items()}
    provenance = {"argv": ["python", "-m", module], "seconds": seconds, **circumstances()}
    return {
        "full.json": dump(publication),
        "full.provenance.json": (json.dumps(provenance, sort_keys=True, indent=1) + "\n").encode(),
        **{f"full.{ending}": make(found).encode() for ending, make in beside.items()},
    }
