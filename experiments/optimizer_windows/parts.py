"""The study as parts of the report: a small one is computed, the full one is shown as committed."""

from functools import partial

from experiments.experiment import Part, each, with_committed
from experiments.optimizer_windows.run import study
from experiments.optimizer_windows.settings import Settings
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "optimizer_windows" / "results" / "full.json"
FULL = Part("full", partial(study, Settings.full()), Settings.full().as_dict(), COMMITTED)

parts = with_committed(each({"small": study}, Settings), FULL)
