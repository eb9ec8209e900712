"""The parts of the report: a small study is computed, the full one is shown as committed."""

from functools import partial

from experiments.experiment import Part, each, with_committed
from experiments.integrated_tilts.run import PARTS, tilts
from experiments.integrated_tilts.settings import Settings
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "integrated_tilts" / "results" / "full.json"
FULL = Part("full", partial(tilts, Settings.full()), committed=COMMITTED)

parts = with_committed(each(PARTS, Settings), FULL)
