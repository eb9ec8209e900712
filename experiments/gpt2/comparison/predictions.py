"""What is predicted for each excess: by the two brackets, and by rules that cost less.

A prediction is (value, standard error) in nats per token, or None where the rule makes no call. The rules
know a sign and a relative size only; their values are in units of their own and have no error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from commute_verify.schedules import WeightSchedule
from experiments.gpt2.comparison.excess import RESOLVED, At
from experiments.gpt2.comparison.results import BRACKETS, MEAN, Checkpoint, Results


class Prediction(NamedTuple):
    """A predicted excess and its standard error."""

    value: float
    error: float

    @property
    def resolved(self) -> bool:
        """Whether it lies more than two standard errors from 0."""
        return abs(self.value) > RESOLVED * self.error


PREDICTORS = {
    "plain": "plain bracket",
    "adam": "Adam bracket",
    "curvature": "one curvature for all",
    "norms": "larger gradient last",
    "cosine": "last wins if gradients conflict",
    "last": "last wins",
}
"""All predictors, and what a table calls them."""


Brackets = Mapping[str, Mapping[str, Prediction]]
"""Bracket, then target."""


def brackets(results: Results, at: At, tail_steps: int) -> Brackets:
    """What both brackets predict for the very schedule of a branch, for every target."""
    point = results.runs[at.run].checkpoint(at.step)
    found = {}
    for name in BRACKETS:
        effect = point.effects[name]
        excess = effect.excess_loss(schedule(results, at, tail_steps), point.lr)
        found[name] = {t: Prediction(*excess[results.name_in(effect, t)]) for t in results.targets}
    return found


def rules(results: Results, at: At) -> dict[str, Prediction | None]:
    """What the cheap rules say of an excess."""
    point = results.runs[at.run].checkpoint(at.step)
    size = (-1.0 if at.kind == "21" else 1.0) * at.delta * (point.lr * at.window) ** 2
    values = {name: size * rule(results, point, at.target) for name, rule in _RULES.items()}
    return {name: Prediction(value, 0.0) if value else None for name, value in values.items()}


def schedule(results: Results, at: At, tail_steps: int) -> WeightSchedule:
    """The weights of the branch, in steps; those of order 12 for "orders"."""
    first, second = results.domains
    weights = {name: results.runs[at.run].weights[name] for name in results.domains}
    delta = -at.delta if at.kind == "21" else at.delta
    tilt = WeightSchedule.tilt(weights, first, second, delta, float(at.window))
    return tilt.then(WeightSchedule.constant(weights, float(tail_steps))) if tail_steps else tilt


Rule = Callable[[Results, Checkpoint, str], float]
"""The sign, and some size, of the excess of a target under order 12."""


def _last(results: Results, point: Checkpoint, target: str) -> float:
    """The domain raised last ends lower and the other higher; nothing is said of the mean."""
    first, second = results.domains
    return {first: 1.0, second: -1.0}.get(target, 0.0)


def _cosine(results: Results, point: Checkpoint, target: str) -> float:
    """As above where the gradients conflict; the cosine alone is the same for both orders."""
    return max(0.0, -(point.cosine or 0.0)) * _last(results, point, target)


def _norms(results: Results, point: Checkpoint, target: str) -> float:
    """‖g_1‖ − ‖g_2‖: the domain with the larger gradient is better put last, whatever the target."""
    first, second = results.domains
    one, other = point.norms[first], point.norms[second]
    return 0.0 if one is None or other is None else one - other


def _curvature(results: Results, point: Checkpoint, target: str) -> float:
    """⟨g_1 − g_2, ∇L⟩: the bracket if all domains had the same curvature in all directions."""
    first, second = results.domains
    norms = point.norms[first], point.norms[second]
    if norms[0] is None or norms[1] is None or point.cosine is None:
        return 0.0
    one, other, both = norms[0] ** 2, norms[1] ** 2, point.cosine * norms[0] * norms[1]
    if target == MEAN:
        return (one - other) / 2
    return one - both if target == first else both - other


_RULES: dict[str, Rule] = {"curvature": _curvature, "norms": _norms, "cosine": _cosine, "last": _last}
