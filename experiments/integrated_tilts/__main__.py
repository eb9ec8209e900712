"""``python -m experiments.integrated_tilts --out DIR``: tilts at Gauss points, piece by piece."""

import sys
from collections.abc import Mapping
from typing import Any

from experiments.committed import study
from experiments.experiment import Part
from experiments.integrated_tilts.run import CODE, parts_of
from experiments.integrated_tilts.settings import Settings
from experiments.integrated_tilts.statistics import summed_up

SETTINGS = Settings.full()


def parts() -> list[Part]:
    """One for each piece."""
    return parts_of(SETTINGS)


def together(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tilts of AdamW windows by the trajectory at Gauss points, from batches that no run has seen."""
    return summed_up(SETTINGS, found)


if __name__ == "__main__":
    sys.exit(study("experiments.integrated_tilts", parts(), together, sys.argv[1:], code=CODE))
