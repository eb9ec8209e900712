"""``python -m experiments.optimizer_windows --out DIR``: AdamW windows, run and predicted, piece by piece."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from experiments.committed import study
from experiments.experiment import Part
from experiments.optimizer_windows.pieces import pieces
from experiments.optimizer_windows.run import collected, rows
from experiments.optimizer_windows.settings import Settings

CODE = ("experiments/optimizer_windows", "experiments/gpt2", "experiments/quadratic")


def parts(settings: Settings) -> list[Part]:
    """One for each piece."""
    told = settings.as_dict()
    return [Part(name, work, {**told, "of": name}) for name, work in pieces(settings).items()]


def main(argv: list[str], settings: Settings) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C."""

    def together(found: Mapping[str, Any]) -> dict[str, Any]:
        """Windows of AdamW, run and predicted: minibatches, four domains, swaps and tilts."""
        return collected(settings, found)

    beside = {"cases.csv": partial(rows, settings)}
    return study("experiments.optimizer_windows", parts(settings), together, argv, code=CODE, beside=beside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Settings.full()))
