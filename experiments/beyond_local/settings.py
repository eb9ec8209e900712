"""What the experiment beyond the local regime is run with."""

from dataclasses import dataclass, field, replace
from typing import Self

from commute_verify.errors import CommuteError
from experiments.positive import check_positive
from experiments.quadratic.settings import Settings as Quadratic
from experiments.transformer_flow.settings import Settings as Transformer

WINDOWS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
REACHES = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 14.0, 20.0, 30.0)
LATER_REACHES, LATER_STEPS = (1.0, 4.0, 8.0, 20.0), 300


@dataclass(frozen=True)
class Settings:
    """Problems and ladders.

    ``quadratic`` gives the problems of Table 1 with a longer ladder of windows Δt (flow time); the series is
    summed up over its ``draws``, frozen curvature over the first ``frozen_draws`` of them, to ``tolerance``
    relative to the displacement. ``transformer`` gives the model, trained anew for each of ``seeds``;
    ``reaches`` are its windows in units of 1/λ_max. ``level`` is the confidence of every interval.
    """

    quadratic: Quadratic = field(default_factory=lambda: Quadratic(windows=WINDOWS, draws=100))
    transformer: Transformer = field(default_factory=lambda: Transformer(rtol=1e-9))
    frozen_draws: int = 3
    tolerance: float = 1e-13
    seeds: tuple[int, ...] = (4,)
    reaches: tuple[float, ...] = (0.03, 1.0, 20.0)
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive, seeds that repeat, and a level of 1 or more."""
        check_positive(self, ("seeds",))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise CommuteError(f"seeds are {self.seeds}: expected different seeds, at least one")
        if self.frozen_draws > self.quadratic.draws or self.level >= 1:
            raise CommuteError(
                f"frozen_draws {self.frozen_draws}, level {self.level}: expected at most "
                f"{self.quadratic.draws} draws and a level below 1"
            )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: about a minute."""
        return cls()

    @classmethod
    def full(cls) -> Self:
        """What is committed: three models on a finer ladder, some minutes each."""
        return cls(seeds=(4, 5, 6), reaches=REACHES)

    @classmethod
    def later(cls) -> Self:
        """What is committed beside it: the same models trained five times longer, on a coarser ladder."""
        early = cls.full()
        longer = replace(early.transformer, steps=LATER_STEPS)
        return replace(early, transformer=longer, reaches=LATER_REACHES)

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path; its figures mean little."""
        return cls(
            quadratic=replace(Quadratic.smoke(), windows=(0.01, 0.1, 10.0), times=(0.1, 1.0)),
            transformer=replace(Transformer.smoke(), rtol=1e-7),
            frozen_draws=2,
            reaches=(0.03, 2.0),
        )
