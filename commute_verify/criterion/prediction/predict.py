"""``predict_excess_loss``: what a schedule does to a loss, by predictors that know their limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from commute_verify.criterion.objective import Batch, LossFunction, Objective
from commute_verify.criterion.prediction.answer import Predicted, Prediction, Verdict
from commute_verify.criterion.prediction.frozen_curvature import frozen_curvature
from commute_verify.criterion.prediction.optimizer import Optimizer, read_optimizer
from commute_verify.criterion.prediction.question import Question, dealt, listed
from commute_verify.criterion.prediction.rung import Found
from commute_verify.criterion.prediction.surface import ProductMethod, Surface, Tally
from commute_verify.criterion.prediction.trajectory import trajectory
from commute_verify.criterion.prediction.window import Dynamics, Window
from commute_verify.criterion.statistics import mean_and_stderr
from commute_verify.criterion.undisturbed import undisturbed
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]
Predictor = Literal["auto", "frozen-curvature", "trajectory"]
TargetModel = Literal["quadratic", "evaluated"]

RUNGS: dict[str, Callable[[Question], Found]] = {
    "frozen-curvature": frozen_curvature,
    "trajectory": trajectory,
}
"""The ladder, cheapest first."""


def predict_excess_loss(
    model: nn.Module,
    loss_fn: LossFunction,
    domains: Mapping[str, Iterable[Batch]],
    schedule: WeightSchedule,
    targets: Mapping[str, Mapping[str, float]] | None = None,
    *,
    optimizer: torch.optim.Optimizer | float,
    predictor: Predictor = "auto",
    against: WeightSchedule | None = None,
    held_out: Mapping[str, Iterable[Batch]] | None = None,
    lr: float | Sequence[float] | None = None,
    clip_norm: float | None = None,
    replicates: int = 1,
    target_model: TargetModel = "quadratic",
    dynamics: Literal["auto"] | Dynamics = "auto",
    method: ProductMethod = "double-backward",
    tolerance: float = 1e-6,
    max_products: int = 100,
    points: int | None = None,
    params: Callable[[str], bool] | None = None,
    seed: int = 0,
) -> Prediction:
    """Predict L_t(θ after the schedule) − L_t(θ after constant weights with the same totals), every target.

    ``loss_fn(model, batch)`` returns the summed loss and its weight. ``domains`` maps names to batches
    that are trained on, ``held_out`` to those that targets are taken from (the same ones by default: then a
    model that learns its batches by heart counts as better). ``targets`` maps names to weights over domains;
    by default every domain, and "mixture". ``schedule`` has durations in steps; ``against`` is another
    reference.

    ``optimizer`` is the run's own (SGD, Adam or AdamW, with its state; it is never written to), or a learning
    rate for plain SGD; ``lr`` gives the rates to come, one for each step, and ``clip_norm`` its clipping.

    Predictors:

    - ``frozen-curvature``: the domains' quadratic models, descended exactly by Lanczos to ``tolerance``,
      relative to the displacement. ``dynamics="steps"`` takes the discrete steps of plain SGD, "flow"
      gradient flow, and durations that are no whole numbers too; "auto" takes steps where the optimizer has
      no memory. Adam's second moments are a frozen preconditioner. ``target_model="quadratic"`` takes the
      targets' quadratic models too, "evaluated" the targets themselves at the predicted points.

    - ``trajectory``: the exact first variation along the run to come, through the optimizer's own update,
      its memory, decay, clipping and learning rates. Step s takes batch s of every domain, weighted. From
      the reference to the schedule it is integrated at ``points`` Gauss points: one where no weight changes
      by more than 0.2, else three.

    ``replicates`` deals the batches into as many parts and gives the spread of their predictions as the
    standard error. Each target has a verdict: an answer, or that the predictor abstains, and on what ground.

    The model, its gradients, buffers, modes and all random states are left as they were. Raises CommuteError
    on bad input.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> def loss_fn(model, batch):
    ...     x, y = batch
    ...     return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
    >>> x, y = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> data = {"a": [(x[:1] + x[1:], y[:1])], "b": [(x[:1], -y[:1])]}
    >>> swap = WeightSchedule.blocks({"a": 40, "b": 40})
    >>> found = predict_excess_loss(model, loss_fn, data, swap, optimizer=0.5, predictor="frozen-curvature")
    >>> found["a"].value > 0 > found["b"].value, found["a"].answered  # what is trained last is learnt best
    (True, True)
    """
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
    if predictor != "auto" and predictor not in RUNGS:
        raise CommuteError(f"predictor={predictor!r}; give one of auto, {', '.join(RUNGS)}")
    for what, given, allowed in (
        ("target_model", target_model, ("quadratic", "evaluated")),
        ("dynamics", dynamics, ("auto", "steps", "flow")),
    ):
        if given not in allowed:
            raise CommuteError(f"{what}={given!r}; give one of {', '.join(allowed)}")
    if not (isinstance(tolerance, float) and 0 < tolerance < 1) or max_products < 1:
        raise CommuteError(
            f"tolerance={tolerance!r}, max_products={max_products!r}; give a tolerance between 0 and 1 "
            "and at least one product"
        )
    if points is not None and (not isinstance(points, int) or isinstance(points, bool) or points < 1):
        raise CommuteError(f"points={points!r}; give a whole number of at least 1, or None")
    objective = Objective.of(model, loss_fn, params)
    if objective.dtype not in (torch.float32, torch.float64):
        raise CommuteError(f"parameters in {objective.dtype}; predictions need float32 or float64")
    tally = Tally()
    rule = read_optimizer(
        optimizer,
        model,
        list(objective.parameters),
        Surface(objective, {}).theta,
        clip_norm,
    )
    window = Window.of(names, schedule, against, rule.lr if lr is None else lr)
    chosen = _dynamics(dynamics, window, rule)
    parts = zip(dealt(fields, replicates, "domains"), dealt(own, replicates, "held_out"), strict=True)
    questions = [
        Question(
            Surface(objective, trained, method, tally),
            Surface(objective, kept, method, tally),
            window,
            rule,
            tuple(mixing),
            np.array([[weights.get(name, 0.0) for name in names] for weights in mixing.values()]),
            chosen,
            target_model,
            tolerance,
            max_products,
            points,
            seed,
        )
        for trained, kept in parts
    ]
    with undisturbed(model, domains.values(), seed):
        return _answer(questions, tally, predictor)


def _answer(questions: list[Question], tally: Tally, predictor: str) -> Prediction:
    if predictor != "auto":
        return _predicted(predictor, questions, tally)
    tried: list[Prediction] = []
    for rung in RUNGS:
        found = _predicted(rung, questions, tally, tuple(tried))
        if found.answered:
            return found
        tried.append(found)
    return found


def _predicted(
    rung: str, questions: list[Question], tally: Tally, tried: tuple[Prediction, ...] = ()
) -> Prediction:
    found = [RUNGS[rung](question) for question in questions]
    every = np.stack([one.excess for one in found])
    if len(found) > 1:
        mean, stderr = mean_and_stderr(every)
    else:
        mean, stderr = every[0], np.full(every.shape[1], math.nan)
    verdicts = [_worst([one.verdicts[t] for one in found]) for t in range(every.shape[1])]
    first = questions[0]
    return Prediction(
        rung,
        {
            name: Predicted(float(value), float(error), judged)
            for name, value, error, judged in zip(first.targets, mean, stderr, verdicts, strict=True)
        },
        first.cost(tally, len(questions)),
        found[0].notes,
        tried,
    )


def _worst(verdicts: list[Verdict]) -> Verdict:
    return max(verdicts, key=lambda v: (not v.valid, v.value / v.limit if v.limit else v.value))


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
