"""What is predicted for the cases, from one seed of batches or from the start of the window alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import commute_verify as cv
from commute_verify import WeightSchedule
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction import Prediction
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.asking import Options, Setting, ask
from commute_verify.criterion.prediction.predict import Predictor
from commute_verify.criterion.prediction.surface import Surface
from commute_verify.criterion.prediction.trajectory import path
from experiments.optimizer_windows.cases import MAIN, Case, cases, windows
from experiments.optimizer_windows.settings import DOMAINS, TARGETS, Settings
from experiments.optimizer_windows.texts import texts
from experiments.optimizer_windows.training import Checkpoint, Data, loss_fn

EACH = {name: {name: 1.0} for name in DOMAINS}
MIXTURE = dict.fromkeys(DOMAINS, 1 / len(DOMAINS))
TARGET_WEIGHTS = EACH | {"mixture": MIXTURE}
Targets = Mapping[str, Mapping[str, float]]
SLOW: tuple[Predictor, ...] = ("frozen-curvature", "local-3")
TURN = 8
"""Batches of each domain that memory's gradients are taken from in turn."""


def targets_of(*pair: str) -> Targets:
    """What costs products for each target: a pair's own losses, and the mixture's."""
    return {name: TARGET_WEIGHTS[name] for name in (*pair, "mixture")}


def sweeps(settings: Settings, start: Checkpoint, seed: int) -> dict[str, list[float]]:
    """Every tilt by one sweep of the first variation for each window, along constant weights.

    A sweep serves all tilts of its window. The mixture's slope is the mean of the domains'.
    """
    data, held_out = texts(settings).window(seed), texts(settings).held_out()
    found = {}
    for k, tail in windows(settings, start.place):
        tilts = [c for c in cases(settings, start.place) if (c.k, c.tail) == (k, tail) and c.kind == "tilt"]
        mixture = dict(zip(DOMAINS, settings.weights, strict=True))
        variation = cv.first_variation(
            start.model,
            loss_fn,
            _first(data, 2 * k + tail),
            WeightSchedule.constant(mixture, 2 * k + tail),
            EACH,
            optimizer=start.optimizer,
            held_out=held_out,
            exchange=k,
        )
        for case in tilts:
            one, other = (variation.excess(schedule) for schedule in case.schedules(settings))
            own = [one[name] - other[name] for name in DOMAINS]
            found[case.name] = [*own, float(np.mean(own))]
    return found


def dear(settings: Settings, start: Checkpoint, seed: int) -> dict[str, dict[str, Any]]:
    """The main tilt, also against constant weights and with a tail, and both swaps: a trajectory for each.

    It is taken as ``auto`` takes it, from every seed for tilts and from fewer for the others.
    """
    found = {}
    for case in cases(settings, start.place):
        if case.k > _longest(settings, start, case, seed):
            continue
        targets = targets_of(case.first, case.second)
        try:
            along = integrated(settings, start, case, seed, targets)
        except DivergenceError as error:
            along = {"failed": str(error)}
        found[case.name] = {"targets": list(targets), **along}
    return found


def _longest(settings: Settings, start: Checkpoint, case: Case, seed: int) -> int:
    """The steps of a stage up to which a case has a trajectory of its own from this seed; 0 for none."""
    if case.kind == "tilt":
        if (case.delta, case.first, case.second) != MAIN:
            return 0
        if case.tail:
            return settings.tail_up_to if start.place == settings.main else 0
        return settings.tilt_up_to
    if case.tail or seed not in settings.swapped:
        return 0
    return settings.raise_up_to if case.kind == "raise" else settings.swap_up_to


def integrated(
    settings: Settings,
    start: Checkpoint,
    case: Case,
    seed: int,
    targets: Targets,
    points: int | None = None,
) -> dict[str, Any]:
    """One replicate: slopes at the Gauss points, losses at the ends, and what they cost in training steps."""
    schedule, reference = case.schedules(settings)
    (question,), tally = ask(
        start.model,
        loss_fn,
        _first(texts(settings).window(seed), 2 * case.k + case.tail),
        schedule,
        targets,
        texts(settings).held_out(),
        Setting(start.optimizer, reference),
        Options(points=points, exchange=case.k),
    )
    found = {name: array.tolist() for name, array in path(question)._asdict().items()}
    return found | {"training_steps": question.cost(tally).training_steps}


