"""One block for each domain: the best order for given totals, how sure it is, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.planning import given
from commute_verify.planning.ordering import Ordering, best_order
from commute_verify.planning.resampling import Resampling, Robustness, Turn, least_costs, robustness
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

RESAMPLED = 12
"""Up to so many domains the best order of every draw is computed; beyond it, a bound on its gain."""


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """The best order of blocks for a target at second order, and whether to use it.

    Gains are losses that end lower than with constant weights of the same totals. ``order`` is the best one
    and ``gap`` is how much more another might gain at most, 0 where it is proved best; ``tied`` are pairs
    that the other way round lose nothing, ``unresolved`` those whose P has no resolved sign. ``schedule`` is
    what to do: the blocks, or constant weights where ``recommended`` is False.
    """

    target: str
    order: tuple[str, ...]
    totals: Mapping[str, float]
    robustness: Robustness
    gap: float
    second: tuple[str, ...] | None
    second_gain: float
    tied: tuple[tuple[str, str], ...]
    unresolved: tuple[tuple[str, str], ...]
    turn: Turn | None

    @property
    def gain(self) -> float:
        """The gain of the best order, predicted."""
        return self.robustness.gain

    @property
    def recommended(self) -> bool:
        """Whether the blocks are better than constant weights, beyond luck; if not, leave it as it is."""
        return self.robustness.resolved

    @property
    def blocks(self) -> WeightSchedule:
        """The best order as a schedule, recommended or not."""
        return WeightSchedule.blocks({name: self.totals[name] for name in self.order})

    @property
    def schedule(self) -> WeightSchedule:
        """The blocks where they are recommended, else constant weights."""
        return self.blocks if self.recommended else self.blocks.averaged()

    def __str__(self) -> str:
        """The plan, how sure it is, the second best, ties and what would change it."""
        said = [self._advice(), str(self.robustness)]
        if self.gap > 0:
            said.append(f"Another order gains at most {self.gap:.3g} more: this one is not proved best.")
        if self.second is not None:
            said.append(f"Second best: {', '.join(self.second)}, which gains {self.second_gain:.3g}.")
        if self.tied:
            said.append(f"Tied, so kept as given: {given.pairs_in_words(self.tied)}.")
        if self.unresolved:
            said.append(f"Not resolved: {given.pairs_in_words(self.unresolved)}.")
        return " ".join([*said, *([str(self.turn)] if self.turn else [])])

    def _advice(self) -> str:
        order = ", then ".join(self.order)
        if self.recommended:
            return f"For {self.target} loss, train {order}."
        return (
            f"For {self.target} loss, leave the order as it is: no order of blocks is better than constant "
            f"weights beyond luck (the likeliest is {order})."
        )


def plan_blocks(
    effect: OrderEffect,
    totals: Mapping[str, float],
    target: str | None = None,
    *,
    lr: float = 1.0,
    resampling: Resampling | None = None,
    seconds: float = 60.0,
) -> BlockPlan:
    """The order of one block per domain that ends with the lowest loss of the target, at second order.

        L(θ_order) − L(θ_const) ≈ ½ lr² Σ_{i before j} T_i T_j P(L_i, L_j; L)

    ``totals`` T are steps at a constant learning rate ``lr``, or flow time with the default lr of 1. The
    order is exact up to 16 domains; beyond it a solver has ``seconds`` and ``gap`` says what it left open.
    Beyond 12 domains the interval uses Σ |error of a pair| in place of the best order of the errors: wider,
    and still valid. Raises CommuteError for totals that are not above 0, and for unknown names.
    """
    chosen, how = given.target_of(effect, target), (resampling or Resampling()).shared(effect.looks)
    T = given.per_domain(effect, totals, "totals")
    short = [name for name, total in zip(effect.domains, T, strict=True) if total <= 0]
    if short:
        raise CommuteError(
            f"a total of {totals[short[0]]} for {short[0]}; give every domain that is planned more than 0"
        )
    lr = given.positive(lr, "lr")
    for total in (float(T.min()), float(T.max())):
        given.scale_of(lr, total * total)
    scale = 0.5 * lr**2 * np.outer(T, T)
    P, replicates, rounding = given.of_target(effect, chosen)
    found = best_order(scale * P, seconds=seconds)
    names = tuple(effect.domains[k] for k in found.order)
    floor = float((scale * rounding).sum() / 2)
    return BlockPlan(
        chosen,
        names,
        dict(zip(names, T[list(found.order)].tolist(), strict=True)),
        _robustness(found, scale * P, scale * replicates, how, effect.looks, floor),
        _gap(found),
        None if found.second is None else tuple(effect.domains[k] for k in found.second),
        0.0 - found.second_cost,
        _tied(effect, found),
        given.unresolved_pairs(effect, chosen, how.alpha),
        _turn(effect, found, scale, chosen),
    )


def _robustness(
    found: Ordering, cost: Array, replicates: Array, how: Resampling, looks: int, floor: float
) -> Robustness:
    K, errors = len(cost), how.errors(replicates)
    drawn = errors[:, *_pairs(found.order)].sum(axis=1) + found.cost
    if K > RESAMPLED:
        luck, best = np.abs(errors[:, *np.triu_indices(K, k=1)]).sum(axis=1), None
    else:
        luck, best = -least_costs(errors), -least_costs(errors + cost)
    return robustness(0.0 - found.cost, -drawn, luck, best, how.alpha, looks=looks, floor=floor)


def _gap(found: Ordering) -> float:
    """What another order might gain more; 0 where that is no more than sums of all pairs are off by."""
    left = found.cost - found.bound
    return left if left > found.roundoff else 0.0


def _pairs(order: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    at, first, then = np.array(order), *np.triu_indices(len(order), k=1)
    return at[first], at[then]


def _tied(effect: OrderEffect, found: Ordering) -> tuple[tuple[str, str], ...]:
    if found.forced is None:
        if found.second is None or found.second_cost - found.cost > found.roundoff:
            return ()
        turned = set(zip(*_pairs(found.order), strict=True)) - set(zip(*_pairs(found.second), strict=True))
        return tuple((effect.domains[i], effect.domains[j]) for i, j in sorted(turned))
    pairs = zip(*_pairs(found.order), strict=True)
    return tuple((effect.domains[i], effect.domains[j]) for i, j in pairs if found.forced[j, i] == 0)


def _turn(effect: OrderEffect, found: Ordering, scale: Array, target: str) -> Turn | None:
    """The pair whose P, moved by the fewest standard errors, makes another order the best."""
    stderr = effect.stderr[target]
    if found.forced is None:
        return None
    turns = []
    for i, j in zip(*_pairs(found.order), strict=True):
        change = float(found.forced[j, i] / (2 * scale[i, j]))
        errors = change / float(stderr[i, j]) if stderr[i, j] > 0 else np.inf if change else 0.0
        one, other = effect.domains[i], effect.domains[j]
        turns.append(Turn(one, other, f"P({one}, {other}; {target})", change, errors))
    return min(turns, key=lambda turn: turn.stderrs)
