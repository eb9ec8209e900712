"""The other way to a series: the flow itself, by differential operators on polynomial losses."""

from __future__ import annotations

import sympy as sp

from commute_verify.symbolic.differentials import evaluate_loss
from commute_verify.symbolic.expansions import of_order
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series

x, y = sp.symbols("x y")
LOSSES = (x**3 / 3 + x * y - y, x**2 * y - y**2 / 2, x * y**2 + x**2 / 2 + 3 * y)
TARGET_LOSS = x**2 * y + y**3 / 3 - 2 * x


def agrees_with_flow(
    series: Series, schedule: SymbolicSchedule, reference: SymbolicSchedule, order: int
) -> bool:
    """Whether order ``order`` of L(schedule) − L(reference) is the series, for three fixed cubic losses."""
    symbols = sorted(schedule.symbols | reference.symbols, key=str)
    space = Coordinates((x, y), symbols)
    losses = [space(LOSSES[k - 1]) for k in schedule.domains]
    target = space(TARGET_LOSS)
    observed = space.along(target, losses, schedule, order) - space.along(target, losses, reference, order)
    predicted = evaluate_loss(of_order(series, order), space, losses, target)
    return bool(space.graded(observed, order) == predicted)
