"""What the planning experiment is run with."""

from dataclasses import dataclass, replace
from typing import Self

from commute_verify.errors import CommuteError
from experiments import quadratic
from experiments.positive import check_positive


@dataclass(frozen=True)
class Settings:
    """Sizes, seeds and grids; ``spans`` are lengths of a run in flow time.

    ``draws`` problems of appendix B in ``dimension`` for each of ``domain_counts`` (K); totals are drawn from
    a Dirichlet distribution of ``concentration``. Tilts move weights by ``max_tilt`` in ``steps`` steps and
    meet ``rivals`` random ones. Noise: ``trials`` effects of ``replicates`` for each K of ``noisy_counts``
    and each of ``signals``, the size of P in its own standard errors, resampled ``resamples`` times.
    Descent: ``descents`` problems for each K of ``descent_counts``, ``stages`` stages.
    ``level`` is the confidence of every interval.
    """

    seed: int = 20251206
    dimension: int = 10
    decay: float = 0.7
    domain_counts: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    spans: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    draws: int = 100
    concentration: float = 3.0
    max_tilt: float = 0.1
    steps: int = 64
    rivals: int = 20
    noisy_counts: tuple[int, ...] = (2, 4, 8)
    signals: tuple[float, ...] = (0.0, 1.0, 3.0)
    trials: int = 100
    replicates: int = 8
    resamples: int = 400
    descent_counts: tuple[int, ...] = (2, 4)
    descents: int = 10
    stages: int = 8
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse sizes and grids that are empty or not positive, and a level or decay above 1."""
        check_positive(self, ("seed", "signals"))
        if self.seed < 0 or min(self.signals, default=-1.0) < 0:
            raise CommuteError(f"seed {self.seed}, signals {self.signals}: expected numbers of at least 0")
        if self.level >= 1 or self.decay > 1 or max(self.domain_counts) > 8:
            raise CommuteError(
                f"level {self.level}, decay {self.decay}, domain_counts {self.domain_counts}: expected a "
                "level < 1, a decay ≤ 1, and at most 8 domains, whose 40 320 orders are all run"
            )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: 100 problems for each number of domains."""
        return cls()

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path; its figures mean little."""
        return cls(
            domain_counts=(2, 4),
            spans=(0.1, 1.0),
            draws=10,
            rivals=5,
            noisy_counts=(2, 4),
            trials=20,
            descent_counts=(2,),
            descents=2,
        )

    def problems(self) -> quadratic.Settings:
        """The same for the problems of the quadratic experiment."""
        base = quadratic.Settings.default()
        return replace(base, seed=self.seed, dimension=self.dimension, decay=self.decay)
