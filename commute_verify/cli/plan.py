"""The schedule to train, from an effect: how much it gains, how sure that is, what would change it.

examples:
  commute-verify plan effect.json --totals en=90e6,ru=10e6 --tokens-per-step 65536 --lr 3e-4 --max-tilt 0.05
  commute-verify plan effect.json --totals en=90e6,ru=10e6 --tokens-per-step 65536 --lr 3e-4 --blocks
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from commute_verify.cli import DONE, MOST_STEPS, NOT_RESOLVED, files, inputs
from commute_verify.cli.asked import numbers
from commute_verify.cli.printing import show
from commute_verify.cli.schedule import amount
from commute_verify.cli.schedule_file import ScheduleFile
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

if TYPE_CHECKING:
    from commute_verify.criterion import OrderEffect

HELP = "from an effect to the schedule to train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("effect", type=Path, metavar="EFFECT.json", help="from commute-verify effect --json")
    parser.add_argument(
        "--totals", required=True, metavar="NAME=TOKENS,…", help="tokens to train of each domain"
    )
    parser.add_argument("--tokens-per-step", type=float, required=True, help="tokens of one training step")
    parser.add_argument("--lr", type=float, required=True, help="learning rate, constant on the way")
    parser.add_argument(
        "--target", action="append", help="whose loss counts (default: mixture); several: all must gain"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--max-tilt", type=float, help="the most that a weight may move, and back")
    how.add_argument("--blocks", action="store_true", help="one block for each domain, in the best order")
    parser.add_argument("--windows", type=int, help="tilt in so many windows, one after another")
    parser.add_argument("--out", type=Path, default=Path("schedule.json"), help="(default: schedule.json)")


def run(options: argparse.Namespace) -> int:
    """Print the plan and write the schedule; 3 where the advice is to leave the run as it is."""
    effect = inputs.read_effect(options.effect)
    totals = numbers(options.totals, "--totals")
    made = planned(effect, totals, options)
    stages = ScheduleFile(made.schedule, "steps", options.tokens_per_step).stages("tokens")
    held = ScheduleFile(WeightSchedule.piecewise(stages), "tokens", options.tokens_per_step)
    try:
        files.write(options.out, held.to_json())
    finally:
        show(made.words)
        show(counted(made.schedule.duration, totals, options.tokens_per_step, options.lr))
    if not options.quiet:
        show(f"{options.out} is written: commute-verify export {options.out} --to …")
    return DONE if made.recommended else NOT_RESOLVED


@dataclass(frozen=True)
class Planned:
    """What to do, in words and as a schedule in steps."""

    words: str
    schedule: WeightSchedule
    recommended: bool


def planned(effect: OrderEffect, totals: Mapping[str, float], options: argparse.Namespace) -> Planned:
    """Blocks, a tilt for one target, or one that all targets gain from."""
    from commute_verify.planning import pareto_tilt, plan_blocks, plan_tilt

    tokens = options.tokens_per_step
    if not 0 < tokens < math.inf:
        raise CommuteError(f"--tokens-per-step {tokens:g}: give a finite number above 0")
    if options.windows is not None and options.windows < 1:
        raise CommuteError(f"--windows {options.windows}: give 1 or more")
    for name in effect.domains:
        if not totals.get(name, 0) > 0:
            raise CommuteError(
                f"--totals gives {totals.get(name, 0):g} tokens of {name}: give every domain of the effect "
                f"({', '.join(effect.domains)}) more than 0"
            )
    unknown = [name for name in totals if name not in effect.domains]
    if unknown:
        raise CommuteError(
            f"--totals names {', '.join(unknown)}; the effect is of {', '.join(effect.domains)}"
        )
    targets, lr = options.target or [None], options.lr
    total = sum(totals.values())
    if not total / tokens <= MOST_STEPS:
        raise CommuteError(f"--totals of {total:g} tokens are more steps than can be counted: give fewer")
    if options.blocks:
        if len(targets) > 1 or options.windows:
            raise CommuteError("--blocks takes one --target and no --windows: give --max-tilt for these")
        steps = {name: totals[name] / tokens for name in effect.domains}
        for name, count in steps.items():
            if count < 1:
                raise CommuteError(
                    f"--totals gives {totals[name]:g} tokens of {name}, and a step has {tokens:g}: give a "
                    "block at least one step"
                )
        blocks = plan_blocks(effect, steps, targets[0], lr=lr)
        return Planned(str(blocks), blocks.schedule, blocks.recommended)
    weights = {name: totals[name] / total for name in effect.domains}
    length = round(total / tokens)
    if length < 2:
        raise CommuteError(f"--totals of {total:g} tokens are {length} steps of {tokens:g}: give at least 2")
    if len(targets) > 1:
        if options.windows:
            raise CommuteError("--windows with several targets: give one --target, or no --windows")
        every = pareto_tilt(effect, weights, length, options.max_tilt, targets, lr=lr)
        words = f"{every}{unresolved(effect, every.gains)}"
        return Planned(words, every.schedule, every.recommended)
    tilt = plan_tilt(effect, weights, length, options.max_tilt, targets[0], windows=options.windows, lr=lr)
    return Planned(f"{tilt}{unresolved(effect, [tilt.target])}", tilt.schedule, tilt.recommended)


def unresolved(effect: OrderEffect, targets: Iterable[str]) -> str:
    """The pairs whose P has no resolved sign, as a sentence to add, or nothing."""
    found = [
        f"{one} and {other} ({target})"
        for target in targets
        for one, other in combinations(effect.domains, 2)
        if not effect.prefer_first(one, other, target).resolved
    ]
    return f" The sign of P is not resolved for {', '.join(found)}." if found else ""


def counted(steps: float, totals: Mapping[str, float], tokens: float, lr: float) -> str:
    """What gains are measured in, and what whole steps make of the tokens that were asked for."""
    said = (
        f"Gains are of the loss itself (nats for cross-entropy), over {amount(steps)} steps of "
        f"{amount(tokens)} tokens at a constant lr of {lr:g}."
    )
    total, trained = sum(totals.values()), steps * tokens
    if math.isclose(total, trained):
        return said
    gap = f"{amount(abs(trained - total))} tokens {'more' if trained > total else 'fewer'}"
    return f"{said} Whole steps train {gap} than --totals, in the same shares."
