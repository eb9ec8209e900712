"""How much an estimate may cost when it samples until its signs are resolved."""

from __future__ import annotations

import re

from commute_verify.criterion import checked
from commute_verify.criterion.run import Run
from commute_verify.errors import CommuteError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Budget:
    """A number of gradient passes, or a time: ``Budget(2000)``, ``Budget("90s")``, ``Budget("10m")``."""

    def __init__(self, amount: float | str) -> None:
        """Read the amount."""
        self.passes = self.seconds = float("inf")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", amount) if isinstance(amount, str) else None
        number = checked.real(amount)
        if number is not None and number.is_integer() and number > 0:
            self.passes = number
        elif match and float(match[1]) > 0:
            self.seconds = float(match[1]) * _SECONDS[match[2]]
        else:
            raise CommuteError(
                f"{checked.shown('budget', amount)}; give a whole number of gradient passes, or a time such "
                'as "10m"'
            )

    def allows(self, run: Run, sizes: list[int]) -> bool:
        """Whether replicates of these sizes would stay within the budget, at the speed so far."""
        passes_needed = sum(run.gradient_equivalents(size) for size in sizes)
        return (
            run.gradient_equivalents() + passes_needed <= self.passes
            and run.meter.seconds + run.seconds_for(sizes) <= self.seconds
        )

    def check_first(self, run: Run, sizes: list[int]) -> None:
        """Refuse a budget that the first look would not stay within."""
        if self.allows(run, sizes):
            return
        passes = sum(map(run.gradient_equivalents, sizes))
        taken, seconds = run.meter.seconds, run.seconds_for(sizes)
        needed = (
            f"{passes} gradient passes, which the first look takes ({len(sizes)} replicates)"
            if self.seconds == float("inf")
            else f"{taken + seconds:.2g} s: the start-up probe took {taken:.2g} s, and the first look "
            f"({len(sizes)} replicates) takes about {seconds:.2g} s"
        )
        raise CommuteError(f"a budget below {needed}; give more, or fewer batches")
