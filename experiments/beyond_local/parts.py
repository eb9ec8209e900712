"""The parts of the report: a small ladder is computed, the full one is shown as committed."""

from functools import partial

from experiments.beyond_local.run import PARTS
from experiments.beyond_local.settings import Settings
from experiments.experiment import Part, each, with_committed
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "beyond_local" / "results" / "full.json"
FULL = Part("full", partial(PARTS["transformer"], Settings.full()), committed=COMMITTED)

parts = with_committed(each(PARTS, Settings), FULL)
