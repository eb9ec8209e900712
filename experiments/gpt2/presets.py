"""What a study is run with, at four sizes: smoke, cpu, gpu, paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from commute_verify.errors import CommuteError
from experiments.gpt2.interventions import Branch
from experiments.gpt2.settings import Training


@dataclass(frozen=True)
class Base:
    """Base weights of a run, in the order of the domains, and the tilts δ of its branches.

    A tilt is between the first two domains; any others keep their weights. ``middle`` is the δ at which
    shorter windows and further seeds are tried.
    """

    weights: tuple[float, ...]
    deltas: tuple[float, ...]
    middle: float

    def __post_init__(self) -> None:
        """Hold weights and tilts to the simplex, and the middle to one of the tilts."""
        if len(self.weights) < 2 or min(self.weights) <= 0 or not math.isclose(sum(self.weights), 1.0):
            raise CommuteError(
                f"base weights {self.weights} sum to {sum(self.weights):g}: give two or more above 0 that "
                "sum to 1"
            )
        room = min(self.weights[:2])
        for delta in self.deltas:
            if not 0 < delta <= room:
                raise CommuteError(
                    f"a tilt of {delta:g} "
                    + (
                        f"leaves the simplex at the base weights {self.weights}"
                        if delta > 0
                        else "moves nothing"
                    )
                    + f": give one above 0 and at most {room:g}"
                )
        if self.middle not in self.deltas:
            raise CommuteError(f"middle {self.middle} is none of the deltas {self.deltas}: choose among them")

    def of(self, domains: Sequence[str]) -> dict[str, float]:
        """The weights by name."""
        if len(domains) != len(self.weights):
            raise CommuteError(
                f"{len(domains)} domains ({', '.join(domains)}) for base weights {self.weights}: give "
                f"--data {len(self.weights)} times, or --weights"
            )
        return dict(zip(domains, self.weights, strict=True))

    def scaled(self, weights: tuple[float, ...]) -> Base:
        """The same tilts at other weights, as shares of the smaller of the first two.

        >>> Base((0.5, 0.5), (0.15, 0.3), 0.3).scaled((0.8, 0.2))
        Base(weights=(0.8, 0.2), deltas=(0.06, 0.12), middle=0.12)
        """
        factor = min(weights[:2]) / min(self.weights[:2])
        deltas = tuple(round(delta * factor, 12) for delta in self.deltas)
        return Base(weights, deltas, deltas[self.deltas.index(self.middle)])


@dataclass(frozen=True)
class Criterion:
    """How the criterion is estimated at a checkpoint: batches of each domain, and sequences in a batch.

    ``power_steps`` is the number of products with a Hessian for its largest eigenvalue.
    """

    batches: int
    sequences: int
    power_steps: int = 20


@dataclass(frozen=True)
class Preset:
    """A study: runs at base weights, their checkpoints, the branches from each, and how all is measured.

    Steps and windows are training steps. ``window`` is the longest, tried with every δ at seed 0, and at the
    middle δ with ``seeds`` seeds, as the ``short_windows`` are. ``tokenizer`` is
    "bpe" or the name of a pretrained one. ``validation`` is windows of a domain in an evaluation.
    ``limit_bytes`` is how much of each domain's text is read; None reads it all.
    """

    name: str
    training: Training
    tokenizer: str
    bases: tuple[Base, ...]
    checkpoints: tuple[int, ...]
    window: int
    short_windows: tuple[int, ...]
    seeds: int
    tail: int
    validation: int
    validation_share: float
    curve_every: int
    criterion: Criterion
    limit_bytes: int | None = None

    def __post_init__(self) -> None:
        """Hold the study to what can be run."""
        if not self.bases or not self.checkpoints or self.seeds < 1:
            raise CommuteError(
                "a study without base weights, checkpoints or seeds: give at least one of each"
            )
        for name, least in (("window", 1), ("tail", 0)):
            if getattr(self, name) < least:
                raise CommuteError(f"a study with {name} {getattr(self, name)}: give at least {least}")
        if self.training.paradigm != "sampling":
            raise CommuteError(
                f"paradigm {self.training.paradigm!r}: branches are of equal tokens, give 'sampling'"
            )
        if sorted(set(self.checkpoints)) != list(self.checkpoints):
            raise CommuteError(f"checkpoints {self.checkpoints}: give rising steps")
        if self.checkpoints[0] < self.training.warmup:
            raise CommuteError(
                f"a checkpoint at step {self.checkpoints[0]} lies in the warm-up of {self.training.warmup} "
                "steps, where equal tokens are not equal flow time: start branches after it"
            )
        if self.training.steps < self.checkpoints[-1] + 2 * self.window:
            raise CommuteError(
                f"a run of {self.training.steps} steps ends before the last branch does: give at least "
                f"{self.checkpoints[-1] + 2 * self.window} (--steps), or earlier checkpoints"
            )
        if any(not 1 <= window < self.window for window in self.short_windows):
            raise CommuteError(f"short windows {self.short_windows}: each is shorter than {self.window}")
        for base in self.bases:
            for window in (self.window, *self.short_windows):
                deltas = base.deltas if window == self.window else (base.middle,)
                self._check_whole(base, deltas, window)

    def _check_whole(self, base: Base, deltas: Sequence[float], window: int) -> None:
        """Equal tokens in both orders ask for whole numbers of sequences in each half of a window."""
        first, second = base.weights[:2]
        shares = (*base.weights, *(w + s * d for w in (first, second) for d in deltas for s in (1, -1)))
        for share in shares:
            planned = share * self.training.batch * window
            if abs(planned - round(planned)) > 1e-6:
                raise CommuteError(
                    f"a domain of weight {share:g} has {planned:g} sequences in a window of {window} steps "
                    f"of {self.training.batch}: choose window and batch so that it is whole"
                )

    def branches(self, domains: Sequence[str]) -> list[Branch]:
        """All branches: those of the longest window, of short ones, further seeds of the longest."""

        def trio(base: Base, start: int, deltas: Sequence[float], window: int, seed: int) -> list[Branch]:
            w = base.of(domains)
            found = [Branch(start, w, 0.0, window, "base", seed, self.tail)]
            for delta in deltas:
                found += [Branch(start, w, delta, window, order, seed, self.tail) for order in ("12", "21")]
            return found

        found = []
        for base in self.bases:
            middle_first = sorted(base.deltas, key=lambda delta: delta != base.middle)
            for start in self.checkpoints:
                found += trio(base, start, middle_first, self.window, 0)
        short = [(window, seed) for window in self.short_windows for seed in range(self.seeds)]
        for window, seed in [*short, *((self.window, seed) for seed in range(1, self.seeds))]:
            for base in self.bases:
                for start in self.checkpoints:
                    found += trio(base, start, [base.middle], window, seed)
        return found

    def steps(self, domains: Sequence[str]) -> int:
        """Training steps in all, of runs and branches."""
        return len(self.bases) * self.training.steps + sum(b.steps for b in self.branches(domains))

    def as_dict(self) -> dict[str, Any]:
        """The study as plain data."""
        return asdict(self)


_PAPER_BASES = (
    Base((0.5, 0.5), (0.15, 0.3, 0.45), 0.3),
    Base((0.9, 0.1), (0.03, 0.06, 0.09), 0.06),
)

SMOKE = Preset(
    name="smoke",
    training=Training.smoke(),
    tokenizer="bpe",
    bases=(Base((0.5, 0.5), (0.3,), 0.3), Base((0.9, 0.1), (0.06,), 0.06)),
    checkpoints=(60, 120),
    window=20,
    short_windows=(5,),
    seeds=2,
    tail=20,
    validation=128,
    validation_share=0.1,
    curve_every=20,
    criterion=Criterion(batches=24, sequences=16, power_steps=10),
    limit_bytes=500_000,
)

CPU = Preset(
    name="cpu",
    training=Training.cpu(),
    tokenizer="bpe",
    bases=_PAPER_BASES,
    checkpoints=(150, 500, 850, 1200),
    window=60,
    short_windows=(5, 20),
    seeds=3,
    tail=50,
    validation=256,
    validation_share=0.05,
    curve_every=50,
    criterion=Criterion(batches=60, sequences=32),
)

GPU = Preset(
    name="gpu",
    training=Training.gpu(),
    tokenizer="bpe",
    bases=_PAPER_BASES,
    checkpoints=(300, 1200, 2200),
    window=200,
    short_windows=(10, 50),
    seeds=1,
    tail=50,
    validation=512,
    validation_share=0.05,
    curve_every=200,
    criterion=Criterion(batches=100, sequences=60),
)

PAPER = Preset(
    name="paper",
    training=Training.paper(),
    tokenizer="bert-base-multilingual-cased",
    bases=_PAPER_BASES,
    checkpoints=(2000, 8000, 14000, 20000),
    window=4000,
    short_windows=(25, 250),
    seeds=1,
    tail=50,
    validation=1024,
    validation_share=0.01,
    curve_every=1000,
    criterion=Criterion(batches=100, sequences=6),
    limit_bytes=66_000_000_000,
)

PRESETS = {preset.name: preset for preset in (SMOKE, CPU, GPU, PAPER)}


def preset(name: str) -> Preset:
    """The preset of this name."""
    if name not in PRESETS:
        raise CommuteError(f"no preset {name!r}: the presets are {', '.join(PRESETS)}")
    return PRESETS[name]
