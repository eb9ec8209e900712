"""Two quadratic losses in the plane, fixed by hand, for the figures that show trajectories."""

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Quadratics, affine_flow

Array = NDArray[np.float64]

LOSSES = Quadratics(
    hessians=np.array([[[1.0, 0.6], [0.6, 0.5]], [[0.4, -0.4], [-0.4, 1.2]]]),
    centers=np.array([[1.0, 0.0], [-0.5, -1.0]]),
)


def trained(theta: Array, domain: int, time: float) -> Array:
    """Where training on one domain for ``time`` leads from θ."""
    return theta + affine_flow(LOSSES.hessians[domain], LOSSES.gradients(theta)[..., domain, :], time)
