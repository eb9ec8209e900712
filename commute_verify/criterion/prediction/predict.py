"""``predict_excess_loss`` and ``first_variation``: what a schedule does to a loss, within known limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.criterion.prediction.answer import Prediction
from commute_verify.criterion.prediction.asking import Options, Setting, TargetModel, ask
from commute_verify.criterion.prediction.ladder import RUNGS, auto, predicted
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.skipping import reach
from commute_verify.criterion.prediction.surface import ProductMethod
from commute_verify.criterion.prediction.trajectory import swept
from commute_verify.criterion.prediction.variation import FirstVariation, averaged
from commute_verify.criterion.prediction.window import Dynamics
from commute_verify.criterion.undisturbed import undisturbed
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Predictor = Literal["auto", "local", "local-3", "frozen-curvature", "trajectory", "memory"]


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
    target_model: TargetModel = "evaluated",
    dynamics: Literal["auto"] | Dynamics = "auto",
    method: ProductMethod = "double-backward",
    tolerance: float = 2e-4,
    max_products: int = 100,
    basis_device: str | torch.device | None = None,
    freezings: int = 8,
    points: int | None = None,
    exchange: int | None = None,
    params: Callable[[str], bool] | None = None,
    states: str | Path | None = None,
    seed: int = 0,
) -> Prediction:
    """Predict L_t(θ after the schedule) − L_t(θ after constant weights with the same totals), every target.

    ``loss_fn(model, batch)`` returns the summed loss and its weight. ``domains`` maps names to batches
    that are trained on, ``held_out`` to those that targets are taken from (the same ones by default: then a
    model that learns its batches by heart counts as better). ``targets`` maps names to weights over domains;
    by default every domain, and "mixture". ``schedule`` has durations in steps; ``against`` is another
    reference.

    ``optimizer`` is the run's own (SGD, Adam or AdamW, with its state; it is never written to), or a learning
    rate for plain SGD; ``lr`` gives the rates to come, one for each step, and ``clip_norm`` its clipping,
    which the trajectory and memory follow; the others abstain where the gradient of a batch is longer, at
    the start or at the end of a stage as they see it.
    ``params`` chooses parameters by name, and holds the others fixed. A parameter that a step's loss does not
    reach has gradient 0 there, as after ``zero_grad(set_to_none=False)``; torch skips it otherwise, and every
    predictor abstains where the optimizer's memory or decay would move it.

    Predictors are these. Local ones and frozen curvature take the mean of a domain's batches: the luck of
    which batch comes when is neither in their value nor in their verdict.

    - ``local``: the series in the window's length to order 2: the brackets, and the discrete steps of plain
      SGD; taken again along the window, where it may not change by more than 0.3 of itself. ``local-3``: to
      order 3, with third derivatives by differences of products; it costs K² of them for each target's
      domains, and is valid where order 3 changes little.
    - ``frozen-curvature``: the domains' quadratic models, descended exactly by Lanczos to ``tolerance``,
      relative to the displacement, and nearer where the excess of a target needs it. The window is one part,
      then two, four … up to ``freezings``, each with the models of its middle, on either schedule's own way,
      until every target is answered: its excess changed by at most a tenth, and nothing else speaks against
      it. Parts that are single steps are the run itself. The models of the start, for 0, and of one part that
      is longer have nothing to be compared with: a value, and an abstention. ``dynamics="steps"`` takes the
      discrete steps of plain SGD, "flow" gradient flow. "auto" takes steps under plain SGD, where durations
      are whole; elsewhere it takes the flow bent to follow discrete steps, each stage late by what momentum
      holds back, and answers where either changes less than 0.3 of the excess and no step overshoots.
      Adam's second moments are a frozen preconditioner, and weight decay is a drift.
      ``target_model="evaluated"`` takes the targets themselves at the predicted points, "quadratic" their
      quadratic models, from where the last models are. ``max_products`` bounds the products of a stage,
      whose Krylov basis, a vector for each, lies on ``basis_device``, "cpu" say, by default where the model
      does.
    - ``trajectory``: the exact first variation along the run to come, through the optimizer's own update,
      its memory, decay, clipping and learning rates. Step s takes batch s of every domain, weighted. From
      the reference to the schedule it is integrated at ``points`` Gauss points, three by default, and both
      are run: an integral that is not the change of loss between them, both as means over replicates, makes
      it abstain, where more points may do, and so does a single point, beside which nothing is run. Under
      dropout each batch draws its masks once, from ``seed``; the other predictors refuse a model in train
      mode then.
    - ``memory``: what the optimizer's buffers alone do, with all gradients taken at the start. A common
      tail is part of the schedule.
    - ``auto``: for every target the first that answers. With replicates that have a batch for each step that
      is the trajectory, and local before it where it is cheaper, by prices that are reckoned before; what is
      dearer and knows less is not asked. Else it is local, frozen-curvature and, where the one replicate has
      a batch for each step, the trajectory, which then answers for these batches alone. With an optimizer
      that remembers, and under dropout, it is the trajectory alone. Where none answers, the last one's
      abstention.

    ``replicates`` deals the batches into as many parts and gives the spread of their predictions as the
    standard error. Each target has a verdict: an answer, or that the predictor abstains, and on what ground.
    ``exchange=k``, for two stages of k steps, makes the trajectory of each replicate the mean of two: batches
    as they come, and with those of the first k steps and of the next k exchanged (antithetic variates). The
    luck of which batch falls into which stage, of first order in the learning rate and larger than the effect
    in short windows, is then gone; it costs twice as much. Batches of later stages stay where they are, and a
    k that is no stage's length leaves some of the luck. Other predictors are not changed by it.
    ``method`` is how products are taken. The trajectory keeps the states of the run, all of them up to 1 GiB
    and else every √N-th, on the CPU, or in files of the folder ``states``, which are gone at the end.

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
    options = Options(
        replicates,
        target_model,
        dynamics,
        method,
        tolerance,
        max_products,
        basis_device,
        freezings,
        points,
        exchange,
        seed,
        states,
    )
    setting = Setting(optimizer, against, lr, clip_norm, params)
    if predictor not in ("auto", *RUNGS):
        raise CommuteError(f"predictor={predictor!r}; give one of auto, {', '.join(RUNGS)}")
    checked.module(model)
    with undisturbed(model, _loaders(domains, held_out), options.seed):
        questions, tally = ask(model, loss_fn, domains, schedule, targets, held_out, setting, options)
        if predictor == "auto":
            return auto(questions, tally)
        if predictor != "trajectory" and not questions[0].fields.repeats():
            raise CommuteError(
                "the same batch gives two losses, as with dropout in train mode; call model.eval(), or give "
                'predictor="trajectory", which draws once for each batch'
            )
        return predicted(predictor, questions, tally)


