"""The parts of the report: a small study is computed, the full ones are shown as committed."""

from functools import partial

from experiments.experiment import Part, each, with_committed
from experiments.integrated_tilts import sizes
from experiments.integrated_tilts.run import PARTS, tilts
from experiments.integrated_tilts.settings import Settings
from experiments.storage import ROOT

RESULTS = ROOT / "experiments" / "integrated_tilts" / "results"
COMMITTED, SIZES = RESULTS / "full.json", RESULTS / "sizes.json"
FULL = Part("full", partial(tilts, Settings.full()), committed=COMMITTED)
OTHERS = Part("sizes", sizes.every_size, committed=SIZES)

parts = with_committed(with_committed(each(PARTS, Settings), FULL), OTHERS)
