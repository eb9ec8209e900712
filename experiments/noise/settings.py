"""What the noise experiment is run with."""

from dataclasses import dataclass
from typing import Self

from commute_verify.errors import CommuteError
from experiments.positive import check_positive


@dataclass(frozen=True)
class Settings:
    """Sizes, seeds and step sizes; all runs take ``steps`` steps of each domain, or twice as many of both.

    Quadratics: ``dimension``, noise of ``noise`` times the mean square of the domains' gradients, step sizes
    ``quadratic_rates`` in units of 1/λ_max. Network: ``width`` hidden units, ``examples`` of each domain;
    from the points after ``warm_ups`` full steps on the mixture with ``warm_up_rate``, minibatches of
    ``batch`` examples at ``rates``, ``seeds`` runs at each, ``chunk`` at a time. ``estimate`` batches of
    ``wide`` examples of each domain go to the estimate of the noise, and ``large`` batches of four times the
    examples there are to that of P. ``level`` is the confidence of every interval.
    """

    seed: int = 20251206
    steps: int = 4
    dimension: int = 8
    noise: float = 100.0
    quadratic_rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)
    width: int = 4
    examples: int = 64
    warm_ups: tuple[int, ...] = (20, 500)
    warm_up_rate: float = 0.1
    batch: int = 2
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)
    seeds: int = 60_000
    chunk: int = 20_000
    estimate: int = 1600
    wide: int = 16
    large: int = 200
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse sizes and rates that are not positive, and chunks that do not divide the seeds."""
        check_positive(self)
        if self.seeds % self.chunk or self.level >= 1 or min(self.estimate, self.large) < 16:
            raise CommuteError(
                f"seeds {self.seeds}, chunk {self.chunk}, level {self.level}, estimate {self.estimate}: "
                "expected a chunk that divides the seeds, a level < 1, and at least 16 batches"
            )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: half a minute."""
        return cls()

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path; its figures mean little."""
        return cls(
            rates=(0.01, 0.1), quadratic_rates=(0.01, 0.1), seeds=4000, chunk=2000, estimate=32, large=40
        )