def first_variation(
    model: nn.Module,
    loss_fn: LossFunction,
    domains: Mapping[str, Iterable[Batch]],
    schedule: WeightSchedule,
    targets: Mapping[str, Mapping[str, float]] | None = None,
    *,
    optimizer: torch.optim.Optimizer | float,
    held_out: Mapping[str, Iterable[Batch]] | None = None,
    lr: float | Sequence[float] | None = None,
    clip_norm: float | None = None,
    replicates: int = 1,
    exchange: int | None = None,
    method: ProductMethod = "double-backward",
    params: Callable[[str], bool] | None = None,
    states: str | Path | None = None,
    seed: int = 0,
) -> FirstVariation:
    """∂L_t(θ_N)/∂w_k(s) of every target, step and domain along a schedule, by one sweep.

    Arguments are those of :func:`predict_excess_loss`; step s takes batch s of every domain. One sweep along
    constant weights answers for the tilts of all pairs: ``found.predict(tilt, tilt_the_other_way)``, with
    standard errors and a verdict on the sign where there are ``replicates``, each with batches of its own, or
    with both orders of them for ``exchange``.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> def loss_fn(model, batch):
    ...     x, y = batch
    ...     return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
    >>> x, y = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    >>> data = {"a": [(x[:1] + x[1:], y[:1])] * 8, "b": [(x[:1], -y[:1])] * 8}
    >>> half = {"a": 0.5, "b": 0.5}
    >>> found = first_variation(model, loss_fn, data, WeightSchedule.constant(half, 8), optimizer=0.1)
    >>> tilts = [WeightSchedule.tilt(half, "a", "b", delta, 4) for delta in (0.1, -0.1)]
    >>> found.predict(*tilts)["a"].value > 0 > found.predict(*tilts)["b"].value
    True
    """
    options = Options(replicates, method=method, exchange=exchange, seed=seed, states=states)
    setting = Setting(optimizer, None, lr, clip_norm, params)
    checked.module(model)
    with undisturbed(model, _loaders(domains, held_out), options.seed):
        questions, tally = ask(model, loss_fn, domains, schedule, targets, held_out, setting, options)
        found = averaged([_varied(question) for question in questions])
        return replace(found, reach=reach(questions[0]), cost=questions[0].cost(tally))


def _varied(question: Question) -> FirstVariation:
    """One replicate's sweep along the schedule."""
    weights = question.window.per_step()[0]
    found = swept(question, weights)
    return FirstVariation(
        question.window.domains,
        weights,
        dict(zip(question.targets, found.sensitivity, strict=True)),
        dict(zip(question.targets, found.losses.tolist(), strict=True)),
    )


def _loaders(*given: object) -> list[Iterable[Batch]]:
    return [batches for mapping in given if isinstance(mapping, Mapping) for batches in mapping.values()]
