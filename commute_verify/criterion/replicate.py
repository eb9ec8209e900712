r"""One replicate: an unbiased estimate of every P from batches that no other replicate sees.

P(L_i, L_j; L) = ⟨H_j g_i, u⟩ − ⟨H_i g_j, u⟩ is a product of three averages. Each comes from batches of its
own, so the mean of the product is the product of the means. For targets L_t = Σ_c M_tc L_c two ways lead:

    by target    u_t = Σ_c M_tc g_c, then H_b u_t for every domain b:      K products for each target
    by domain    H_b g_c for c ≠ b, and ⟨g_a, H_b g_b⟩ = ⟨g_b, H_b g_a⟩:   K(K − 1) products for all targets

``passes`` takes the cheaper. A preconditioner D acts on all gradients beside a Hessian. A role's average
over its batches is a ratio of sums, see ``ratio``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from commute_verify.criterion.finite_difference import Step
from commute_verify.criterion.gradient import gradient
from commute_verify.criterion.hvp import Method, hessian_vector_products
from commute_verify.criterion.objective import Objective, located
from commute_verify.criterion.ratio import beale
from commute_verify.criterion.sampling import Drawn, Roles
from commute_verify.criterion.vectors import Vector, add_to, dot, scale, zeros_like
from commute_verify.errors import CommuteError
from commute_verify.kernels.numpy_kernels import order_criterion

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """P (T, K, K) and ⟨u_t, D g_k⟩ (T, K) of one replicate, and the larger of P's two terms (T, K, K)."""

    P: Array
    slopes: Array
    terms: Array


class Work(NamedTuple):
    """How to estimate: M (T, K), the method with its step for each domain, D, and whom to tell of a batch."""

    objective: Objective
    mixing: Array
    method: Method
    steps: Mapping[str, Step | None]
    D: Vector | None
    tick: Callable[[], object]


def by_target(targets: int, domains: int) -> bool:
    """Whether fewer products are needed target by target than domain by domain."""
    return targets * domains < domains * (domains - 1)


def passes(targets: int, domains: int) -> int:
    """Hessian-vector products, each over one domain, that all pairs and targets take."""
    return targets * domains if by_target(targets, domains) else domains * (domains - 1)


def estimate(work: Work, roles: Mapping[str, Roles]) -> Estimate:
    """P and slopes from the roles of each domain."""
    T, K = work.mixing.shape
    first = [_preconditioned(_mean(work, r.first, name), work.D) for name, r in roles.items()]
    if by_target(T, K):
        raw = [zeros_like(work.objective.parameters) for _ in range(T)]
        for c, (name, r) in enumerate(roles.items()):
            g = _mean(work, r.second, name)
            for u, weight in zip(raw, work.mixing[:, c], strict=True):
                add_to(u, g, float(weight))
        slopes = _dots(raw, first)
    else:
        raw = [_mean(work, r.second, name) for name, r in roles.items()]
        slopes = work.mixing @ _dots(raw, first)
    second = [_preconditioned(u, work.D) for u in raw]
    gram = (_by_target if by_target(T, K) else _by_domain)(work, roles, first, second)
    P: Array = order_criterion(np.eye(K), gram.swapaxes(-1, -2)).astype(np.float64)
    return Estimate(P, slopes, np.maximum(np.abs(gram), np.abs(gram.swapaxes(-1, -2))))


def _by_target(work: Work, roles: Mapping[str, Roles], first: list[Vector], targets: list[Vector]) -> Array:
    """⟨D g_i, H_j D u_t⟩ as [t, i, j]."""
    found = [_curvatures(work, r.curvature, targets, first, name) for name, r in roles.items()]
    return np.stack(found, axis=-1)


def _by_domain(work: Work, roles: Mapping[str, Roles], first: list[Vector], second: list[Vector]) -> Array:
    """Σ_c M_tc ⟨D g_i, H_j D g_c⟩ as [t, i, j]; entries i = j, which no P needs, lack their own domain."""
    K = len(roles)
    cubic = np.zeros((K, K, K))  # [i, j, c]
    for j, (name, r) in enumerate(roles.items()):
        others = [c for c in range(K) if c != j]
        found = _curvatures(work, r.curvature, [second[c] for c in others], first, name)
        cubic[:, j, others] = found.T
        cubic[others, j, j] = found[:, j]  # H_j is symmetric
    gram: Array = np.einsum("tc,ijc->tij", work.mixing, cubic)
    return gram


def _mean(work: Work, batches: Sequence[Drawn], domain: str) -> Vector:
    total, rest = zeros_like(work.objective.parameters), None
    weights: list[float] = []
    for number, batch in batches:
        with located(f"domain {domain!r}, batch {number}"):
            g, weight, _ = gradient(work.objective, batch)
        weights.append(weight)
        add_to(total, g)
        if weight != weights[0]:
            rest = rest or zeros_like(work.objective.parameters)
            add_to(rest, g, weight - weights[0])
        work.tick()
    A, B = beale(weights)
    scale(total, A)
    if rest:
        add_to(total, rest, B)
    return total


def _curvatures(
    work: Work, batches: Sequence[Drawn], directions: Sequence[Vector], against: Sequence[Vector], domain: str
) -> Array:
    """⟨against_a, H directions_c⟩ as (C, A), H averaged over the batches.

    Double-backward shares one graph among all directions; the other methods gain nothing from that, and take
    them one by one, so that no product outlives its dots.
    """
    shared = work.method == "double-backward"
    parts = [list(range(len(directions)))] if shared else [[c] for c in range(len(directions))]
    found: list[Array] = []
    weights: list[float] = []
    for number, batch in batches:
        dots = np.zeros((len(directions), len(against)))
        with located(f"domain {domain!r}, batch {number}"):
            for part in parts:
                answer = hessian_vector_products(
                    work.objective,
                    batch,
                    [directions[c] for c in part],
                    work.method,
                    work.steps[domain],
                )
                dots[part] = _dots(answer.products, against)
            if not np.isfinite(dots).all():
                raise CommuteError(
                    f"the second derivative by {work.method} is not finite; look for a root, logarithm or "
                    "quotient at 0"
                )
        found.append(dots)
        weights.append(answer.weight)
        work.tick()
    A, B = beale(weights)
    factors = A + B * (np.array(weights) - weights[0])
    total: Array = np.tensordot(factors, np.stack(found), 1)
    return total


def _dots(x: Sequence[Vector], y: Sequence[Vector]) -> Array:
    """⟨x_a, y_b⟩ as (A, B), in float64."""
    found: Array = torch.stack([torch.stack([dot(a, b) for b in y]) for a in x]).cpu().numpy()
    return found


def _preconditioned(vector: Vector, D: Vector | None) -> Vector:
    return vector if D is None else {name: D[name] * v for name, v in vector.items()}
