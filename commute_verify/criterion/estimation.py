"""``order_effect``: from a model and batches per domain to which domain should come first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Literal

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from commute_verify.criterion import checked
from commute_verify.criterion.budget import Budget
from commute_verify.criterion.dealt import check_alike, deal, joint, probed
from commute_verify.criterion.effect import OrderEffect
from commute_verify.criterion.hessian_products import Method, check_method
from commute_verify.criterion.meter import Meter
from commute_verify.criterion.objective import Batch, LossFunction
from commute_verify.criterion.precision import HALF
from commute_verify.criterion.preconditioner import AdamPreconditioner, diagonal
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.replicate import shares
from commute_verify.criterion.run import Run
from commute_verify.criterion.sampling import FEWEST_GROUPS, ExhaustedError, Supply, group_sizes
from commute_verify.criterion.sharded import ShardedObjective, objective_of, sharded_method
from commute_verify.criterion.undisturbed import detached_loaders, undisturbed
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

FEWEST_REPLICATES = 2
"""Fewer have no spread."""


def order_effect(
    model: nn.Module,
    loss_fn: LossFunction,
    domains: Mapping[str, Iterable[Batch]],
    *,
    targets: Mapping[str, Mapping[str, float]] | None = None,
    batches: int = 100,
    until: Literal["resolved"] | None = None,
    budget: float | str | None = None,
    method: Literal["auto"] | Method = "auto",
    preconditioner: AdamPreconditioner | None = None,
    params: Callable[[str], bool] | None = None,
    seed: int = 0,
    progress: bool = True,
    process_group: ProcessGroup | None = None,
) -> OrderEffect:
    """Estimate P(L_i, L_j; L) = ⟨H_j g_i − H_i g_j, ∇L⟩ for all pairs of domains and all targets.

    P > 0 says that i before j ends with a higher L: put j first. ``loss_fn(model, batch)`` returns the summed
    loss and its weight (such as the number of valid tokens); averages are weighted by it. ``domains`` maps
    names to re-iterables of batches. ``targets`` maps names to weights over domains that sum to 1; by default
    every domain, and "mixture", all domains alike. ``params`` chooses among the trainable parameters by name.

    ``batches`` are drawn from every domain, none twice, and split among the three factors of each product in
    several replicates, whose spread is the error of their mean. It is unbiased where a domain's batches all
    have the same weight, and else consistent: the bias that ragged batches leave falls faster than the error.
    ``until="resolved"`` draws further replicates until every sign is resolved, or ``budget`` is spent: a
    number of gradient passes (a product counts 2 by finite differences, else 3), or a time such as "90s" or
    "10m"; p-values are corrected for looking again. ``method="auto"`` takes the fastest that is right on this
    model, by measured time. Inside, every random state starts from ``seed``, so that two calls with a named
    method, and no budget in time, give the same numbers.

    With a ``process_group``, such as ``torch.distributed.group.WORLD``, its ranks estimate together. Each
    holds the same model and calls this with the same arguments and batches of its own; ``batches`` counts
    those of all ranks. Replicates are dealt to the ranks in turn (at least one to each where the batches
    suffice), only scalars are sent, and all ranks return the same P. The numbers are those of one process
    that is given the ranks' batches replicate by replicate. A rank that fails or ends, or is silent for
    longer than the group's timeout, is a CommuteError on the others. Of a DistributedDataParallel the module
    inside is taken.

    A model that ``fully_shard`` (FSDP2) has spread is measured by finite differences, by all ranks at once:
    each calls this with the same arguments and its own part of every batch, and batch n is that of all ranks
    together. Parameters are moved in place, and put back bit for bit. FSDP must average gradients over the
    ranks, as it does by default, and a budget is in passes.

    The model, its gradients, buffers, modes and all random states are left bitwise as they were. Hooks on its
    modules run as in any pass, so that one that records or logs sees those of the estimate as well. Raises
    CommuteError on bad input, naming domain and batch. Source: paper, eq. 6 and 7 (sign of eq. 6).

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> def loss_fn(model, batch):
    ...     x, y = batch
    ...     return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)
    >>> draw = torch.Generator().manual_seed(0)
    >>> def domain(direction, y):
    ...     x = torch.tensor(direction) + 0.1 * torch.randn(12, 8, 2, generator=draw)
    ...     return [(one, torch.full((8,), y)) for one in x]
    >>> data = {"a": domain([1.0, 0.0], 2.0), "b": domain([1.0, 1.0], -1.0)}
    >>> effect = order_effect(model, loss_fn, data, batches=12, progress=False)
    >>> effect.P["mixture"].shape, effect.cost.hvps_per_estimate
    ((2, 2), 2)
    """
    names = checked.domain_names(domains)
    mixing = checked.targets(targets, names)
    if not (isinstance(method, str) and method == "auto"):
        check_method(method)
    limit = _limit(until, budget)
    ranks = Ranks(process_group)
    if limit and ranks.size > 1:
        raise CommuteError(
            f"until={until!r} on {ranks.size} ranks, whose batches end at different times; give a number of "
            "batches"
        )
    sizes = group_sizes(batches, ranks.size)[: FEWEST_GROUPS if limit else None]
    own = sizes[ranks.number :: ranks.size]
    seed = checked.seed(seed)
    if isinstance(model, DistributedDataParallel):
        model = model.module
    objective, shards = objective_of(model, loss_fn, params), Ranks()
    if isinstance(objective, ShardedObjective):
        method, shards = sharded_method(method, ranks, limit), objective.ranks
    meter = Meter(objective.device)
    with (
        ranks.failing_together(),
        shards.answering(),
        undisturbed(model, domains.values(), seed),
        closing(Supply(detached_loaders(domains), seed, max(sum(own), 1), shards)) as supply,
    ):
        D = None if preconditioner is None else diagonal(preconditioner, model, objective)
        for crew in (ranks, shards):
            if crew.size > 1:
                check_alike(crew, objective, D, (names, mixing, batches, until, budget, method, seed))
        first = {name: supply.peek(name) for name in names}
        together = shares(len(mixing), len(names))
        found = probed(ranks, objective, first, None if method == "auto" else method, seed, together)
        if isinstance(objective, ShardedObjective):
            objective.check_sum(first[names[0]])
        run = Run(
            objective, supply, names, mixing, found, D, meter, progress and ranks.number == shards.number == 0
        )
        try:
            if ranks.size > 1:
                run.expect(own)
                deal(run, sizes, ranks)
                effect = joint(run.effect(0, "all batches are used"), ranks)
            else:
                effect = _sample(run, sizes, limit)
        finally:
            run.close()
    if objective.precision in HALF:
        autocast = objective.precision != objective.dtype
        warnings.warn(
            f"{'a loss' if autocast else 'parameters'} in {objective.precision}: the two terms of P are "
            f"{run.amplification():.1f} times larger than P, and their rounding with them; "
            f"{'turn autocast off' if autocast else 'estimate in float32'} to be sure",
            stacklevel=2,
        )
    if effect.alike:
        warnings.warn(
            "the replicates do not differ, as where the same batches come again and again: the standard "
            "error is then no error of P; give independent batches",
            stacklevel=2,
        )
    return effect


def _sample(run: Run, sizes: list[int], limit: Budget | None) -> OrderEffect:
    """All replicates asked for; with a limit, further ones until the signs are resolved or it is reached."""
    if limit:
        limit.check_first(run, sizes)
    run.expect(sizes)
    look, stopped = 1, ""
    for done, size in enumerate(sizes):
        if limit and done >= FEWEST_REPLICATES and not limit.allows(run, [size]):
            stopped = "the budget is spent"
            break
        run.replicate(size)
    if limit is None:
        return run.effect(0, "all batches are used")
    while run.effect(look, "").unresolved():
        if stopped:
            return run.effect(look, stopped)
        before = len(run.estimates)
        stopped = _more(run, before // 2, sizes[-1], limit)
        if len(run.estimates) == before:
            return run.effect(look, stopped)
        look += 1
    return run.effect(look, "every sign is resolved")


def _more(run: Run, replicates: int, size: int, limit: Budget) -> str:
    """Further replicates up to the next look, and why there were fewer if there were.

    Every look is paid for, so each waits until there is half as much data again.
    """
    for _ in range(replicates):
        if not limit.allows(run, [size]):
            return "the budget is spent"
        run.expect([size])
        try:
            run.replicate(size)
        except ExhaustedError as error:
            return str(error)
    return ""


def _limit(until: str | None, budget: float | str | None) -> Budget | None:
    if until is None and budget is None:
        return None
    if until != "resolved" or budget is None:
        raise CommuteError(
            f'until={until!r}, budget={budget!r}; give until="resolved" and a budget together, or neither'
        )
    return Budget(budget)
