"""Arrays that a flow is given, held to: finite real numbers of shapes that fit."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from commute_verify.errors import CommuteError

Array = NDArray[np.float64]


def finite(values: ArrayLike, what: str, expected: str) -> Array:
    """A float64 array of finite real numbers; ``expected`` is the shape that messages name."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise CommuteError(f"ragged {what}: expected an array {expected}") from error
    if array.dtype.kind not in "iuf":
        raise CommuteError(f"{what} of dtype {array.dtype}: expected real numbers {expected}")
    if not np.isfinite(array).all():
        raise CommuteError(f"{what} not finite: expected finite numbers {expected}; see where they come from")
    return array.astype(np.float64, copy=False)


def check_batches(**shapes: tuple[int, ...]) -> None:
    """CommuteError unless these leading dimensions broadcast."""
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError as error:
        raise CommuteError(f"leading dimensions {shapes} do not broadcast: give equal ones, or 1") from error


def symmetric(hessian: ArrayLike, what: str) -> Array:
    """A float64 array (..., n, n) of finite numbers, symmetric to roundoff."""
    H = finite(hessian, what, "(..., n, n)")
    if H.ndim < 2 or H.shape[-1] != H.shape[-2]:
        raise CommuteError(f"{what} of shape {H.shape}: expected (..., n, n)")
    skew = np.max(np.abs(H - H.swapaxes(-1, -2)), initial=0.0)
    if skew > 64 * H.shape[-1] * np.finfo(np.float64).eps * np.max(np.abs(H), initial=0.0):
        raise CommuteError(f"{what} not symmetric (|H - Hᵀ| up to {skew:.3g}): pass (H + Hᵀ)/2")
    return H
