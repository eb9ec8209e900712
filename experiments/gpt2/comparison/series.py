"""The series of checkpoints read by corollary 3.2(b): where to move which domain, and whether it helped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from experiments.gpt2.comparison.agreement import Share
from experiments.gpt2.comparison.cases import Cases, select
from experiments.gpt2.comparison.results import BRACKETS, Results


@dataclass(frozen=True)
class Move:
    """A resolved violation: the target gains if ``later`` is moved later.

    ``value`` ± ``stderr`` is the gain of a tilt in units of Δw (γΔt)²; ``order`` is the order that makes it.
    ``tried`` are the cases of that order and target at this checkpoint, against the base, and ``opposed``
    those of one order against the other: what harms in both orders alike counts against the first alone.
    """

    run: int
    step: int
    bracket: str
    target: str
    earlier: str
    later: str
    value: float
    stderr: float
    order: Literal["12", "21"]
    tried: Cases
    opposed: Cases

    def helped(self, *, tail: bool, resolved: bool = False) -> Share:
        """How many of the tilts ended below the base; of the resolved ones only, if asked."""
        return _lower(self.tried, 1, tail, resolved)

    def better(self, *, tail: bool, resolved: bool = False) -> Share:
        """How many of the tilts ended below the opposite order."""
        return _lower(self.opposed, 1 if self.order == "12" else -1, tail, resolved)


def _lower(cases: Cases, sign: int, tail: bool, resolved: bool) -> Share:
    found = [case for case in cases if case.at.tail == tail and (case.observed.resolved or not resolved)]
    return Share(sum(sign * case.observed.value < 0 for case in found), len(found))


def moves(results: Results, cases: Cases) -> tuple[Move, ...]:
    """Every resolved violation of every checkpoint, for both brackets."""
    found = []
    for number, run in enumerate(results.runs):
        for point in run.checkpoints:
            for name in BRACKETS:
                effect = point.effects[name]
                targets = {results.name_in(effect, target): target for target in results.targets}
                for each in effect.optimality(run.weights):
                    if each.target not in targets:
                        continue
                    target = targets[each.target]
                    order: Literal["12", "21"] = "12" if each.later == results.domains[1] else "21"
                    here = select(cases, run=number, step=point.step, targets=(target,))
                    found.append(
                        Move(
                            number,
                            point.step,
                            name,
                            target,
                            each.earlier,
                            each.later,
                            each.value,
                            each.stderr,
                            order,
                            select(here, kind=order),
                            select(here, kind="orders"),
                        )
                    )
    return tuple(found)


def all_helped(
    found: Sequence[Move],
    bracket: str,
    *,
    tail: bool,
    resolved: bool = False,
    window: int | None = None,
    opposite: bool = False,
) -> Share:
    """Over all moves that a bracket advised: how many tilts helped, at one Δt or at all.

    Against the base, or against the ``opposite`` order.
    """
    mine = [_at(move, window) for move in found if move.bracket == bracket]
    shares = [
        move.better(tail=tail, resolved=resolved) if opposite else move.helped(tail=tail, resolved=resolved)
        for move in mine
    ]
    return Share(sum(each.count for each in shares), sum(each.total for each in shares))


def _at(move: Move, window: int | None) -> Move:
    return replace(move, tried=select(move.tried, window=window), opposed=select(move.opposed, window=window))


def windows(found: Sequence[Move]) -> list[int]:
    """Every Δt that was tried."""
    return sorted({case.at.window for move in found for case in move.tried})
