r"""A schedule's way through the window, with curvature frozen anew in every part of it.

The window is cut into one part, two, four … of one flow time, or of as many steps as whole steps allow. In
each, the schedule descends to its middle by the models of where the part starts, and then, by the models of
that middle, through the whole of it: the exponential midpoint rule, whose error falls with the square of a
part's length. On quadratics nothing changes, and a part that is one step of SGD is that step. What the
descents to the middle take, and their errors, are not in ``end``: they only place the models. What they see
of curvature is: models that are placed by amplified errors are no better than these.
Source: the exponential midpoint rule, as in Hochbruck and Ostermann (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.prediction.coordinates import outward
from commute_verify.criterion.prediction.frozen import QuadraticModel, Reached, Stage
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.window import Part
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


class Passage(NamedTuple):
    """Where a schedule ends, the models of its last part, and its average weights there (K,)."""

    end: Reached
    model: QuadraticModel
    weights: Array


def passage(
    question: Question, schedule: WeightSchedule, model: QuadraticModel, parts: Sequence[Part]
) -> Passage:
    """The schedule's way in parts; ``model`` is that of θ, where the first of them starts."""
    window, dynamics, fields = question.window, question.dynamics, question.fields
    visit = None if question.optimizer.clip is None else lambda w, d: fields.watch(w, fields.theta + d)
    moment = _moment(question, schedule, model) if window.lag else None
    end = Reached(torch.zeros_like(fields.theta), moment=moment)
    for number, (begin, before, after, last) in enumerate(parts):
        stages = window.stages(schedule, dynamics, (begin, last))
        trained = np.flatnonzero(_average(stages)).tolist()
        here = model.frozen_at(end.displacement, trained) if number else model
        if after > begin:
            near = here.run(window.stages(schedule, dynamics, (begin, before)), end)
            far = here.run(window.stages(schedule, dynamics, (before, after)), near)
            here = model.frozen_at((near.displacement + far.displacement) / 2, trained)
            end = _with_what_was_seen(here.run(stages, end, visit), far)
        else:
            end = here.run(stages, end, visit)
    return Passage(end, here, _average(stages))


def _with_what_was_seen(end: Reached, middle: Reached) -> Reached:
    """The end, with the extremes of curvature and of growth on the way to the middle."""
    return end._replace(
        lowest=min(end.lowest, middle.lowest),
        highest=max(end.highest, middle.highest),
        growth=max(end.growth, middle.growth),
    )


def _moment(question: Question, schedule: WeightSchedule, model: QuadraticModel) -> Tensor:
    """D^{1/2} m (n,), m being the first moment that the window starts with, and decay as it drifts."""
    optimizer, theta = question.optimizer, question.fields.theta
    g = model.g.new_tensor(schedule.weights[0].tolist()) @ model.g
    apart = optimizer.kind == "adamw"
    m = optimizer.moment(g if apart else g + optimizer.decay * theta)
    root = None if model.D is None else model.D.sqrt()
    scaled = m if root is None else root * m
    return scaled + model.decay * outward(theta, root) if apart else scaled


def _average(stages: Sequence[Stage]) -> Array:
    times = np.array([stage.clock.time for stage in stages])
    weights = np.array([stage.weights for stage in stages])
    average: Array = times @ weights / times.sum() if times.any() else weights.mean(axis=0)
    return average
