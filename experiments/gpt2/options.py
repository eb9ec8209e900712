"""A study of one's own: options of the command that take the place of what a preset holds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from commute_verify.errors import CommuteError
from experiments.gpt2.presets import Base, Preset, preset

Number = TypeVar("Number", int, float)

OWN = ("weights", "delta", "window", "seeds", "checkpoints", "tail", "steps")
"""The options, as argparse calls them."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the command's."""
    group = parser.add_argument_group("a study of your own, each option in place of the preset's value")
    add = group.add_argument
    add("--weights", action="append", metavar="W1,W2,…", help="base weights of a run; repeat it")
    add("--delta", metavar="Δw,…", help="tilts; the middle one is tried with short windows and more seeds")
    add("--window", type=int, metavar="Δt", help="steps of the longest window; shorter ones are kept")
    add("--seeds", type=int, help="seeds of the middle tilt")
    add("--checkpoints", metavar="STEP,…", help="where branches start")
    add("--tail", type=int, metavar="STEPS", help="common tail of all branches")
    add("--steps", type=int, help="steps of a base run")


def chosen(options: argparse.Namespace) -> Preset:
    """The preset with what the options say in place of its own; raises CommuteError for what is no study."""
    study = preset(options.preset)
    if options.device:
        study = replace(study, training=replace(study.training, device=options.device))
    if options.steps is not None:
        study = replace(study, training=replace(study.training, steps=options.steps))
    window = study.window if options.window is None else options.window
    steps = options.checkpoints
    return replace(
        study,
        bases=_bases(study, options),
        checkpoints=study.checkpoints if steps is None else _numbers("--checkpoints", steps, int),
        window=window,
        short_windows=tuple(short for short in study.short_windows if short < window),
        seeds=study.seeds if options.seeds is None else options.seeds,
        tail=study.tail if options.tail is None else options.tail,
    )


def _bases(study: Preset, options: argparse.Namespace) -> tuple[Base, ...]:
    bases = study.bases
    if options.weights is not None:
        weights = [_numbers("--weights", text, float) for text in options.weights]
        bases = tuple(bases[0].scaled(each) for each in weights)
    if options.delta is not None:
        deltas = tuple(sorted(set(_numbers("--delta", options.delta, float))))
        bases = tuple(Base(base.weights, deltas, deltas[len(deltas) // 2]) for base in bases)
    return bases


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        return tuple(kind(piece) for piece in text.split(","))
    except ValueError as error:
        raise CommuteError(f"{option} {text!r}: give numbers with commas between them") from error


def told(options: argparse.Namespace) -> list[str]:
    """The command without what belongs to one machine alone."""
    data = [f"--data {entry.partition('=')[0]}=…" for entry in options.data or ()]
    own: list[str] = []
    for name in OWN:
        value = getattr(options, name)
        own += [
            f"--{name} {each}" for each in (value if isinstance(value, list) else [value]) if each is not None
        ]
    return [f"--preset {options.preset}", *data, *own, "--out …"]
