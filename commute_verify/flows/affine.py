"""Exact gradient flows of quadratic losses, where the field is affine."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from commute_verify.errors import CommuteError
from commute_verify.flows.arrays import Array, check_batches, finite, symmetric

__all__ = ["Quadratics", "Spectrum", "affine_flow"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigen-decomposition H = V diag(λ) Vᵀ of a symmetric matrix, kept to flow many times.

    ``values`` (..., n) and ``vectors`` (..., n, n) are float64, eigenvectors in columns, as numpy's
    ``eigh`` returns them. Raises :class:`CommuteError` unless they are finite and their shapes fit.

    >>> Spectrum.of(np.diag([1.0, 4.0])).values.tolist()
    [1.0, 4.0]
    """

    values: Array
    vectors: Array

    def __post_init__(self) -> None:
        """Check that there is a vector for each of the values; both become float64 arrays."""
        object.__setattr__(self, "values", finite(self.values, "values", "(..., n)"))
        object.__setattr__(self, "vectors", finite(self.vectors, "vectors", "(..., n, n)"))
        if self.vectors.shape != self.values.shape + self.values.shape[-1:]:
            raise CommuteError(
                f"vectors of shape {self.vectors.shape} do not fit values of shape {self.values.shape}: "
                "expected (..., n, n) and (..., n)"
            )

    @classmethod
    def of(cls, hessian: ArrayLike) -> Self:
        """Decompose ``hessian`` (..., n, n), which must be finite and symmetric to roundoff."""
        values, vectors = np.linalg.eigh(symmetric(hessian, "hessian"))
        return cls(values, vectors)

    def hessian(self) -> Array:
        """The matrix V diag(λ) Vᵀ, shape (..., n, n).

        >>> Spectrum.of(np.diag([1.0, 4.0])).hessian().tolist()
        [[1.0, 0.0], [0.0, 4.0]]
        """
        return (self.vectors * self.values[..., None, :]) @ self.vectors.swapaxes(-1, -2)

    def displacement(self, gradient: ArrayLike, time: ArrayLike) -> Array:
        """θ(time) − θ(0) along θ' = −∇L for the loss with this Hessian; see :func:`affine_flow`."""
        n = self.values.shape[-1]
        t, g = finite(time, "time", "(...)")[..., None], finite(gradient, "gradient", "(..., n)")
        if g.shape[-1:] != (n,):
            raise CommuteError(f"gradient of shape {g.shape} for {n} parameters: expected (..., n)")
        check_batches(hessian=self.values.shape[:-1], gradient=g.shape[:-1], time=t.shape[:-1])
        try:
            with np.errstate(over="raise", invalid="raise"):
                in_eigenbasis = _apply(self.vectors.swapaxes(-1, -2), g)
                return _apply(self.vectors, -t * _phi1(-t * self.values) * in_eigenbasis)
        except FloatingPointError:
            raise CommuteError(
                f"the flow overflows: e^(-t λ) with |t| up to {np.max(np.abs(t)):.3g}, λ from "
                f"{np.min(self.values):.3g} to {np.max(self.values):.3g} and gradients up to "
                f"{np.max(np.abs(g)):.3g}; shorten the time or remove the negative curvature"
            ) from None


def affine_flow(hessian: ArrayLike, gradient: ArrayLike, time: ArrayLike) -> Array:
    """Displacement of the exact gradient flow of a quadratic loss.

    θ(t) − θ(0) = −t φ₁(−tH) g, with φ₁(z) = (e^z − 1)/z and φ₁(0) = 1, for θ' = −∇L(θ), where
    H (..., n, n) is the Hessian and g (..., n) the gradient at θ(0). Descent has the minus sign, so a
    positive eigenvalue contracts. Zero and negative eigenvalues are exact to roundoff: no inverse of H
    is taken. ``time`` (...) is flow time, of either sign; leading dimensions broadcast. Returns (..., n)
    float64. Raises :class:`CommuteError` for a Hessian that is not square, finite and symmetric, for a
    gradient or time that is not finite or does not fit, and where the result overflows. Source: paper, §3.1,
    with the minus sign of descent that e^{tA} there lacks.

    >>> affine_flow([[0.0]], [3.0], 2.0).tolist()
    [-6.0]
    >>> round(float(affine_flow([[1.0]], [1.0], 50.0)[0]), 12)
    -1.0
    """
    return Spectrum.of(hessian).displacement(gradient, time)


