"""``python -m experiments.optimizer_windows``: AdamW windows, run and predicted, into a folder.

Every piece is kept as soon as it is whole: a run that was stopped goes on with the same command, to the same
numbers. ``--only 1/2`` and ``--only 2/2`` share the work of one folder between two processes.
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
from experiments.optimizer_windows.pieces import pieces
from experiments.optimizer_windows.run import collected, rows
from experiments.optimizer_windows.settings import Settings
from experiments.provenance import circumstances
from experiments.quadratic.statistics import plain
from experiments.results import dump
from experiments.storage import reason, write

SIZES = ("full", "default", "smoke")


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.optimizer_windows", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--size", choices=SIZES, default="full", help="the size of the study")
    parser.add_argument("--only", metavar="I/N", default="1/1", help="every N-th piece from the I-th")
    parser.add_argument(
        "--collect", action="store_true", help="write results without missing maps of validity"
    )
    parser.add_argument("--publish", type=Path, metavar="FILE", help="write the results as a committed part")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        torch.set_num_threads(1)
        _run(options, argv)
    except CommuteError as error:
        print(f"experiments.optimizer_windows: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished pieces are kept: give the same command to go on", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, argv: Sequence[str]) -> None:
    from tqdm import tqdm

    settings: Settings = getattr(Settings, options.size)()
    every = pieces(settings)
    folder = options.out / "pieces"
    write(options.out / "settings.json", _checked(options.out / "settings.json", settings))
    mine = [] if options.collect else list(every)[_share(options.only)]
    layout = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} pieces, {elapsed} gone, {remaining} left  {desc}"
    started = time.monotonic()
    with tqdm(total=len(mine), bar_format=layout, disable=None) as bar:
        for name in mine:
            bar.set_description_str(name)
            path = folder / f"{name}.json"
            if not path.exists():
                begun = time.monotonic()
                write(path, dump(plain(every[name]())))
                bar.write(f"{name}: {time.monotonic() - begun:.0f} s")
            bar.update()
    missing = [name for name in every if not (folder / f"{name}.json").exists()]
    if options.collect:
        every = {name: work for name, work in every.items() if name not in missing}
        missing = [name for name in missing if not name.startswith("validity")]
    if missing:
        print(f"{len(missing)} pieces of other shares are missing, the first is {missing[0]}", flush=True)
        return
    pieces_found = {name: _load(folder / f"{name}.json") for name in every}
    found = collected(settings, pieces_found)
    write(options.out / "results.json", dump(found))
    write(options.out / "cases.csv", rows(settings, pieces_found).encode())
    about = {
        "argv": ["python", "-m", "experiments.optimizer_windows", *argv],
        "seconds_of_this_start": round(time.monotonic() - started, 1),
        **circumstances(),
    }
    write(options.out / "provenance.json", (json.dumps(about, sort_keys=True, indent=1) + "\n").encode())
    if options.publish:
        command = "python -m experiments.optimizer_windows --out OUT"
        part = {"format": report.FORMAT, "version": report.VERSION, "command": command, "result": found}
        write(options.publish, dump(part))
    print(f"{options.out / 'results.json'} is written")


def _checked(path: Path, settings: Settings) -> bytes:
    """The settings as kept beside the pieces; CommuteError where the folder holds other ones."""
    told = (json.dumps(settings.as_dict(), sort_keys=True, indent=1) + "\n").encode()
    if path.exists() and path.read_bytes() != told:
        raise CommuteError(f"{path} holds other settings: choose another --out, or remove that folder")
    return told


def _load(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CommuteError(f"cannot read {path} ({reason(error)}): remove it and run again") from error
    return found


def _share(given: str) -> slice:
    first, _, count = given.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise CommuteError(f"--only {given}: give I/N with 1 ≤ I ≤ N")
    return slice(int(first) - 1, None, int(count))


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
