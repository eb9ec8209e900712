r"""One replicate: an estimate of every P from batches that no other replicate sees.

P(L_i, L_j; L) = ⟨H_j g_i, u⟩ − ⟨H_i g_j, u⟩ needs g_i and H_j of different domains, and the target's u.
A domain's g and H share its ``field`` batches and u takes the ``target`` batches, so that the three factors
of each product are independent and its mean is the product of their means. For targets L_t = Σ_c M_tc L_c
two ways lead:

    by target    u_t = Σ_c M_tc g_c, then H_j u_t for every domain j:      K products for each target
    by domain    H_j u_c for c ≠ j, u_c = ∇L_c; the rest by symmetry:      K(K − 1) products for all targets

``passes`` takes the cheaper. A product's pass yields the gradient as well. Where a domain has few products,
they are held until every gradient is known: K gradients beside the products. Where it has many, gradients
come first, from passes of their own, and no product outlives its dots.
A preconditioner D acts on all gradients beside a Hessian. A role's average over its batches is a ratio of
sums: exactly unbiased where all batches of a domain weigh alike, and else the better the more weights of the
domain are known, those of earlier replicates included (see ``ratio``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.finite_difference import Step
from commute_verify.criterion.gradient import gradient
from commute_verify.criterion.hessian_products import Method, hessian_vector_products
from commute_verify.criterion.objective import Objective, located
from commute_verify.criterion.ratio import Mean, WeightedMean
from commute_verify.criterion.sampling import Roles
from commute_verify.criterion.vectors import Vector, add_to, dots, is_finite, zeros_like
from commute_verify.errors import CommuteError
from commute_verify.kernels.numpy_kernels import order_criterion

Array = NDArray[np.float64]
IN_GRADIENTS: dict[Method, int] = {
    "finite-difference": 2,
    "double-backward": 3,
    "forward-over-reverse": 3,
}
"""What a product costs, in gradients."""


class Estimate(NamedTuple):
    """P (T, K, K) and ⟨u_t, D g_k⟩ (T, K) of one replicate, and the larger of P's two terms (T, K, K)."""

    P: Array
    slopes: Array
    terms: Array


class Work(NamedTuple):
    """How to estimate: M (T, K), the method with its step for each domain, D, and whom to tell of work.

    ``weights`` holds those of every domain's batches, by rank and number, and grows as they become known.
    """

    objective: Objective
    mixing: Array
    method: Method
    steps: Mapping[str, Step | None]
    D: Vector | None
    tick: Callable[[int], object]
    weights: Mapping[str, dict[tuple[int, int], float]]
    rank: int = 0


def by_target(targets: int, domains: int) -> bool:
    """Whether fewer products are needed target by target than domain by domain."""
    return targets * domains < domains * (domains - 1)


def passes(targets: int, domains: int) -> int:
    """Hessian-vector products, each over one domain, that all pairs and targets take."""
    return targets * domains if by_target(targets, domains) else domains * (domains - 1)


def holds(targets: int, domains: int) -> bool:
    """Whether a domain has so few products, two at most, that they are held until all gradients are known."""
    return min(targets, domains - 1) <= 2


def shares(targets: int, domains: int) -> bool:
    """Whether a domain has several products, so that one graph can serve them."""
    return (targets if by_target(targets, domains) else domains - 1) > 1


