"""What planned training is run with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from commute_verify.errors import CommuteError
from experiments.optimizer_windows.settings import DOMAINS
from experiments.optimizer_windows.settings import Settings as Windows
from experiments.positive import check_positive


@dataclass(frozen=True)
class Settings:
    """Models, the window that is planned, and how many of each.

    A GPT-2 of ``layers`` × ``width`` reads four languages of ``language_words`` words, of which the share
    ``shared`` is common to all. Every seed has languages, an initialisation and sequences of its own. After
    ``warm`` steps of AdamW at ``rate``, each on ``rows`` sequences of ``context`` tokens of every domain,
    their losses weighed by ``weights``, a window of ``steps`` more is planned from ``planning`` other windows
    and ``goal_rows`` held-out sequences of every domain, and run on sequences, for targets on
    ``held_out_rows`` others, that no plan has seen. ``randoms`` random orders stand beside it.
    Tilts move weights by at most ``max_tilt``, descent by ``max_descent`` in ``stages`` stages and ``trials``
    trials; they weigh the losses of the same batches. Blocks have ``batch`` sequences of one domain a step.
    ``imbalanced`` are the weights of the case of two languages. ``level`` is the confidence of every
    interval.
    """

    seeds: int = 20
    first_seed: int = 100
    layers: int = 2
    width: int = 32
    heads: int = 2
    context: int = 32
    language_words: int = 32
    shared: float = 0.5
    rows: int = 10
    batch: int = 20
    goal_rows: int = 64
    held_out_rows: int = 96
    weights: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    imbalanced: tuple[float, ...] = (0.9, 0.1)
    weight_decay: float = 0.1
    rate: float = 1e-3
    warm: int = 200
    steps: int = 40
    planning: int = 2
    randoms: int = 3
    max_tilt: float = 0.05
    max_descent: float = 0.08
    stages: int = 4
    trials: int = 2
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse numbers that are not positive, and weights that do not share out steps."""
        check_positive(self)
        for name, count in (("weights", len(DOMAINS)), ("imbalanced", 2)):
            value = getattr(self, name)
            shares = [weight * self.steps for weight in value] + [weight * self.batch for weight in value]
            if len(value) != count or abs(sum(value) - 1) > 1e-9:
                raise CommuteError(f"{name} is {value}: expected {count} weights that sum to 1")
            if any(abs(share - round(share)) > 1e-9 for share in shares):
                raise CommuteError(
                    f"{name} {value} of {self.steps} steps of {self.batch}: expected whole steps, and whole "
                    "sequences in a step, for each domain"
                )
        if self.steps % self.stages or self.stages % 2:
            raise CommuteError(
                f"steps {self.steps}, stages {self.stages}: expected an even number of stages that "
                "divides steps"
            )
        if self.level >= 1 or min(self.seeds, self.planning) < 2:
            raise CommuteError(
                f"level {self.level}, seeds {self.seeds}, planning {self.planning}: expected a level below "
                "1, and at least 2 of the others"
            )

    def windows(self, seed: int) -> Windows:
        """The languages, model and batches of one seed."""
        return Windows(
            seed=seed,
            language_words=self.language_words,
            shared=self.shared,
            context=self.context,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            rows=max(self.rows, self.batch),
            held_out_rows=self.goal_rows + self.held_out_rows,
            weights=self.weights,
            starts=((self.rate, self.warm),),
            weight_decay=self.weight_decay,
            lengths=(self.steps // 2,),
            tail=1,
        )

    @property
    def every_seed(self) -> range:
        """The seeds, one after another."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @classmethod
    def full(cls) -> Self:
        """Twenty seeds, about forty minutes of one core."""
        return cls()

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: three seeds of a smaller model, under a minute."""
        return cls(
            seeds=3,
            layers=1,
            width=16,
            context=16,
            rows=2,
            batch=10,
            warm=100,
            steps=10,
            goal_rows=32,
            held_out_rows=64,
            randoms=1,
            stages=2,
            trials=1,
        )

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path."""
        return replace(cls.default(), seeds=2, warm=12, goal_rows=16, held_out_rows=16)
