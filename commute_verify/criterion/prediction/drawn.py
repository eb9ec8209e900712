r"""Questions about runs that draw their batches: domains whose sequences come and go with the weights.

Step s of a run that draws takes n_k(s) of its B sequences from domain k. Its gradient

    (1/B) Σ_k Σ_{i ≤ n_k(s)} ∇ℓ_{k,i}     has the covariance     (1/B) Σ_k (n_k(s)/B) C_k,

linear in the weights n_k/B, where C_k is that of one sequence. Equal batches whose losses are weighted have
w_k² in their place: other noise, and under Adam with small batches another outcome. Here both runs take the
same sequences; those that only one of them has in a step are a domain of their own, whose weight goes from 0
to its full size between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Batch
from commute_verify.criterion.prediction.predict import Predictor
from commute_verify.criterion.prediction.question import listed
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Counts = NDArray[np.int64]

MOVED = ", in one run only"
"""Ends the name of the domain of the sequences that only one of the two runs has in a step."""
MOST = 2**31
"""The most sequences of a step."""


class DrawnMixture(TypedDict):
    """Arguments of ``predict_excess_loss``; the other predictors know nothing of the noise."""

    domains: dict[str, list[Batch]]
    schedule: WeightSchedule
    targets: dict[str, dict[str, float]]
    against: WeightSchedule
    held_out: dict[str, list[Batch]]
    predictor: Predictor
    replicates: int


def drawn_mixture(
    sequences: Mapping[str, Tensor],
    counts: ArrayLike,
    against: ArrayLike,
    held_out: Mapping[str, Iterable[Batch]],
    targets: Mapping[str, Mapping[str, float]] | None = None,
    *,
    replicates: int = 1,
) -> DrawnMixture:
    """What to ask the trajectory of a run that draws ``counts`` sequences a step, against another.

    ``sequences`` maps each of K domains to (n, …), one row for each sequence, in random order, all of which
    weigh alike in a batch's loss, without padding; ``counts``, and ``against`` of the other run, (N, K) are
    whole numbers of sequences, each row summing to the batch, B. ``held_out`` are batches of other sequences.
    A replicate takes sequences of its own, the same for both runs: max(min(n, n'), 1) of a domain in a step
    where one draws n and the other n', and max(|n − n'|, 1) more if they ever differ. With ``exchange=k``
    steps s and s + k change batches: they should draw alike, as they do in two constant stages. Raises
    CommuteError on bad input.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> def loss_fn(model, x):
    ...     return 0.5 * (model(x[:, :2]).squeeze(-1) - x[:, 2]).square().sum(), len(x)
    >>> draw = torch.Generator().manual_seed(0)
    >>> data = {name: torch.randn(80, 3, dtype=torch.float64, generator=draw) for name in ("a", "b")}
    >>> a_first = [[3, 1]] * 4 + [[1, 3]] * 4
    >>> held_out = {name: [rows[60:]] for name, rows in data.items()}
    >>> mixture = drawn_mixture(data, a_first, a_first[::-1], held_out)
    >>> mixture["schedule"].domains
    ('a', 'b', 'a, in one run only', 'b, in one run only')
    >>> mixture["schedule"].weights[0].tolist(), mixture["against"].weights[0].tolist()
    ([0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.0, 0.5])
    >>> from commute_verify.criterion import predict_excess_loss
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    >>> predict_excess_loss(model, loss_fn, **mixture, optimizer=optimizer, exchange=4)["a"].predictor
    'trajectory'
    """
    names = checked.domain_names(sequences)
    wanted = checked.targets(targets, names)
    own = listed(held_out, "held_out")
    if set(own) != set(names):
        raise CommuteError(
            f"held_out names {', '.join(own)} and sequences {', '.join(names)}; give the same names"
        )
    if taken := [name for name in names if name.endswith(MOVED)]:
        raise CommuteError(f"a domain is called {taken[0]!r}, as a part of another is; give another name")
    parts = checked.whole(replicates, "replicates", 1)
    run, other = (_counts(given, what, names) for given, what in ((counts, "counts"), (against, "against")))
    batch = int(run[0].sum())
    if run.shape != other.shape or batch != other[0].sum():
        raise CommuteError(
            f"counts of {len(run)} steps of {batch} sequences against {len(other)} of {int(other[0].sum())}; "
            "give as many steps and sequences"
        )
    common = np.minimum(run, other)
    moved = np.flatnonzero((run != other).any(axis=0)).tolist()
    domains: dict[str, list[Batch]] = {}
    alone: dict[str, list[Batch]] = {}
    for k, name in enumerate(names):
        sizes = [common[:, k]] + [np.abs(run - other)[:, k]] * (k in moved)
        dealt = _dealt(sequences[name], np.tile(np.maximum(sizes, 1), parts), name)
        domains[name] = dealt[0]
        if k in moved:
            alone[name + MOVED] = dealt[1]
    domains |= alone
    schedules = [
        WeightSchedule(tuple(domains), np.ones(len(n)), np.hstack([common, (n - common)[:, moved]]) / batch)
        for n in (run, other)
    ]
    return DrawnMixture(
        domains=domains,
        schedule=schedules[0],
        targets=wanted,
        against=schedules[1],
        held_out={name: own[name.removesuffix(MOVED)] for name in domains},
        predictor="trajectory",
        replicates=parts,
    )


def _counts(given: ArrayLike, what: str, names: list[str]) -> Counts:
    """Whole numbers (N, K) whose rows sum to the same batch."""
    wanted = f"give whole numbers of sequences, (steps, {len(names)}), that sum to the batch in every step"
    try:
        found: NDArray[Any] = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CommuteError(f"{what} is no table of numbers ({error}); {wanted}") from error
    if found.ndim != 2 or found.shape[1] != len(names) or not len(found):
        raise CommuteError(f"{what} has shape {found.shape}; {wanted}")
    if found.dtype.kind not in "iuf" or not np.all(
        (found >= 0) & (found <= MOST) & (found == np.floor(found))
    ):
        raise CommuteError(f"{what} holds what is no number of sequences; {wanted}")
    sums = np.unique(found.sum(axis=1))
    if len(sums) > 1 or not sums[0]:
        raise CommuteError(f"the steps of {what} have {sums.tolist()} sequences; {wanted}")
    return found.astype(np.int64)


def _dealt(rows: Tensor, sizes: Counts, name: str) -> list[list[Tensor]]:
    """Batches of these sizes (M, N), step by step, each of other rows."""
    if not isinstance(rows, Tensor) or not rows.ndim:
        raise CommuteError(f"{checked.shown(f'sequences of {name!r}', rows)}; give a tensor, a row for each")
    need = int(sizes.sum())
    if len(rows) < need:
        raise CommuteError(
            f"domain {name!r} holds {len(rows)} sequences, and {need} are needed, at least one for each "
            "step; give more"
        )
    batches = torch.split(rows[:need], sizes.T.ravel().tolist())
    return [[*batches[m :: len(sizes)]] for m in range(len(sizes))]