def estimate(work: Work, roles: Mapping[str, Roles]) -> Estimate:
    """P and slopes from the roles of each domain."""
    T, K = work.mixing.shape
    whole, held = by_target(T, K), holds(T, K)
    targets = _target_gradients(work, roles, work.mixing if whole else np.eye(K))
    u = [_preconditioned(raw, work.D) for raw in targets]
    g = [] if held else [_field(work, r, [], name).gradient for name, r in roles.items()]
    gram = np.zeros((K, K, len(u)))  # ⟨D g_i, H_j D u_c⟩ as [i, j, c]; entries i = j are needed by no P
    waiting: list[tuple[int, int, Mean]] = []
    for j, (name, r) in enumerate(roles.items()):
        asked = [c for c in range(len(u)) if whole or c != j]
        for part in [asked] if held or work.method == "double-backward" else [[c] for c in asked]:
            found = _field(work, r, [u[c] for c in part], name)
            if not whole:  # ⟨D u_c, H_j D u_j⟩ is ⟨D u_j, H_j D u_c⟩
                gram[part, j, j] = _dots([Mean(u[j], 1.0)], found.products)[0]
            if held:
                g.append(found.gradient)
                waiting += [(j, c, product) for c, product in zip(part, found.products, strict=True)]
            else:
                gram[:, j, part] = _dots(g, found.products)
    if waiting:
        seconds, along, products = zip(*waiting, strict=True)
        gram[:, seconds, along] = _dots(g, products)
    slopes = _dots([Mean(raw, 1.0) for raw in targets], g)
    if not whole:
        gram, slopes = gram @ work.mixing.T, work.mixing @ slopes
    gram = np.moveaxis(gram, -1, 0)
    P: Array = order_criterion(np.eye(K), gram.swapaxes(-1, -2)).astype(np.float64)
    return Estimate(P, slopes, np.maximum(np.abs(gram), np.abs(gram.swapaxes(-1, -2))))


def _target_gradients(work: Work, roles: Mapping[str, Roles], mixing: Array) -> list[Vector]:
    """Σ_c mixing_tc ∇L_c for each row of mixing, from the target batches."""
    found = [zeros_like(work.objective.parameters) for _ in mixing]
    for c, (name, r) in enumerate(roles.items()):
        mean = WeightedMean()
        for number, batch in r.target:
            with located(f"domain {name!r}, batch {number}"):
                g, weight, _ = gradient(work.objective, batch)
            mean.add(g, weight)
            work.weights[name][work.rank, number] = weight
            work.tick(1)
        vector, factor = mean.result(work.weights[name].values())
        for u, share in zip(found, mixing[:, c], strict=True):
            if share:
                add_to(u, vector, float(share) * factor)
    return found


class _Field(NamedTuple):
    """A domain's D g and H v for each direction v, averaged over its field batches."""

    gradient: Mean
    products: list[Mean]


def _field(work: Work, roles: Roles, directions: Sequence[Vector], domain: str) -> _Field:
    own, products = WeightedMean(), [WeightedMean() for _ in directions]
    for number, batch in roles.field:
        with located(f"domain {domain!r}, batch {number}"):
            if directions:
                g, found, weight = hessian_vector_products(
                    work.objective, batch, directions, work.method, work.steps[domain]
                )
                if not all(is_finite(product) for product in found):
                    raise CommuteError(
                        f"the second derivative by {work.method} is not finite; look for a root, logarithm "
                        "or quotient at 0"
                    )
            else:
                (g, weight, _), found = gradient(work.objective, batch), []
        own.add(g, weight)
        work.weights[domain][work.rank, number] = weight
        for mean, product in zip(products, found, strict=True):
            mean.add(product, weight)
        work.tick(len(found) * IN_GRADIENTS[work.method] or 1)
    known = work.weights[domain].values()
    vector, factor = own.result(known)
    return _Field(Mean(_preconditioned(vector, work.D), factor), [mean.result(known) for mean in products])


def _dots(x: Sequence[Mean], y: Sequence[Mean]) -> Array:
    """⟨x_a, y_b⟩ as (A, B)."""
    factors = np.outer([a.factor for a in x], [b.factor for b in y])
    found: Array = factors * dots([a.total for a in x], [b.total for b in y]).cpu().numpy()
    return found


def _preconditioned(vector: Vector, D: Vector | None) -> Vector:
    return vector if D is None else {name: D[name] * v for name, v in vector.items()}
