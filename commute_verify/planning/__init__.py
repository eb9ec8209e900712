"""From an estimate of the order effect to a schedule: what to train when, and how sure that is."""

from commute_verify.planning.blocks import BlockPlan, plan_blocks
from commute_verify.planning.descent import Descent, DescentStep, descend
from commute_verify.planning.ordering import Ordering, best_order
from commute_verify.planning.pareto import ParetoTilt, pareto_tilt
from commute_verify.planning.resampling import Resampling, Robustness, Turn
from commute_verify.planning.tilts import TiltPlan, TiltWindow, plan_tilt

__all__ = [
    "BlockPlan",
    "Descent",
    "DescentStep",
    "Ordering",
    "ParetoTilt",
    "Resampling",
    "Robustness",
    "TiltPlan",
    "TiltWindow",
    "Turn",
    "best_order",
    "descend",
    "pareto_tilt",
    "plan_blocks",
    "plan_tilt",
]
