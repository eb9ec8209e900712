"""What the study of optimizer windows is run with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from commute_verify.errors import CommuteError
from experiments.positive import check_positive

DOMAINS = ("a", "b", "c", "d")
TARGETS = (*DOMAINS, "mixture")
FEWEST = 2
"""Batch seeds that have a spread."""


@dataclass(frozen=True)
class Settings:
    """Sizes, training, windows and seeds.

    A GPT-2 of ``layers`` × ``width`` is trained by AdamW with ``weight_decay`` on batches of ``rows``
    sequences of ``context`` tokens of every domain, weighed by ``weights``. Windows start at ``starts``,
    learning rates and steps of training. A window trains two stages of k steps for each k of ``lengths``, and
    again with a common tail of ``tail`` steps; from ``long_from`` on they are run from the second start
    alone, as the map of validity is, with ``map_lengths``. Each branch is run on ``observed`` seeds of
    batches, in both orders of the two stages' batches; predictions are taken from ``own`` of the same ones,
    and from ``disjoint`` other ones. The trajectory between Gauss points costs
    sweeps for each schedule, and is taken from the last two starts: of the first tilt of 0.15 from all of
    these seeds up to ``tilt_up_to`` steps, and with the tail, from the second start alone, up to
    ``tail_up_to``; of swaps up to ``swap_up_to``, and of that tilt against constant weights up to
    ``raise_up_to``, from ``own`` seeds and ``dear_seeds`` disjoint ones. Frozen curvature and order 3 take
    ``slow_rows`` rows, for tilts of 0.15 and swaps up to ``slow_up_to`` steps. ``level`` is the confidence of
    intervals.
    """

    seed: int = 11
    language_words: int = 32
    shared: float = 0.5
    context: int = 32
    width: int = 32
    layers: int = 2
    heads: int = 2
    rows: int = 16
    held_out_rows: int = 64
    local_rows: int = 64
    slow_rows: int = 16
    weights: tuple[float, ...] = (0.32, 0.32, 0.18, 0.18)
    starts: tuple[tuple[float, int], ...] = ((3e-4, 150), (3e-4, 1500), (1e-3, 500))
    weight_decay: float = 0.1
    lengths: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    tail: int = 40
    long_from: int = 100
    observed: int = 5
    own: int = 1
    disjoint: int = 5
    dear_seeds: int = 4
    tilt_up_to: int = 100
    tail_up_to: int = 50
    swap_up_to: int = 100
    raise_up_to: int = 20
    slow_up_to: int = 100
    map_lengths: tuple[int, ...] = (1, 2, 5, 10, 20)
    level: float = 0.95

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive, too few seeds, and lengths that do not ascend."""
        check_positive(self)
        if min(self.observed, self.disjoint) < FEWEST or self.own > self.observed:
            raise CommuteError(
                f"observed {self.observed}, disjoint {self.disjoint}, own {self.own}: expected at least "
                f"{FEWEST} seeds of the first two, and no more own ones than observed"
            )
        for name in ("lengths", "map_lengths"):
            value = getattr(self, name)
            if list(value) != sorted(set(value)):
                raise CommuteError(f"{name} is {value}: expected numbers that ascend")
        if len(self.weights) != len(DOMAINS) or abs(sum(self.weights) - 1) > 1e-9:
            raise CommuteError(f"weights {self.weights}: expected {len(DOMAINS)} that sum to 1")

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @property
    def others(self) -> range:
        """Seeds of batches that no observed run has seen."""
        return range(self.observed, self.observed + self.disjoint)

    @property
    def swept(self) -> list[int]:
        """The disjoint seeds, and the observed ones that are predicted from their own batches."""
        return [*self.others, *range(self.own)]

    @property
    def swapped(self) -> list[int]:
        """The seeds that swaps, and the tilt against constant weights, are predicted from."""
        return [*range(self.own), *self.others[: self.dear_seeds]]

    @property
    def main(self) -> tuple[float, int]:
        """The start that everything is run from."""
        return self.starts[min(1, len(self.starts) - 1)]

    @property
    def steps(self) -> int:
        """Steps of training up to the last start."""
        return max(step for _, step in self.starts)

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: one layer, one start and short windows, under a minute."""
        return cls(
            width=16,
            context=16,
            layers=1,
            rows=4,
            held_out_rows=32,
            local_rows=24,
            slow_rows=8,
            starts=((1e-3, 100),),
            lengths=(1, 5),
            tail=10,
            observed=3,
            disjoint=3,
            dear_seeds=2,
            tilt_up_to=5,
            tail_up_to=1,
            swap_up_to=1,
            raise_up_to=1,
            slow_up_to=1,
            map_lengths=(2,),
        )

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path."""
        return replace(
            cls.default(),
            held_out_rows=16,
            local_rows=12,
            starts=((1e-3, 20),),
            lengths=(1, 3),
            tail=3,
            observed=2,
            disjoint=2,
            tilt_up_to=1,
            map_lengths=(1,),
        )

    @classmethod
    def full(cls) -> Self:
        """The committed study: about eleven hours of one core."""
        return cls()
