"""The parts of the report: a small study is computed, the full one is shown as committed."""

from __future__ import annotations

from functools import partial

from experiments.experiment import Part, each
from experiments.planned_training.run import PARTS
from experiments.planned_training.settings import Settings
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "planned_training" / "results" / "full.json"


def parts(scale: str) -> list[Part]:
    """The small study at this scale, and the committed one where it is."""
    found = each(PARTS, Settings)(scale)
    if COMMITTED.exists():
        found.append(Part("full", partial(PARTS["training"], Settings.full()), committed=COMMITTED))
    return found
