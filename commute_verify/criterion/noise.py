"""``OrderEffect.noise``: what the noise of a run's minibatches adds to P."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import nn

from commute_verify.criterion import checked
from commute_verify.criterion.answers import Cost
from commute_verify.criterion.hessian_products import Method, check_method
from commute_verify.criterion.meter import Meter
from commute_verify.criterion.noise_answers import NoiseEffect, learning_rate
from commute_verify.criterion.noise_replicate import (
    NoiseEstimate,
    NoiseRoles,
    NoiseWork,
    noise_estimate,
)
from commute_verify.criterion.objective import LossFunction, Objective, located
from commute_verify.criterion.precision import HALF
from commute_verify.criterion.preconditioner import AdamPreconditioner, diagonal
from commute_verify.criterion.repeatable import repeatable_gradient
from commute_verify.criterion.sampling import Supply
from commute_verify.criterion.statistics import mean_and_stderr
from commute_verify.criterion.undisturbed import detached_loaders, undisturbed
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.criterion.effect import OrderEffect
    from commute_verify.criterion.objective import Batch

GROUP, SMALLEST_GROUP, FEWEST_GROUPS = 8, 4, 4
"""Batches of a domain in a replicate, the fewest there, and the fewest replicates."""
STRANGE, SCALE, SURE = 8.0, 10.0, 3.0
"""Standard errors between the effect's slopes and those found here that make a warning, or the ratio of their
sizes if these lie that many standard errors apart."""


def noise_effect(
    effect: OrderEffect,
    model: nn.Module,
    loss_fn: LossFunction,
    domains: Mapping[str, Iterable[Batch]],
    *,
    lr: float,
    batches: int = 40,
    batches_per_step: float = 1.0,
    targets: Sequence[str] | None = None,
    preconditioner: AdamPreconditioner | None = None,
    params: Callable[[str], bool] | None = None,
    probes: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> NoiseEffect:
    r"""What steps of size ``lr`` with noisy gradients add to P(L_i, L_j; L), with errors, beside P itself.

        E L(θ_12) − E L(θ_base) ≈ ½ Δt² (P + lr · N),
        N = tr(Σ_2 H_1 H_L) + ½ D³L_1(Σ_2, ∇L) − ½ (D_{g_1}Σ_2):H_L − (1 ↔ 2),

    with Σ_k the covariance of a step's gradient in a block of domain k, a function of θ. ``domains`` hold
    minibatches as the run takes them: their spread is Σ_k. If a step averages several of them (accumulation,
    ranks), ``batches_per_step`` says how many, and Σ_k is so many times smaller; a fraction if they are
    larger than the run's. ``batches`` of each domain, at least 16, make replicates of 8 (of 4 below 32),
    whose spread is the standard error. Half of a replicate's batches give the deviations from their mean,
    summed with random signs so that one product serves them all: unbiased for Σ_k, n − 1 included, with no
    random vectors beside the data. ``probes`` such sums are drawn from the same batches; further batches help
    more.

    ``targets`` names those of the effect's that are asked for (all of them by default). The effect does not
    know the model, and may have been read from JSON: give the same model, ``loss_fn``, ``params`` and
    ``preconditioner`` again; a warning says where the slopes ⟨g_k, ∇L⟩ do not fit those of the effect. With
    a preconditioner the fields are −D g_k and the covariances D Σ_k D. Not in N, as they are there without
    noise or come alike in both orders: the drift −(lr/2) H_k g_k of finite steps, and the offset of drawing
    the domain of each example. Momentum and live second moments are left out as in P.

    For a run at a constant ``lr``, in float32 or float64. Third derivatives are second differences of
    gradients. The model, buffers, modes and random states are left as they were. Memory: K + T (K + 1)
    vectors of the model's size for each probe, T targets and K domains. Raises CommuteError on bad input,
    naming domain and batch. Source: derived (``python -m proofs noise-terms noise-steps``).

    >>> import torch
    >>> import commute_verify as cv
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> def loss_fn(model, batch):
    ...     x, y = batch
    ...     return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
    >>> draw = torch.Generator().manual_seed(0)
    >>> def domain(direction, y):
    ...     x = torch.tensor(direction) + 0.1 * torch.randn(16, 8, 2, generator=draw)
    ...     return [(one.double(), torch.full((8,), y, dtype=torch.float64)) for one in x]
    >>> data = {"a": domain([1.0, 0.0], 2.0), "b": domain([1.0, 1.0], -1.0)}
    >>> effect = cv.order_effect(model, loss_fn, data, batches=16, progress=False)
    >>> noise = effect.noise(model, loss_fn, data, lr=1e-3, batches=16, targets=["a"], progress=False)
    >>> noise.verdict("a", "b", "a").matters
    False
    """
    names = checked.domain_names(domains)
    if set(names) != set(effect.domains):
        raise CommuteError(
            f"domains {checked.listed(names)} for an effect of {checked.listed(effect.domains)}; give the "
            "effect's"
        )
    asked = _targets(effect, targets)
    lr, seed = learning_rate(lr), checked.seed(seed)
    per_step = checked.real(batches_per_step)
    if per_step is None or not 0 < per_step < float("inf"):
        raise CommuteError(
            f"{checked.shown('batches_per_step', batches_per_step)}; give how many of these batches a step "
            "of the run averages, a number above 0"
        )
    sizes, probes = group_sizes(batches), checked.whole(probes, "probes", 1)
    check_method(effect.method)
    objective = Objective.of(model, loss_fn, params)
    D = None if preconditioner is None else diagonal(preconditioner, model, objective)
    mixing = np.array([[effect.mixing[t].get(k, 0.0) for k in effect.domains] for t in asked])
    method = cast("Method", effect.method)
    work = NoiseWork(objective, mixing, method, D, per_step, probes, random.Random(seed))
    meter = Meter(objective.device)
    with (
        undisturbed(model, domains.values(), seed),
        closing(Supply(detached_loaders(domains), seed, sum(sizes))) as supply,
    ):
        for name in effect.domains:
            with located(f"domain {name!r}, batch 1"):
                repeatable_gradient(objective, supply.peek(name))
        if objective.precision in HALF:
            raise CommuteError(
                f"a loss in {objective.precision}: third derivatives are lost in its rounding; give the "
                "model in float32 or float64, without autocast"
            )
        found = _replicates(work, supply, effect.domains, sizes, progress)
    _compare_slopes(effect, asked, np.stack([one.slopes for one in found]))
    cost = Cost(
        work.gradient_passes,
        work.hvp_passes,
        0,
        objective.evaluations,
        meter.seconds,
        meter.peak_bytes,
    )
    steps = ", ".join(
        f"{k} step {s.size:.1e}, relative error {s.relative_error:.1e}" for k, s in work.third.items()
    )
    notes = (f"third derivatives by second differences: {steps}",)
    return NoiseEffect(effect, asked, lr, np.stack([one.terms for one in found]), cost, notes)


def group_sizes(batches: int) -> list[int]:
    """How many batches each replicate takes of every domain.

    >>> group_sizes(40), group_sizes(18)
    ([8, 8, 8, 8, 8], [5, 5, 4, 4])
    """
    fewest = FEWEST_GROUPS * SMALLEST_GROUP
    but = f"of at least {fewest}: {FEWEST_GROUPS} replicates of {SMALLEST_GROUP} independent batches"
    batches = checked.whole(batches, "batches", fewest, but=but)
    groups = max(FEWEST_GROUPS, batches // GROUP)
    size, rest = divmod(batches, groups)
    return [size + (number < rest) for number in range(groups)]


def _replicates(
    work: NoiseWork, supply: Supply, names: Sequence[str], sizes: Sequence[int], progress: bool
) -> list[NoiseEstimate]:
    from tqdm import tqdm

    with tqdm(total=len(sizes), unit="replicate", desc="noise", disable=not progress, leave=False) as bar:
        found = []
        for size in sizes:
            roles = {name: NoiseRoles.of(supply.take(name, size)) for name in names}
            found.append(noise_estimate(work, roles))
            bar.update()
    return found


def _targets(effect: OrderEffect, targets: Sequence[str] | None) -> tuple[str, ...]:
    if targets is None:
        return effect.targets
    given = tuple(targets) if isinstance(targets, Sequence) and not isinstance(targets, str) else ()
    unknown = [name for name in given if name not in effect.targets]
    if not given or unknown or len(set(given)) < len(given):
        raise CommuteError(
            f"targets={targets!r}; give a list of some of the effect's: {', '.join(effect.targets)}"
        )
    return given


def _compare_slopes(effect: OrderEffect, asked: Sequence[str], slopes: np.ndarray) -> None:
    """Warn if ⟨u_t, D g_k⟩ is not what the effect has."""
    at = [effect.targets.index(name) for name in asked]
    mine, error = mean_and_stderr(slopes)
    theirs, other = (x[at] for x in mean_and_stderr(effect.slope_replicates))
    far = np.abs(mine - theirs) > STRANGE * np.hypot(error, other) + 1e-6 * np.abs(theirs)
    a, b, spread = (float(np.linalg.norm(x)) for x in (mine, theirs, np.hypot(error, other)))
    other_scale = not a < SCALE * b < SCALE**2 * a and abs(a - b) > SURE * spread
    if (far & (np.abs(mine - theirs) > 0.5 * np.abs(theirs))).any() or other_scale:
        warnings.warn(
            "the slopes ⟨g_k, ∇L⟩ found here are not those of the effect: give the model, the data, params "
            "and the preconditioner that it was estimated with",
            stacklevel=3,
        )
