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
    ``tried`` are the cases of that order and target at this checkpoint.
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

    def helped(self, *, tail: bool, resolved: bool = False) -> Share:
        """How many of the tilts ended below the base; of the resolved ones only, if asked."""
        found = [
            case for case in self.tried if case.at.tail == tail and (case.observed.resolved or not resolved)
        ]
        return Share(sum(case.observed.value < 0 for case in found), len(found))


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
                    tried = select(cases, run=number, step=point.step, kind=order, targets=(target,))
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
                            tried,
                        )
                    )
    return tuple(found)


def all_helped(
    found: Sequence[Move], bracket: str, *, tail: bool, resolved: bool = False, window: int | None = None
) -> Share:
    """Over all moves that a bracket advised: how many tilts helped, at one Δt or at all."""
    shares = [
        _at(move, window).helped(tail=tail, resolved=resolved) for move in found if move.bracket == bracket
    ]
    return Share(sum(each.count for each in shares), sum(each.total for each in shares))


def _at(move: Move, window: int | None) -> Move:
    return replace(move, tried=select(move.tried, window=window))


def windows(found: Sequence[Move]) -> list[int]:
    """Every Δt that was tried."""
    return sorted({case.at.window for move in found for case in move.tried})
