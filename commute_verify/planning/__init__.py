"""From an estimate of the order effect to a schedule: what to train when, how sure that is, what changes it."""

from commute_verify.planning.blocks import BlockPlan, Turn, plan_blocks
from commute_verify.planning.ordering import Ordering, best_order
from commute_verify.planning.resampling import Resampling, Robustness

__all__ = [
    "BlockPlan",
    "Ordering",
    "Resampling",
    "Robustness",
    "Turn",
    "best_order",
    "plan_blocks",
]
