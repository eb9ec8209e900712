"""What the quadratic experiment is run with."""

from dataclasses import dataclass
from typing import Self

from commute_verify.errors import CommuteError
from experiments.positive import check_positive


@dataclass(frozen=True)
class Settings:
    """Sizes, seeds and grids; times and windows are flow time.

    ``dimension`` and ``decay`` give the spectrum decay^j, j < dimension; ``times`` (t) and ``windows`` (Δt)
    span Table 1, with ``draws`` problems in a cell, or ``draws`` starting points for each of
    ``fixed_matrices`` problems; figure 2 has ``starts`` curves, and ``loss_draws`` problems in each of
    ``loss_dimensions``; ``domain_counts`` (K), ``stages`` and ``spans`` (T) are for the random schedules,
    with ``schedule_draws`` problems.
    ``level`` is the confidence of every interval, ``chunk`` how many problems are held at once.
    """

    seed: int = 20250125
    dimension: int = 100
    decay: float = 0.7
    times: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    windows: tuple[float, ...] = (0.001, 0.01, 0.1)
    draws: int = 1000
    fixed_matrices: int = 20
    starts: int = 12
    loss_dimensions: tuple[int, ...] = (2, 5, 10, 20, 50, 100)
    loss_draws: int = 200
    domain_counts: tuple[int, ...] = (3, 5)
    stages: int = 4
    spans: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    schedule_draws: int = 500
    level: float = 0.95
    chunk: int = 50

    def __post_init__(self) -> None:
        """Refuse sizes and grids that are empty or not positive, and a level or decay above 1."""
        check_positive(self)
        if self.level >= 1 or self.decay > 1:
            raise CommuteError(
                f"level {self.level}, decay {self.decay}: expected a level < 1 and a decay ≤ 1"
            )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: 1000 draws in dimension 100."""
        return cls()

    @classmethod
    def smoke(cls) -> Self:
        """Seconds rather than a minute, for a look at the whole path; its figures mean little."""
        return cls(
            dimension=20,
            draws=60,
            fixed_matrices=3,
            loss_dimensions=(2, 10),
            loss_draws=20,
            schedule_draws=40,
            chunk=20,
        )