@dataclass(frozen=True, eq=False)
class Quadratics:
    """Losses L_k(θ) = ½ (θ − b_k)ᵀ A_k (θ − b_k) of K domains, with their exact flows.

    ``hessians`` A (..., K, n, n) symmetric and ``centers`` b (..., K, n), float64. Leading dimensions are
    independent problems and broadcast with those of θ (..., n). Raises :class:`CommuteError` for hessians
    that are not symmetric, and, in every method, for numbers that are not finite and real and for shapes
    that do not fit. Source: paper, §4.1.

    >>> two = Quadratics(np.array([[[1.0]], [[3.0]]]), np.array([[0.0], [2.0]]))
    >>> two.losses([1.0]).tolist(), two.gradients([1.0]).tolist()
    ([0.5, 1.5], [[1.0], [-3.0]])
    """

    hessians: Array
    centers: Array

    def __post_init__(self) -> None:
        """Check that every center has its Hessian; both become float64 arrays."""
        object.__setattr__(self, "hessians", symmetric(self.hessians, "hessians"))
        object.__setattr__(self, "centers", finite(self.centers, "centers", "(..., K, n)"))
        if self.centers.ndim < 2 or self.hessians.shape != (*self.centers.shape, self.centers.shape[-1]):
            raise CommuteError(
                f"hessians of shape {self.hessians.shape} do not fit centers of shape {self.centers.shape}: "
                "expected (..., K, n, n) and (..., K, n)"
            )

    def losses(self, theta: ArrayLike) -> Array:
        """L_k(θ), shape (..., K)."""
        offset = self._offset(theta)
        losses: Array = 0.5 * np.sum(offset * _apply(self.hessians, offset), axis=-1)
        return losses

    def gradients(self, theta: ArrayLike) -> Array:
        """∇L_k(θ) = A_k (θ − b_k), shape (..., K, n)."""
        return _apply(self.hessians, self._offset(theta))

    def excess(self, theta: ArrayLike, displacement: ArrayLike) -> Array:
        """L_k(θ + d) − L_k(θ) = ⟨∇L_k(θ), d⟩ + ½ dᵀ A_k d, shape (..., K).

        Taken from the displacement d (..., n), so that no digits are lost in a difference of losses.

        >>> one = Quadratics(np.array([[[2.0]]]), np.array([[0.0]]))
        >>> one.excess([1.0], [1e-20]).tolist()
        [2e-20]
        """
        d = self._point(displacement, "displacement")[..., None, :]
        check_batches(theta=np.shape(theta)[:-1], displacement=d.shape[:-2])
        excess: Array = np.sum(d * (self.gradients(theta) + 0.5 * _apply(self.hessians, d)), axis=-1)
        return excess

    def mixture(self, weights: ArrayLike, theta: ArrayLike) -> tuple[Array, Array]:
        """Hessian (..., n, n) and gradient (..., n) at θ of Σ_k w_k L_k, for ``weights`` w (..., K)."""
        w = finite(weights, "weights", "(..., K)")
        self._check_domains(w, "(..., K)")
        check_batches(losses=self.centers.shape[:-2], weights=w.shape[:-1], theta=np.shape(theta)[:-1])
        gradient = np.sum(w[..., None] * self.gradients(theta), axis=-2)
        return np.sum(w[..., None, None] * self.hessians, axis=-3), gradient

    def flow(self, weights: ArrayLike, durations: ArrayLike, theta: ArrayLike) -> Array:
        """θ(T) of θ' = −Σ_k w_k(t) ∇L_k(θ) for weights constant on each stage, earliest first.

        ``weights`` (..., S, K), ``durations`` (..., S) in flow time, ``theta`` (..., n). Returns (..., n).

        >>> one = Quadratics(np.array([[[1.0]]]), np.array([[0.0]]))
        >>> bool(abs(one.flow([[1.0], [1.0]], [1.0, 1.0], [1.0])[0] - np.exp(-2.0)) < 1e-15)
        True
        """
        w, t = finite(weights, "weights", "(..., S, K)"), finite(durations, "durations", "(..., S)")
        self._check_domains(w, "(..., S, K)")
        if w.ndim < 2 or t.shape[-1:] != w.shape[-2:-1]:
            raise CommuteError(
                f"weights of shape {w.shape} and durations of shape {t.shape} are not of the same stages: "
                "expected (..., S, K) and (..., S)"
            )
        position = self._point(theta, "theta")
        check_batches(
            losses=self.centers.shape[:-2],
            weights=w.shape[:-2],
            durations=t.shape[:-1],
            theta=position.shape[:-1],
        )
        for stage in range(w.shape[-2]):
            hessian, gradient = self.mixture(w[..., stage, :], position)
            position = position + affine_flow(hessian, gradient, t[..., stage])
        return position

    def _offset(self, theta: ArrayLike) -> Array:
        return self._point(theta, "theta")[..., None, :] - self.centers

    def _point(self, values: ArrayLike, what: str) -> Array:
        point, n = finite(values, what, "(..., n)"), self.centers.shape[-1]
        if point.shape[-1:] != (n,):
            raise CommuteError(f"{what} of shape {point.shape} for {n} parameters: expected (..., n)")
        check_batches(losses=self.centers.shape[:-2], **{what: point.shape[:-1]})
        return point

    def _check_domains(self, weights: Array, expected: str) -> None:
        K = self.centers.shape[-2]
        if weights.shape[-1:] != (K,):
            raise CommuteError(f"weights of shape {weights.shape} for {K} domains: expected {expected}")


def _phi1(z: Array) -> Array:
    nonzero = np.where(z == 0, 1.0, z)
    return np.where(z == 0, 1.0, np.expm1(nonzero) / nonzero)


def _apply(matrix: Array, vector: Array) -> Array:
    product: Array = np.matmul(matrix, vector[..., None])[..., 0]
    return product
