"""The schedule to train, from an effect: how much it gains, how sure that is, what would change it.

examples:
  commute-verify plan effect.json --totals en=90e6,ru=10e6 --tokens-per-step 65536 --lr 3e-4 --max-tilt 0.05
  commute-verify plan effect.json --totals en=90e6,ru=10e6 --tokens-per-step 65536 --lr 3e-4 --blocks
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from commute_verify.cli import files, inputs
from commute_verify.cli.schedule_file import ScheduleFile
from commute_verify.criterion import OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.planning import pareto_tilt, plan_blocks, plan_tilt
from commute_verify.schedules import WeightSchedule

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
    totals = inputs.numbers(options.totals, "--totals")
    made = planned(effect, totals, options)
    print(made.words)
    steps = ScheduleFile(made.schedule, "steps", options.tokens_per_step)
    stages = steps.stages("tokens")
    files.write(
        options.out,
        ScheduleFile(WeightSchedule.piecewise(stages), "tokens", options.tokens_per_step).to_json(),
    )
    if not options.quiet:
        print(f"{options.out} is written: commute-verify export {options.out} --to …")
    return 0 if made.recommended else 3


@dataclass(frozen=True)
class Planned:
    """What to do, in words and as a schedule in steps."""

    words: str
    schedule: WeightSchedule
    recommended: bool


def planned(effect: OrderEffect, totals: Mapping[str, float], options: argparse.Namespace) -> Planned:
    """Blocks, a tilt for one target, or one that all targets gain from."""
    tokens = options.tokens_per_step
    if not tokens > 0:
        raise CommuteError(f"--tokens-per-step {tokens:g}: give a number above 0")
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
    if options.blocks:
        if len(targets) > 1 or options.windows:
            raise CommuteError("--blocks takes one --target and no --windows: give --max-tilt for these")
        steps = {name: totals[name] / tokens for name in effect.domains}
        blocks = plan_blocks(effect, steps, targets[0], lr=lr)
        return Planned(str(blocks), blocks.schedule, blocks.recommended)
    total = sum(totals.values())
    weights = {name: totals[name] / total for name in effect.domains}
    length = round(total / tokens)
    if length < 2:
        raise CommuteError(f"--totals of {total:g} tokens are {length} steps of {tokens:g}: give at least 2")
    if len(targets) > 1:
        if options.windows:
            raise CommuteError("--windows with several targets: give one --target, or no --windows")
        every = pareto_tilt(effect, weights, length, options.max_tilt, targets, lr=lr)
        return Planned(str(every), every.schedule, every.recommended)
    tilt = plan_tilt(effect, weights, length, options.max_tilt, targets[0], windows=options.windows, lr=lr)
    return Planned(str(tilt), tilt.schedule, tilt.recommended)
