"""``python -m experiments.integrated_tilts --out DIR``: tilts at Gauss points, piece by piece."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from experiments.committed import study
from experiments.experiment import Part
from experiments.integrated_tilts.run import pieces
from experiments.integrated_tilts.settings import Settings
from experiments.integrated_tilts.statistics import summed_up

SETTINGS = Settings.full()
CODE = tuple(f"experiments/{room}" for room in ("integrated_tilts", "optimizer_windows", "gpt2", "quadratic"))


def parts() -> list[Part]:
    """One for each piece, which does not depend on how many others there are."""
    told = {"windows": asdict(SETTINGS.windows), "delta": SETTINGS.delta}
    return [Part(key, work, {**told, "of": key}) for key, work in pieces(SETTINGS).items()]


def together(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tilts of AdamW windows by the trajectory at Gauss points, from batches that no run has seen."""
    return summed_up(SETTINGS, found)


if __name__ == "__main__":
    sys.exit(study("experiments.integrated_tilts", parts(), together, sys.argv[1:], code=CODE))
