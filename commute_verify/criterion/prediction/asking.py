"""From a model, batches and a schedule to checked questions, one for each replicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Batch, LossFunction, Objective
from commute_verify.criterion.prediction.optimizer import Optimizer, read_optimizer
from commute_verify.criterion.prediction.question import Question, dealt, listed
from commute_verify.criterion.prediction.surface import ProductMethod, Surface, Tally
from commute_verify.criterion.prediction.window import Dynamics, Window
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

TargetModel = Literal["quadratic", "evaluated"]
SEEDS = 2**63 - 1
"""The largest seed: every batch of a trajectory takes one of its own, counted on from it."""

FREEZINGS = 1024
"""The largest number of freezings."""


@dataclass(frozen=True)
class Options:
    """How to answer; see ``predict_excess_loss``."""

    replicates: int = 1
    target_model: TargetModel = "evaluated"
    dynamics: Literal["auto"] | Dynamics = "auto"
    method: ProductMethod = "double-backward"
    tolerance: float = 2e-4
    max_products: int = 100
    basis_device: str | torch.device | None = None
    freezings: int = 8
    points: int | None = None
    exchange: int | None = None
    seed: int = 0
    states: str | Path | None = None

    def __post_init__(self) -> None:
        """Refuse what is no option."""
        for what, given, allowed in (
            ("target_model", self.target_model, ("quadratic", "evaluated")),
            ("dynamics", self.dynamics, ("auto", "steps", "flow")),
        ):
            if given not in allowed:
                raise CommuteError(f"{what}={given!r}; give one of {', '.join(allowed)}")
        tolerance = checked.real(self.tolerance)
        if tolerance is None or not 0 < tolerance < 1:
            raise CommuteError(f"{checked.shown('tolerance', self.tolerance)}; give a number between 0 and 1")
        object.__setattr__(self, "tolerance", tolerance)
        for what in ("max_products", "replicates", "points", "exchange"):
            count = getattr(self, what)
            if count is not None or what in ("max_products", "replicates"):
                object.__setattr__(self, what, checked.whole(count, what, 1))
        object.__setattr__(
            self,
            "freezings",
            checked.whole(self.freezings, "freezings", 0, FREEZINGS, f"from 0 to {FREEZINGS}"),
        )
        seed = checked.whole(self.seed, "seed", 0, SEEDS, f"from 0 to {SEEDS}")
        object.__setattr__(self, "seed", seed)
        if self.states is not None and not (
            isinstance(self.states, str | Path) and Path(self.states).is_dir()
        ):
            raise CommuteError(f"states={self.states!r} is no folder; give one that is there, or None")


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
    mixing = checked.targets(targets, names)
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
    if setting.lr is None and not rule.lr:
        raise CommuteError("the first group's learning rate is 0; give the rates to come with lr=")
    window = Window.of(names, schedule, setting.against, rule.lr if setting.lr is None else setting.lr)
    if options.exchange is not None and window.whole and 2 * options.exchange > window.length:
        raise CommuteError(
            f"exchange={options.exchange} in a window of {window.length} steps; give the steps of a stage, "
            "at most half of the window"
        )
    chosen = _dynamics(options.dynamics, window, rule)
    if chosen == "flow" and options.dynamics == "auto":
        window = replace(window, bend=rule.bend, lag=rule.lag, fading=rule.fading)
    given = options.basis_device
    basis = None if given is None else checked.device(given, "basis_device")
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
            basis,
            options.freezings,
            options.points,
            options.exchange or 0,
            options.seed,
            None if options.states is None else Path(options.states),
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
