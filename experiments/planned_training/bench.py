"""A checkpoint, the sequences that plans may look at, and runs of schedules on others that none has seen."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import commute_verify as cv
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.variation import FirstVariation
from commute_verify.schedules import WeightSchedule
from experiments.gpt2.model import build
from experiments.gpt2.settings import Architecture
from experiments.optimizer_windows.texts import Texts
from experiments.optimizer_windows.training import Checkpoint, loss_fn
from experiments.planned_training import schedules
from experiments.planned_training.settings import Settings
from experiments.planned_training.training import Rows, counts, per_step, run_dealt, run_weighed

Array = NDArray[np.float64]
Mixing = Mapping[str, Mapping[str, float]]
Batches = dict[str, list[Tensor]]


class Bench:
    """One seed's model, trained by AdamW on constant weights up to the window.

    Targets are weights over ``domains``. All that plans see are the planning windows' sequences and ``goal``
    (held-out ones); ``ends`` runs on other sequences, and measures on others still.
    """

    def __init__(self, settings: Settings, seed: int, texts: Texts, weights: Mapping[str, float]) -> None:
        """Train up to the checkpoint."""
        self.settings, self.seed = settings, seed
        self.domains = tuple(weights)
        self.weights = np.array(list(weights.values()))
        self.constant = WeightSchedule.constant(weights, float(settings.steps))
        held_out = self._joined(texts.held_out())
        self.goal = {name: rows[: settings.goal_rows] for name, rows in held_out.items()}
        self._held_out = {name: rows[settings.goal_rows :] for name, rows in held_out.items()}
        self._window = self._joined(texts.window(0))
        self._planning = [self._joined(texts.window(1 + n)) for n in range(settings.planning)]
        self.start = self._trained(texts)
        self._known: dict[tuple[WeightSchedule, bool], dict[str, float]] = {}

    def targets(self, names: Sequence[str]) -> Mixing:
        """Weights over the domains of the targets with these names; "mixture" is all alike."""
        uniform = dict.fromkeys(self.domains, 1 / len(self.domains))
        return {name: uniform if name == "mixture" else {name: 1.0} for name in names}

    def variation(self, schedule: WeightSchedule, targets: Mixing, window: int) -> FirstVariation:
        """∂L_t/∂w_k(s) along a schedule, on one planning window."""
        return cv.first_variation(
            self.start.model,
            loss_fn,
            self._batches(window),
            schedule,
            targets,
            optimizer=self.start.optimizer,
            held_out={name: [rows] for name, rows in self.goal.items()},
        )

    def effect(self, targets: Mixing, *, adam: bool) -> cv.OrderEffect:
        """P at the checkpoint from all planning windows, plain or preconditioned as by Adam."""
        batches = self._all_batches()
        return cv.order_effect(
            self.start.model,
            loss_fn,
            batches,
            targets=targets,
            batches=min(map(len, batches.values())),
            method="double-backward",
            preconditioner=cv.AdamPreconditioner.from_optimizer(self.start.optimizer) if adam else None,
            progress=False,
        )

    def gradients(self) -> tuple[Array, Array]:
        """Mean gradients (K, n) of the domains on all planning windows, and on the goal's sequences."""
        objective = Objective.of(self.start.model, loss_fn)
        both = self._all_batches(), {name: [rows] for name, rows in self.goal.items()}
        trained, goal = (Surface(objective, data).gradients() for data in both)
        return trained.double().numpy(), goal.double().numpy()

    def tilt(self, later: Array) -> WeightSchedule:
        """The tilt of these scores, the highest last."""
        return schedules.tilt(self.domains, self.weights, later, self.settings.steps, self.settings.max_tilt)

    def tried(self, schedule: WeightSchedule, target: Mapping[str, float]) -> float:
        """A target's loss on the goal's sequences after the schedule, on the first planning window."""
        found = self._after(schedule, self._planning[0], self.goal)
        return sum(weight * found[name] for name, weight in target.items())

    def excess(self, schedule: WeightSchedule, target: str, *, dealt: bool = False) -> float:
        """L_target after the schedule less that after constant weights, on sequences no plan has seen.

        Losses are weighed by the schedule, or sequences ``dealt`` by it, in both of the runs.
        """
        return self.ends(schedule, dealt)[target] - self.ends(self.constant, dealt)[target]

    def ends(self, schedule: WeightSchedule, dealt: bool = False) -> dict[str, float]:
        """Losses at the end, of every domain and "mixture"; each schedule is run once."""
        if (schedule, dealt) not in self._known:
            self._known[schedule, dealt] = self._after(schedule, self._window, self._held_out, dealt)
        return self._known[schedule, dealt]

    def _after(
        self, schedule: WeightSchedule, rows: Rows, held_out: Rows, dealt: bool = False
    ) -> dict[str, float]:
        run = self.start.copied()
        if dealt:
            run_dealt(run, rows, counts(schedule, self.domains, self.settings.batch))
        else:
            run_weighed(run, rows, per_step(schedule, self.domains), self.settings.rows)
        model = copy.deepcopy(run.model).double()
        with torch.no_grad():
            pairs = {name: loss_fn(model, held_out[name]) for name in self.domains}
        own = {name: float(total) / count for name, (total, count) in pairs.items()}
        return own | {"mixture": sum(own.values()) / len(own)}

    def _batches(self, window: int) -> Batches:
        """The batches of a planning window, step by step."""
        each, steps = self.settings.rows, self.settings.steps
        return {
            name: list(torch.split(rows[: steps * each], each))
            for name, rows in self._planning[window].items()
        }

    def _all_batches(self) -> Batches:
        """Those of step s of all planning windows together."""
        windows = [self._batches(n) for n in range(len(self._planning))]
        steps = range(self.settings.steps)
        return {name: [torch.cat([one[name][s] for one in windows]) for s in steps] for name in self.domains}

    def _joined(self, batches: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat(list(batches[name])) for name in self.domains}

    def _trained(self, texts: Texts) -> Checkpoint:
        s = self.settings
        shape = Architecture(s.layers, s.width, s.heads, s.context, texts.vocabulary, attention="eager")
        model = build(shape, self.seed)
        model.train(False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=s.rate, weight_decay=s.weight_decay, fused=True)
        run = Checkpoint(s.rate, s.warm, model, optimizer)
        run_weighed(run, self._joined(texts.trained()), np.tile(self.weights, (s.warm, 1)), s.rows)
        return run
