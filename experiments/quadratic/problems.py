"""Random quadratic problems of appendix B, one random stream for each draw."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Quadratics, Spectrum
from experiments.quadratic.settings import Settings

Array = NDArray[np.float64]


class Stream(IntEnum):
    """What a random stream is for: streams with different names never share numbers."""

    FRESH = 1
    FIXED = 2
    FIXED_STARTS = 3
    LOSSES = 4
    SCHEDULES = 5


@dataclass(frozen=True)
class Problem:
    """Losses of K domains, their known spectra (..., K, n), and a starting point θ (..., n)."""

    losses: Quadratics
    spectra: Spectrum
    start: Array

    def spectrum(self, domain: int) -> Spectrum:
        """Spectrum of one domain's Hessian."""
        return Spectrum(self.spectra.values[..., domain, :], self.spectra.vectors[..., domain, :, :])

    def mixed_spectrum(self, weights: Array) -> Spectrum:
        """Spectrum of Σ_k w_k A_k for w (..., K)."""
        return Spectrum.of(np.einsum("...k,...kij->...ij", weights, self.losses.hessians))


def generator(settings: Settings, stream: Stream, *index: int) -> np.random.Generator:
    """The random numbers of one draw, whatever the chunk that it is computed in."""
    return np.random.default_rng([settings.seed, stream, *index])


def sample(settings: Settings, stream: Stream, draws: range, domains: int = 2) -> Problem:
    """Problems ``draws``, along the leading dimension: A_k = C_kᵀ diag(decay^j) C_k, b_k and θ ~ N(0, 1).

    C_k is uniform on the orthogonal group.
    """
    n = settings.dimension
    numbers = [generator(settings, stream, domains, draw).normal(size=(domains, n + 1, n)) for draw in draws]
    gaussian = np.stack(numbers)
    starts = np.stack([generator(settings, stream, domains, draw, 1).normal(size=n) for draw in draws])
    values = np.broadcast_to(settings.decay ** np.arange(n), gaussian[:, :, 0].shape)
    spectra = Spectrum(values, _orthogonal(gaussian[:, :, :n]))
    return Problem(Quadratics(spectra.hessian(), gaussian[:, :, n]), spectra, starts)


def fixed(settings: Settings, matrices: int) -> Problem:
    """One draw of matrices and centres, with ``settings.draws`` starting points."""
    one = sample(settings, Stream.FIXED, range(matrices, matrices + 1))
    rng = generator(settings, Stream.FIXED_STARTS, matrices)
    starts = rng.normal(size=(settings.draws, settings.dimension))
    losses = Quadratics(one.losses.hessians[0], one.losses.centers[0])
    return Problem(losses, Spectrum(one.spectra.values[0], one.spectra.vectors[0]), starts)


def chunks(total: int, size: int) -> Iterator[range]:
    """Consecutive ranges that cover ``range(total)``, each at most ``size`` long."""
    for first in range(0, total, size):
        yield range(first, min(first + size, total))


def _orthogonal(gaussian: Array) -> Array:
    """Haar-distributed Q of a Gaussian matrix: QR with the diagonal of R made positive (Mezzadri, 2007)."""
    Q, R = np.linalg.qr(gaussian)
    haar: Array = Q * np.sign(np.diagonal(R, axis1=-2, axis2=-1))[..., None, :]
    return haar
