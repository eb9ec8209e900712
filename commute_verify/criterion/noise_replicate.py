r"""One replicate of the noise terms, from batches that no other replicate sees.

What noise adds to P(L_i, L_j; L) at steps of size η is η (A_ij − A_ji), to first order in η,

    A_ij = tr(Σ_j H_i H_L) + ½ D³L_i(Σ_j, ∇L) − ½ (D_{g_i}Σ_j) : H_L.

No random vectors are needed beside the data: of n gradients g_b of minibatches, z = Σ_b c_b g_b with
c_b = ±1/√n, half of them of each sign, has the mean square Σ̂ over all choices of signs: the sample
covariance, with its n − 1. So one z stands for Σ_j in each term, and one product for all its minibatches.
With a preconditioner the fields are −D g_k and the covariances D Σ_k D, and z is D Σ_b c_b g_b:

    A_ij = E [⟨D H_i z, H_L z⟩ + ½ ⟨D³L_i(z, z), D u⟩ − ⟨D y_i, H_L z⟩],      y_i = Σ_b c_b H_b D g_i.

Three roles of a domain's batches make the factors of each product independent: ``noise`` gives g_b, H_b and
the g_i of other domains, ``field`` gives H_i and D³L_i, ``target`` gives H_L and u.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.finite_difference import Step, choose_step
from commute_verify.criterion.gradient import Products, gradient
from commute_verify.criterion.hessian_products import Method, hessian_vector_products
from commute_verify.criterion.objective import Batch, Objective, located
from commute_verify.criterion.ratio import WeightedMean
from commute_verify.criterion.sampling import Drawn
from commute_verify.criterion.third_derivative import choose_third_step, second_difference
from commute_verify.criterion.vectors import Vector, add_to, dots, zeros_like

Array = NDArray[np.float64]
TERMS = ("curvature", "third derivative", "covariance")
"""tr(Σ_j H_i H_L), ½ D³L_i(Σ_j, ∇L) and −½ (D_{g_i}Σ_j):H_L, each less its mirror image."""


class NoiseRoles(NamedTuple):
    """One domain's batches in one replicate."""

    noise: list[Drawn]
    field: list[Drawn]
    target: list[Drawn]

    @staticmethod
    def of(drawn: list[Drawn]) -> NoiseRoles:
        """At least four batches: half of them, an even number, for the noise."""
        noise = 2 * max(1, len(drawn) // 4)
        own = noise + (len(drawn) - noise + 1) // 2
        return NoiseRoles(drawn[:noise], drawn[noise:own], drawn[own:])


@dataclass
class NoiseWork:
    """How to estimate: M (T, K), the method of products, D, Σ's share per step, and signs; counts passes."""

    objective: Objective
    mixing: Array
    method: Method
    D: Vector | None
    per_step: float
    probes: int
    signs: random.Random
    gradient_passes: int = 0
    hvp_passes: int = 0
    weights: dict[str, dict[int, float]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    third: dict[str, Step] = field(default_factory=dict)

    def gradient(self, name: str, drawn: Drawn) -> tuple[Vector, float]:
        """The summed gradient of a batch, and its weight."""
        with located(f"domain {name!r}, batch {drawn.number}"):
            found = gradient(self.objective, drawn.batch)
        self.weights.setdefault(name, {})[drawn.number] = found.weight
        self.gradient_passes += 1
        return found.vector, found.weight

    def products(self, name: str, drawn: Drawn, directions: Sequence[Vector]) -> Products:
        """Summed Hessian-vector products of a batch, and its weight."""
        with located(f"domain {name!r}, batch {drawn.number}"):
            found = hessian_vector_products(
                self.objective,
                drawn.batch,
                directions,
                self.method,
                self._step(name, drawn.batch, directions),
            )
        self.weights.setdefault(name, {})[drawn.number] = found.weight
        self.hvp_passes += len(directions)
        return found

    def third_derivative(self, name: str, drawn: Drawn, z: Vector, centre: Vector) -> Vector:
        """The summed D³L(z, z) of a batch whose summed gradient is ``centre``."""
        with located(f"domain {name!r}, batch {drawn.number}"):
            if name not in self.third:
                self.third[name] = choose_third_step(self.objective, drawn.batch, z, centre)
            found = second_difference(self.objective, drawn.batch, z, centre, self.third[name].size)
        self.gradient_passes += 2
        return found

    def mean(self, name: str, total: WeightedMean) -> Vector:
        """The weighted mean of what was summed."""
        vector, factor = total.result(self.weights[name].values())
        return {key: t * factor for key, t in vector.items()}

    def preconditioned(self, vector: Vector) -> Vector:
        """D v."""
        return vector if self.D is None else {name: self.D[name] * v for name, v in vector.items()}

    def _step(self, name: str, batch: Batch, directions: Sequence[Vector]) -> Step | None:
        if self.method != "finite-difference":
            return None
        if name not in self.steps:
            self.steps[name] = choose_step(self.objective, batch, directions[0])
        return self.steps[name]


class NoiseEstimate(NamedTuple):
    """The terms of one replicate for η = 1, (T, K, K, 3), antisymmetric, and slopes ⟨D u_t, g_k⟩ (T, K)."""

    terms: Array
    slopes: Array


class _Noise(NamedTuple):
    """A domain's mean gradient, and for each probe the coefficients c_b and D z."""

    gradient: Vector
    coefficients: list[list[float]]
    z: list[Vector]


def noise_estimate(work: NoiseWork, roles: Mapping[str, NoiseRoles]) -> NoiseEstimate:
    """All noise terms from the roles of each domain."""
    names, probes = list(roles), range(work.probes)
    T, K = work.mixing.shape
    noise = [_noise(work, name, roles[name].noise) for name in names]
    u, curved = _target(work, roles, noise)
    Du = [work.preconditioned(v) for v in u]
    slopes = dots(Du, [one.gradient for one in noise]).cpu().numpy()
    A = np.zeros((T, K, K, len(TERMS)))
    for i, name in enumerate(names):
        others = [j for j in range(K) if j != i]
        products, thirds = _field(work, name, roles[name].field, [noise[j].z for j in others])
        for j, own, bent in zip(others, products, thirds, strict=True):
            A[:, i, j, 1] = 0.5 * dots(Du, bent).mean(dim=1).cpu().numpy()
            for p in probes:
                along = [work.preconditioned(own[p])]
                A[:, i, j, 0] += dots([curved[t][j][p] for t in range(T)], along)[:, 0].cpu().numpy() / len(
                    probes
                )
    for j, name in enumerate(names):
        others = [i for i in range(K) if i != j]
        directions = [work.preconditioned(noise[i].gradient) for i in others]
        moved = _moved_noise(work, name, roles[name].noise, noise[j], directions)
        for i, per_probe in zip(others, moved, strict=True):
            for p in probes:
                along = [work.preconditioned(per_probe[p])]
                A[:, i, j, 2] -= dots([curved[t][j][p] for t in range(T)], along)[:, 0].cpu().numpy() / len(
                    probes
                )
    return NoiseEstimate(A - A.swapaxes(1, 2), slopes)


def _noise(work: NoiseWork, name: str, drawn: list[Drawn]) -> _Noise:
    """g and D z from one pass over the batches, each by its own mean, as a step of a run takes it."""
    n = len(drawn)
    coefficients = [_balanced(work.signs, n, work.per_step) for _ in range(work.probes)]
    mean = zeros_like(work.objective.parameters)
    z = [zeros_like(work.objective.parameters) for _ in coefficients]
    for b, one in enumerate(drawn):
        total, weight = work.gradient(name, one)
        add_to(mean, total, 1 / weight / n)
        for vector, c in zip(z, coefficients, strict=True):
            add_to(vector, total, c[b] / weight)
    return _Noise(mean, coefficients, [work.preconditioned(vector) for vector in z])


def _balanced(signs: random.Random, n: int, per_step: float) -> list[float]:
    """c_b = ±1/√(n · batches per step), as many of each sign, in random order.

    >>> sorted(_balanced(random.Random(0), 4, 1.0))
    [-0.5, -0.5, 0.5, 0.5]
    """
    found = [1.0, -1.0] * (n // 2)
    signs.shuffle(found)
    return [c / math.sqrt(n * per_step) for c in found]


def _target(
    work: NoiseWork, roles: Mapping[str, NoiseRoles], noise: list[_Noise]
) -> tuple[list[Vector], list[list[list[Vector]]]]:
    """u_t, and H_{L_t} D z for each target, domain and probe."""
    empty = work.objective.parameters
    u = [zeros_like(empty) for _ in work.mixing]
    curved = [[[zeros_like(empty) for _ in one.z] for one in noise] for _ in work.mixing]
    every = [(j, p) for j, one in enumerate(noise) for p in range(len(one.z))]
    for c, (name, own) in enumerate(roles.items()):
        shares = [(t, float(share)) for t, share in enumerate(work.mixing[:, c]) if share]
        if not shares:
            continue
        slope, means = WeightedMean(), [WeightedMean() for _ in every]
        for drawn in own.target:
            found = work.products(name, drawn, [noise[j].z[p] for j, p in every])
            slope.add(found.gradient, found.weight)
            for mean, product in zip(means, found.products, strict=True):
                mean.add(product, found.weight)
        of_u, of_z = work.mean(name, slope), [work.mean(name, mean) for mean in means]
        for t, share in shares:
            add_to(u[t], of_u, share)
            for (j, p), product in zip(every, of_z, strict=True):
                add_to(curved[t][j][p], product, share)
    return u, curved


def _field(
    work: NoiseWork, name: str, drawn: list[Drawn], z: list[list[Vector]]
) -> tuple[list[list[Vector]], list[list[Vector]]]:
    """H z and D³L(z, z) of a domain, for each of the other domains' probes."""
    flat = [vector for per_probe in z for vector in per_probe]
    products, thirds = ([WeightedMean() for _ in flat] for _ in range(2))
    for one in drawn:
        centre, weight = work.gradient(name, one)
        found = work.products(name, one, flat)
        for vector, product, mean, third in zip(flat, found.products, products, thirds, strict=True):
            mean.add(product, weight)
            third.add(work.third_derivative(name, one, vector, centre), weight)
    return (
        _by_domain([work.mean(name, mean) for mean in products], len(z)),
        _by_domain([work.mean(name, third) for third in thirds], len(z)),
    )


def _moved_noise(
    work: NoiseWork, name: str, drawn: list[Drawn], noise: _Noise, directions: list[Vector]
) -> list[list[Vector]]:
    """Σ_b c_b H_b v for each direction and probe."""
    moved = [[zeros_like(work.objective.parameters) for _ in noise.z] for _ in directions]
    for b, one in enumerate(drawn):
        found = work.products(name, one, directions)
        for per_probe, product in zip(moved, found.products, strict=True):
            for vector, c in zip(per_probe, noise.coefficients, strict=True):
                add_to(vector, product, c[b] / found.weight)
    return moved


def _by_domain(vectors: list[Vector], domains: int) -> list[list[Vector]]:
    size = len(vectors) // domains if domains else 0
    return [vectors[d * size : (d + 1) * size] for d in range(domains)]
