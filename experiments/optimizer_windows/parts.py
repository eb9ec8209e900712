"""The study as parts of the report: a small one is computed, the full one is shown as committed."""

from __future__ import annotations

from functools import partial

from experiments.experiment import Part
from experiments.optimizer_windows.run import study
from experiments.optimizer_windows.settings import Settings
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "optimizer_windows" / "results" / "full.json"


def parts(scale: str) -> list[Part]:
    """The small study, and the committed one where it is there."""
    settings = Settings.default() if scale == "default" else Settings.smoke()
    found = [Part("small", partial(study, settings), settings.as_dict())]
    if COMMITTED.exists():
        full = Settings.full()
        found.append(Part("full", partial(study, full), full.as_dict(), committed=COMMITTED))
    return found
