"""What each planner makes of a bench: a tilt and an order of blocks for a target, and what they promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.variation import averaged
from commute_verify.errors import CommuteError
from commute_verify.planning import descend, pareto_tilt, plan_blocks, plan_tilt
from commute_verify.planning.descent import Descent
from commute_verify.schedules import WeightSchedule
from experiments.planned_training import schedules
from experiments.planned_training.bench import Bench
from experiments.planned_training.rules import rankings
from experiments.planned_training.training import per_step

Array = NDArray[np.float64]

PLANNERS = ("trajectory", "Adam bracket", "plain bracket")
TILT, BLOCKS = SHAPES = ("tilt", "blocks")


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule, the excess over constant weights that it promises, and whether the planner would use it."""

    schedule: WeightSchedule
    promised: float
    recommended: bool

    def __post_init__(self) -> None:
        """Refuse a plan that promises a higher loss: it is another's reverse, or of the other sign."""
        if self.promised > 0:
            raise CommuteError(
                f"a plan that promises an excess of {self.promised:.3g}: expected one of at most 0, as "
                "constant weights have; has it been reversed?"
            )


class Planners:
    """Everything that plans are made from, on one bench, for targets that mix its domains."""

    def __init__(self, bench: Bench, targets: Sequence[str]) -> None:
        """Sweep every planning window once, and estimate both brackets."""
        self._bench, self._s = bench, bench.settings
        self.targets = bench.targets(targets)
        alone = bench.targets(bench.domains)
        windows = range(self._s.planning)
        self.variation = averaged([bench.variation(bench.constant, alone, n) for n in windows])
        every = {**self.targets, **alone}
        self.effects = {
            "Adam bracket": bench.effect(every, adam=True),
            "plain bracket": bench.effect(every, adam=False),
        }
        self._named = dict(zip(bench.domains, bench.weights.tolist(), strict=True))

    def plan(self, planner: str, shape: str, target: str) -> Plan:
        """The planner's best schedule of this shape."""
        s, effect = self._s, self.effects.get(planner)
        if effect is None:
            return self._by_trajectory(shape, target)
        if shape == TILT:
            tilted = plan_tilt(effect, self._named, s.steps, s.max_tilt, target, lr=s.rate, switch="half")
            return Plan(tilted.tilted, -tilted.gain, tilted.recommended)
        totals = {name: weight * s.steps for name, weight in self._named.items()}
        ordered = plan_blocks(effect, totals, target, lr=s.rate)
        whole = WeightSchedule.blocks({name: float(round(totals[name])) for name in ordered.order})
        return Plan(whole, -ordered.gain, ordered.recommended)

    def _by_trajectory(self, shape: str, target: str) -> Plan:
        bench = self._bench
        if shape == TILT:
            found = bench.tilt(self.later(target))
        else:
            found = schedules.best_blocks(
                bench.domains, bench.weights, self._s.steps, lambda one: self.promise(one, target)[0]
            )
        value, each = self.promise(found, target)
        return Plan(found, value, bool(np.all(each < 0)))

    def promise(self, schedule: WeightSchedule, target: str) -> tuple[float, Array]:
        """The first variation's excess over constant weights, and that of every planning window."""
        change = per_step(schedule, self.variation.domains) - self.variation.weights
        each = np.array([float((change * slopes).sum()) for slopes in self._of(target)])
        return float(each.mean()), each

    def later(self, target: str) -> Array:
        """What having each domain (K,) earlier costs: Σ of ∂L/∂w over the first half less the second."""
        slopes = self._of(target).mean(axis=0)
        half = len(slopes) // 2
        found: Array = slopes[:half].sum(axis=0) - slopes[half:].sum(axis=0)
        return found

    def together(self, planner: str, targets: Sequence[str]) -> schedules.Together:
        """The planner's tilt for several targets at once, or its proof that there is none."""
        bench, s = self._bench, self._s
        effect = self.effects.get(planner)
        if effect is None:
            later = np.stack([self.later(name) for name in targets])
            return schedules.together(bench.domains, bench.weights, later, s.steps, s.max_tilt)
        found = pareto_tilt(effect, self._named, s.steps, s.max_tilt, targets, lr=s.rate)
        first, then = found.window.switch, found.window.steps - found.window.switch
        tilted = WeightSchedule.piecewise([(first, found.window.early), (then, found.window.late)])
        weights = np.array([found.certificate[name] for name in targets])
        return schedules.Together(tilted, found.share, found.bound, weights)

    def descent(self, target: str) -> Descent:
        """Descent along the first variation, every trial run on the first planning window."""
        bench, s = self._bench, self._s
        mixing = bench.targets((target,))
        start = WeightSchedule.piecewise([(s.steps / s.stages, self._named)] * s.stages)

        def by_stage(schedule: WeightSchedule) -> Array:
            if schedule == start:
                slopes = self._of(target)[0]
            else:
                slopes = bench.variation(schedule, mixing, 0).sensitivity[target]
            found: Array = slopes.reshape(s.stages, -1, len(bench.domains)).mean(axis=1)
            return found

        return descend(
            start,
            lambda schedule: bench.tried(schedule, mixing[target]),
            by_stage,
            steps=s.trials,
            first_move=s.max_tilt,
            max_tilt=s.max_descent,
        )

    def rules(self, target: str) -> Mapping[str, Array]:
        """The ranks (K,) of every simple rule."""
        trained, goal = self._gradients
        return rankings(
            trained, self._mixing(target) @ goal, self._bench.weights, self._s.randoms, self._bench.seed
        )

    @cached_property
    def _gradients(self) -> tuple[Array, Array]:
        return self._bench.gradients()

    def _of(self, target: str) -> Array:
        """∂L_target/∂w_k(s) on every planning window, (R, N, K)."""
        each = self.variation.replicates
        if each is None:
            raise CommuteError("a single planning window: expected at least 2")
        alone = np.stack([each[name] for name in self._bench.domains])
        found: Array = np.einsum("d,drsk->rsk", self._mixing(target), alone)
        return found

    def _mixing(self, target: str) -> Array:
        mixed = self._bench.targets((target,))[target]
        return np.array([mixed.get(name, 0.0) for name in self._bench.domains])
