"""One piece: a predictor's excess losses at a checkpoint, on batches that no training of the study saw.

What is predicted is half of L(θ_12) − L(θ_21), nats per token, right after the window: "orders" of the
comparison.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from commute_verify.criterion.prediction import (
    drawn_mixture,
    first_variation,
    predict_excess_loss,
)
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.predict import Predictor
from experiments.gpt2 import checkpoint
from experiments.gpt2.measure import far_batches
from experiments.gpt2.model import load_optimizer, loss_fn, optimizer_for
from experiments.gpt2.perform import reach
from experiments.gpt2.predictors.asked import DRAWN, FROZEN, INTEGRATED, LOCAL_3, Piece, Settings
from experiments.gpt2.presets import Criterion
from experiments.gpt2.shards import Shards
from experiments.gpt2.study import Study

Batches = dict[str, list[Tensor]]

PREDICTORS: dict[str, Predictor] = {
    "memory": "memory",
    LOCAL_3: LOCAL_3,
    FROZEN: FROZEN,
    INTEGRATED: "trajectory",
}
"""What is asked for a piece of each kind; integrated trajectories take batches in both orders."""


def answers(study: Study, shards: Shards, piece: Piece, settings: Settings) -> dict[str, Any]:
    """Value and verdict for every tilt and domain; null where the predictor comes to no number."""
    start = checkpoint.load(checkpoint.folder_of(study.run(piece.weights), piece.step))
    model = start.model()
    model.train(False)
    model.set_attn_implementation("eager")  # fused attention has no second derivative
    training = start.state.settings
    optimizer = optimizer_for(model, training)
    load_optimizer(optimizer, start.optimizer_state())
    lr = training.lr_at(piece.step)
    data = Data(study, shards, piece, settings)
    cells = []
    if piece.kind == "trajectory":
        cells = _trajectory(model, optimizer, lr, piece, data)
    else:
        for delta in piece.deltas:
            asked = _question(piece, delta, data, training.batch)
            cells += _named(model, optimizer, lr, piece, delta, asked, settings)
    return {"step": piece.step, "window": piece.window, "predictor": piece.kind, "cells": cells}


class Data:
    """The batches of a piece, (sequences, context + 1) each, all different and far from every training's."""

    def __init__(self, study: Study, shards: Shards, piece: Piece, settings: Settings) -> None:
        """Deal each domain's last windows: targets, then what is taken at once, then each step's batch."""
        training = study.preset.training
        at_once = {"memory": settings.memory, LOCAL_3: settings.local, FROZEN: settings.frozen}
        whole = max(at_once.values())
        size = at_once.get(piece.kind, whole)
        targets = settings.local if piece.kind == LOCAL_3 else settings.held_out
        self.held_out: Batches = {}
        self.at_once: Batches = {}
        self.along: Batches = {}
        steps = 2 * piece.window
        for name, weight in piece.weights.items():
            # a drawn step takes at most a whole batch of a domain, in two parts that are never empty
            each = training.batch + 2 if piece.kind == DRAWN else max(1, round(weight * training.batch))
            count = settings.held_out + whole + steps * each
            chosen = Criterion(batches=1, sequences=count)
            context = training.architecture.context
            used = reach(study)
            (drawn,) = far_batches(shards, (name,), context, chosen, training.seed, used)[name]
            self.held_out[name] = [drawn[: settings.held_out][:targets]]
            self.at_once[name] = [drawn[settings.held_out :][:size]]
            self.along[name] = [*drawn[settings.held_out + whole :].view(steps, each, -1)]


def _trajectory(
    model: nn.Module, optimizer: torch.optim.Optimizer, lr: float, piece: Piece, data: Data
) -> list[dict[str, Any]]:
    """One sweep along the constant weights serves all tilts: to first order both orders are mirror images."""
    constant = piece.tilt(piece.deltas[0]).averaged()
    targets = {name: {name: 1.0} for name in piece.weights}
    found = first_variation(
        model, loss_fn, data.along, constant, targets, optimizer=optimizer, lr=lr, held_out=data.held_out
    )
    return [
        _cell(delta, target, told.value / 2, *_verdict(told.verdict))
        for delta in piece.deltas
        for target, told in found.predict(piece.tilt(delta), piece.tilt(-delta)).items()
    ]


def _question(piece: Piece, delta: float, data: Data, batch: int) -> dict[str, Any]:
    """One order against the other: weights of losses, or the sequences that the study draws."""
    targets = {name: {name: 1.0} for name in piece.weights}
    if piece.kind == DRAWN:
        counts, against = (piece.counts(sign * delta, batch) for sign in (1, -1))
        sequences = {name: torch.cat(batches) for name, batches in data.along.items()}
        return dict(drawn_mixture(sequences, counts, against, data.held_out, targets))
    return {
        "domains": data.along if piece.kind == INTEGRATED else data.at_once,
        "schedule": piece.tilt(delta),
        "targets": targets,
        "against": piece.tilt(-delta),
        "held_out": data.held_out,
        "predictor": PREDICTORS[piece.kind],
    }


def _named(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    lr: float,
    piece: Piece,
    delta: float,
    asked: dict[str, Any],
    settings: Settings,
) -> list[dict[str, Any]]:
    """Half of what one order does against the other."""
    try:
        found = predict_excess_loss(
            model,
            loss_fn,
            **asked,
            optimizer=optimizer,
            lr=lr,
            exchange=piece.window if piece.kind in (INTEGRATED, DRAWN) else None,
            tolerance=settings.tolerance,
            max_products=settings.products,
            freezings=0,
            dynamics="flow",
            target_model="quadratic",
        )
    except DivergenceError:
        return [_cell(delta, name, math.nan, False, "overflow", math.nan, 0.0) for name in asked["targets"]]
    return [
        _cell(delta, target, found[target].value / 2, *_verdict(found[target].verdict)) for target in found
    ]


def _verdict(given: Any) -> tuple[bool, str, float, float]:
    return given.valid, given.quantity, given.value, given.limit


def _cell(
    delta: float, target: str, value: float, valid: bool, quantity: str, size: float, limit: float
) -> dict[str, Any]:
    return {
        "delta": delta,
        "target": target,
        "value": _number(value),
        "answered": bool(valid),
        "quantity": quantity,
        "size": _number(size),
        "limit": limit,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