def memory(settings: Settings, start: Checkpoint) -> dict[str, dict[str, Any]]:
    """Every case by the optimizer's memory alone, batches taken in turn."""
    data, held_out = texts(settings).window(settings.observed), texts(settings).held_out()
    found = {}
    for case in cases(settings, start.place):
        schedule, reference = case.schedules(settings)
        found[case.name] = _record(
            cv.predict_excess_loss(
                start.model,
                loss_fn,
                _first(data, TURN),
                schedule,
                against=reference,
                optimizer=start.optimizer,
                held_out=held_out,
                predictor="memory",
            )
        )
    return found


def local(settings: Settings, start: Checkpoint) -> dict[str, Any]:
    """The local criterion of every case, plain and with Adam's preconditioner, and the domains' gradients."""
    data, held_out = texts(settings).local(), texts(settings).held_out()
    found: dict[str, Any] = {}
    for name, D in (
        ("plain", None),
        ("preconditioned", cv.AdamPreconditioner.from_optimizer(start.optimizer)),
    ):
        effect = cv.order_effect(
            start.model,
            loss_fn,
            data,
            batches=len(data["a"]),
            method="double-backward",
            preconditioner=D,
            progress=False,
        )
        found[name] = {}
        for case in cases(settings, start.place):
            schedule, reference = case.schedules(settings)
            excess = effect.excess_loss(schedule, start.rate)
            other = effect.excess_loss(reference, start.rate)
            found[name][case.name] = [excess[target].value - other[target].value for target in TARGETS]
    g = Surface(Objective.of(start.model, loss_fn), data).gradients()
    u = Surface(Objective.of(start.model, loss_fn), held_out).gradients()
    u = torch.cat([u, u.mean(dim=0, keepdim=True)])
    lengths = torch.linalg.vector_norm(g, dim=1)
    found["slopes"] = (u @ g.T).tolist()
    found["cosines"] = (u @ g.T / lengths / torch.linalg.vector_norm(u, dim=1)[:, None]).tolist()
    found["norms"] = lengths.tolist()
    return found


def slow(settings: Settings, start: Checkpoint) -> dict[str, dict[str, Any]]:
    """Order 3, and frozen curvature of the start, both preconditioned, of the tilts of 0.15 and the swaps."""
    rows = {
        name: [torch.cat(list(batches))[: settings.slow_rows]]
        for name, batches in texts(settings).local().items()
    }
    held_out = texts(settings).held_out()
    found: dict[str, dict[str, Any]] = {name: {} for name in SLOW}
    for case in cases(settings, start.place):
        if case.k > settings.slow_up_to or case.kind == "raise" or case.delta not in (0.0, MAIN[0]):
            continue
        schedule, reference = case.schedules(settings)
        for predictor in SLOW:
            try:
                answer = _record(
                    cv.predict_excess_loss(
                        start.model,
                        loss_fn,
                        rows,
                        schedule,
                        targets_of(case.first, case.second),
                        against=reference,
                        optimizer=start.optimizer,
                        held_out=held_out,
                        predictor=predictor,
                        tolerance=1e-3,
                        max_products=40,
                        freezings=0,
                        dynamics="flow",
                        target_model="quadratic",
                    )
                )
            except cv.CommuteError as error:
                answer = {"failed": str(error)}
            found[predictor][case.name] = answer
    return found


def _record(found: Prediction) -> dict[str, Any]:
    """Value and verdict of every target, and the cost in training steps."""
    excess = {
        target: [one.value, one.answered] if np.isfinite(one.value) else [None, False]
        for target, one in found.excess.items()
    }
    return {"excess": excess, "training_steps": found.cost.training_steps}


def _first(data: Data, steps: int) -> dict[str, list[torch.Tensor]]:
    return {name: list(batches[:steps]) for name, batches in data.items()}
