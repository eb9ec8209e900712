"""The parts of the report: a small ladder is computed, the full one is shown as committed."""

from functools import partial

from experiments.beyond_local.run import PARTS
from experiments.beyond_local.settings import Settings
from experiments.experiment import Part, each
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "beyond_local" / "results" / "full.json"


def parts(scale: str) -> list[Part]:
    """Both parts at this scale, and the committed one where it is."""
    found = each(PARTS, Settings)(scale)
    if COMMITTED.exists():
        found.append(Part("full", partial(PARTS["transformer"], Settings.full()), committed=COMMITTED))
    return found
