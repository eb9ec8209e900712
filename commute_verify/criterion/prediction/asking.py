"""From a model, batches and a schedule to checked questions, one for each replicate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from commute_verify.criterion.objective import Batch, LossFunction, Objective
from commute_verify.criterion.prediction.optimizer import Optimizer, read_optimizer
from commute_verify.criterion.prediction.question import Question, dealt, listed
from commute_verify.criterion.prediction.surface import ProductMethod, Surface, Tally
from commute_verify.criterion.prediction.window import Dynamics, Window
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

TargetModel = Literal["quadratic", "evaluated"]


@dataclass(frozen=True)
class Options:
    """How to answer; see ``predict_excess_loss``."""

    replicates: int = 1
    target_model: TargetModel = "quadratic"
    dynamics: Literal["auto"] | Dynamics = "auto"
    method: ProductMethod = "double-backward"
    tolerance: float = 1e-4
    max_products: int = 100
    points: int | None = None
    exchange: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no option."""
        for what, given, allowed in (
            ("target_model", self.target_model, ("quadratic", "evaluated")),
            ("dynamics", self.dynamics, ("auto", "steps", "flow")),
        ):
            if given not in allowed:
                raise CommuteError(f"{what}={given!r}; give one of {', '.join(allowed)}")
        if not (isinstance(self.tolerance, float) and 0 < self.tolerance < 1):
            raise CommuteError(f"tolerance={self.tolerance!r}; give a number between 0 and 1")
        for what, count, least in (
            ("max_products", self.max_products, 1),
            ("replicates", self.replicates, 1),
            ("points", 1 if self.points is None else self.points, 1),
            ("exchange", 1 if self.exchange is None else self.exchange, 1),
            ("seed", self.seed, 0),
        ):
            if not isinstance(count, int) or isinstance(count, bool) or count < least:
                raise CommuteError(f"{what}={count!r}; give a whole number of at least {least}")


@dataclass(frozen=True)
class Setting:
    """What a window is trained in: the optimizer, learning rates to come, clipping, and the reference."""

    optimizer: torch.optim.Optimizer | float
    against: WeightSchedule | None = None
    lr: float | Sequence[float] | None = None
    clip_norm: float | None = None
    params: Callable[[str], bool] | None = None


def ask(
    model: nn.Module,
    loss_fn: LossFunction,
    domains: Mapping[str, Iterable[Batch]],
    schedule: WeightSchedule,
    targets: Mapping[str, Mapping[str, float]] | None,
    held_out: Mapping[str, Iterable[Batch]] | None,
    setting: Setting,
    options: Options,
) -> tuple[list[Question], Tally]:
    """One question for each replicate, and the tally that they share. CommuteError on bad input."""
    fields = listed(domains, "domains")
    if len(fields) < 2:
        raise CommuteError("fewer than two domains; give a mapping from each name to its batches")
    names = tuple(fields)
    mixing = target_weights(targets, names)
    own = fields if held_out is None else listed(held_out, "held_out")
    if set(own) != set(fields):
        raise CommuteError(
            f"held_out names {', '.join(own)} and domains {', '.join(names)}; give the same names"
        )
    own = {name: own[name] for name in names}
    objective = Objective.of(model, loss_fn, setting.params)
    if objective.dtype not in (torch.float32, torch.float64):
        raise CommuteError(f"parameters in {objective.dtype}; predictions need float32 or float64")
    theta = Surface(objective, {}).theta
    rule = read_optimizer(setting.optimizer, model, list(objective.parameters), theta, setting.clip_norm)
    window = Window.of(names, schedule, setting.against, rule.lr if setting.lr is None else setting.lr)
    if options.exchange is not None and 2 * options.exchange > window.length:
        raise CommuteError(
            f"exchange={options.exchange} in a window of {window.length} steps; give the steps of a stage, "
            "at most half of the window"
        )
    chosen = _dynamics(options.dynamics, window, rule)
    tally = Tally()
    parts = zip(
        dealt(fields, options.replicates, "domains"),
        dealt(own, options.replicates, "held_out"),
        strict=True,
    )
    matrix = np.array([[weights.get(name, 0.0) for name in names] for weights in mixing.values()])
    questions = [
        Question(
            Surface(objective, trained, options.method, tally),
            Surface(objective, kept, options.method, tally),
            window,
            rule,
            tuple(mixing),
            matrix,
            chosen,
            options.target_model,
            options.tolerance,
            options.max_products,
            options.points,
            options.exchange or 0,
            options.seed,
        )
        for trained, kept in parts
    ]
    return questions, tally


def _dynamics(given: Literal["auto"] | Dynamics, window: Window, rule: Optimizer) -> Dynamics:
    if given == "steps" and rule.remembers:
        raise CommuteError(
            'dynamics="steps" with an optimizer that remembers; its discrete steps are those of '
            'predictor="trajectory", and of dynamics="flow" in the limit'
        )
    if given != "auto":
        return given
    return "flow" if rule.remembers or not window.whole else "steps"


def target_weights(
    targets: Mapping[str, Mapping[str, float]] | None, domains: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The targets as weights over domains; every domain and "mixture" by default."""
    if targets is None:
        if "mixture" in domains:
            raise CommuteError('a domain is called "mixture", as the default target is; give targets=')
        alone = {name: {name: 1.0} for name in domains}
        return alone | {"mixture": dict.fromkeys(domains, 1.0 / len(domains))}
    if not isinstance(targets, Mapping) or not targets:
        raise CommuteError(f"targets {targets!r}; give a mapping from names to weights over domains, or None")
    for name, weights in targets.items():
        if not isinstance(weights, Mapping):
            raise CommuteError(f"target {name!r} is {weights!r}; give a mapping from domains to weights")
        unknown = sorted(set(weights) - set(domains))
        if unknown:
            raise CommuteError(
                f"target {name!r} weighs {', '.join(unknown)}; the domains are {', '.join(domains)}"
            )
        values = list(weights.values())
        numbers = all(isinstance(w, int | float) and math.isfinite(w) and w >= 0 for w in values)
        if not (numbers and math.isclose(sum(values), 1, abs_tol=1e-9)):
            raise CommuteError(f"target {name!r} has weights {dict(weights)}; give numbers ≥ 0 that sum to 1")
    return {name: {k: float(w) for k, w in weights.items()} for name, weights in targets.items()}
