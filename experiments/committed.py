"""Studies too heavy for the default command: computed piece by piece, committed, and rendered again."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    made = Committed(module, pieces, together, code, beside or {})
    return told(module, lambda: made.make(options.out, options.only))


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


@dataclass(frozen=True)
class Committed:
    """A study in pieces, and what they are put together to.

    ``code`` are the folders that results come from beside the package, and ``command`` is what stands after
    the module's name in the command that makes the file.
    """

    module: str
    pieces: Sequence[Part]
    together: Callable[[Mapping[str, Any]], dict[str, Any]]
    code: tuple[str, ...]
    beside: Mapping[str, Callable[[Mapping[str, Any]], str]] = field(default_factory=dict)
    command: str = "--out …"

    def make(self, out: Path, only: str | None) -> None:
        """Compute the share of the pieces, and write the files where all are there."""
        mine = share(self.pieces, only)
        with reserved(out, only):
            kept = FinishedParts(out)
            compute([self._experiment(mine)], "full", kept, EarlierRun({}, here=False))
            with alone(out, "writing", wait=True):
                whole = self._loaded(kept)
                missing = [part.name for part in self.pieces if part.name not in whole]
                if any(part.name in missing for part in mine):
                    print("another share has put the pieces together")
                elif missing:
                    print(f"{len(missing)} pieces of other shares are missing, the first is {missing[0]}")
                else:
                    self._write(out, whole)
                    kept.clear()

    def collect(self, out: Path) -> None:
        """Compute nothing, and write the files of the pieces that are there, which stay."""
        kept, experiment = FinishedParts(out, writing=False), self._experiment(self.pieces)
        stale = [part.name for part in self.pieces if kept.is_stale(experiment, part)]
        if stale:
            print(f"{len(stale)} pieces are of other code or settings and left out, the first is {stale[0]}")
        whole = self._loaded(kept)
        if not whole:
            raise CommuteError(
                f"{out} holds no finished piece of this code and these settings: give the command "
                "without --collect"
            )
        self._write(out, whole)

    def _experiment(self, pieces: Sequence[Part]) -> Experiment:
        name = self.module.replace(".", "-")
        return Experiment(name, lambda scale: pieces, lambda results: (), code=self.code)

    def _loaded(self, kept: FinishedParts) -> dict[str, Saved]:
        """The finished pieces by name: their results, and how long they took."""
        experiment = self._experiment(self.pieces)
        there = {part.name: kept.load(experiment, part) for part in self.pieces}
        return {name: saved for name, saved in there.items() if saved}

    def _write(self, out: Path, whole: Mapping[str, Saved]) -> None:
        """The results, where they are from, and what stands beside them."""
        found = {name: saved["result"] for name, saved in whole.items()}
        publication = {
            "format": FORMAT,
            "version": VERSION,
            "command": f"python -m {self.module} {self.command}",
            "result": self.together(found),
        }
        name = self.module.replace(".", "-")
        seconds = {f"{name}/{part}": saved["seconds"] for part, saved in whole.items()}
        provenance = {"argv": ["python", "-m", self.module], "seconds": seconds, **circumstances()}
        files = {
            "full.json": dump(publication),
            "full.provenance.json": (json.dumps(provenance, sort_keys=True, indent=1) + "\n").encode(),
            **{f"full.{ending}": make(found).encode() for ending, make in self.beside.items()},
        }
        publish(out, files)
        print(f"{out / 'full.json'} is written")
