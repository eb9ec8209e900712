"""The parts of the report: a small study is computed, the full one is shown as committed."""

from functools import partial

from experiments.experiment import Part, each, with_committed
from experiments.planned_training.run import PARTS
from experiments.planned_training.settings import Settings
from experiments.storage import ROOT

COMMITTED = ROOT / "experiments" / "planned_training" / "results" / "full.json"
FULL = Part("full", partial(PARTS["training"], Settings.full()), committed=COMMITTED)

parts = with_committed(each(PARTS, Settings), FULL)
