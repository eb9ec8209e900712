"""Figure 1: two affine flows in the plane that do not commute, and the bracket at their gap."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.kernels import numpy_kernels
from experiments.quadratic.plane import LOSSES, trained
from experiments.quadratic.settings import Settings
from experiments.quadratic.statistics import plain, slope

Array = NDArray[np.float64]

STARTS = np.array([[-1.5, 1.5], [1.5, 2.0], [-2.0, -1.5]])
T1, T2 = 0.5, 0.4
SCALES = 2.0 ** -np.arange(0, 9)
POINTS = 13


def figure1(settings: Settings) -> dict[str, Any]:
    """Paths 1-then-2 and 2-then-1 from each start, their gap θ12 − θ21, and t1 t2 R(L1, L2) at the start.

    The ladder shrinks t1 and t2 together from the first start: the gap has slope 2, what the bracket leaves
    of it slope 3. The two losses are fixed by hand; ``settings`` changes nothing here.
    """
    gaps = np.array([_gap(STARTS[0], T1 * s, T2 * s) for s in SCALES])
    brackets = np.array([_bracket(STARTS[0], T1 * s, T2 * s) for s in SCALES])
    gap_norms = np.linalg.norm(gaps, axis=1)
    remainders = np.linalg.norm(gaps - brackets, axis=1)
    return plain(
        {
            "t1": T1,
            "t2": T2,
            "centers": LOSSES.centers,
            "paths": [
                {
                    "12": _path(start, (0, 1), (T1, T2)),
                    "21": _path(start, (1, 0), (T2, T1)),
                    "gap": _gap(start, T1, T2),
                    "bracket": _bracket(start, T1, T2),
                }
                for start in STARTS
            ],
            "ladder": {
                "scale": SCALES,
                "gap": gap_norms,
                "remainder": remainders,
                "gap_slope": slope(gap_norms, SCALES),
                "remainder_slope": slope(remainders, SCALES),
            },
        }
    )


def _path(start: Array, domains: tuple[int, int], durations: tuple[float, float]) -> Array:
    first = [trained(start, domains[0], t) for t in np.linspace(0, durations[0], POINTS)]
    second = [trained(first[-1], domains[1], t) for t in np.linspace(0, durations[1], POINTS)]
    return np.array(first + second[1:])


def _gap(start: Array, t1: float, t2: float) -> Array:
    return trained(trained(start, 0, t1), 1, t2) - trained(trained(start, 1, t2), 0, t1)


def _bracket(start: Array, t1: float, t2: float) -> Array:
    g1, g2 = LOSSES.gradients(start)
    H1, H2 = LOSSES.hessians
    return np.asarray(t1 * t2 * numpy_kernels.lie_bracket(H2 @ g1, H1 @ g2))
