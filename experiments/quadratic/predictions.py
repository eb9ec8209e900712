"""Local predictions of an excess loss, by the generated kernels, for quadratic losses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Quadratics
from commute_verify.kernels import numpy_kernels
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]
Signature = tuple[Array, Array, Array]

ORDERS = (2, 3)


@dataclass(frozen=True)
class LocalTerms:
    """What predictions of the loss L = Σ_k target_k L_k read at θ.

    ``g`` (..., K, n); ``Hg`` (..., K, K, n) with Hg[i, j] = H_i g_j; ``u`` (..., n) = ∇L;
    ``Hu`` (..., K, n) = H_k u; ``HLg`` (..., K, n) = H_L g_k.
    """

    g: Array
    Hg: Array
    u: Array
    Hu: Array
    HLg: Array


def local_terms(losses: Quadratics, theta: Array, targets: list[Array]) -> list[LocalTerms]:
    """Terms at θ (..., n) for each target's weights (K,): K gradients and K² Hessian-vector products."""
    g = losses.gradients(theta)
    Hg = np.matmul(losses.hessians, g.swapaxes(-1, -2)[..., None, :, :]).swapaxes(-1, -2)
    return [
        LocalTerms(
            g,
            Hg,
            u=np.einsum("k,...kn->...n", target, g),
            Hu=np.einsum("j,...kjn->...kn", target, Hg),
            HLg=np.einsum("i,...ikn->...kn", target, Hg),
        )
        for target in targets
    ]


@dataclass(frozen=True)
class Expansion:
    """Predicted excess E_2 T² + E_3 T³ + O(T⁴) on a window of length T, each coefficient (...)."""

    second: Array
    third: Array

    def to_order(self, order: int, length: float) -> Array:
        """The prediction of ``order`` 2 or 3."""
        second = length**2 * self.second
        return second if order == 2 else second + length**3 * self.third


def expansion(at: LocalTerms, unit: Signature) -> Expansion:
    """Excess loss of a schedule over its reference, when the schedule is stretched to length T.

    ``unit`` holds the schedule's iterated integrals minus the reference's, depths 1 to 3, before stretching:
    depth n grows as Tⁿ. The third derivatives of a quadratic are zero.
    """
    d1, d2, d3 = unit
    flat = np.zeros_like(at.Hg)
    second = numpy_kernels.excess_loss_2(d1, d2, at.g, at.u, at.Hu, at.HLg)
    both = numpy_kernels.excess_loss_3(d1, d2, d3, at.g, at.u, at.Hu, at.Hg, at.HLg, flat, flat)
    return Expansion(np.asarray(second, np.float64), np.asarray(both - second, np.float64))


def signature_difference(schedule: WeightSchedule) -> Signature:
    """Iterated integrals of ``schedule`` minus those of the constant schedule with the same totals."""
    a1, a2, a3 = schedule.signature(3)
    b1, b2, b3 = schedule.averaged().signature(3)
    return a1 - b1, a2 - b2, a3 - b3
