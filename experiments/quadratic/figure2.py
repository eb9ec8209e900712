"""Figure 2: the two domain losses along constant weights, from several starting points."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Quadratics, Spectrum
from experiments.quadratic.plane import LOSSES
from experiments.quadratic.problems import Stream, sample
from experiments.quadratic.settings import Settings
from experiments.quadratic.statistics import plain, share_of
from experiments.quadratic.table1 import HALVES

Array = NDArray[np.float64]

PLANE_TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 50, 120)])
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 100)])
RADIUS = 2.5
RISE = 1e-6
"""A loss rises when it stands this far above its earlier minimum, relative to its value at the start."""


def figure2(settings: Settings) -> dict[str, Any]:
    """Curves (L1, L2) under weights (½, ½) in the plane, and how often a loss rises in n dimensions.

    ``curves`` start on a circle; ``optimum`` is (L1, L2) where the mixture is least, ``distance`` the largest
    distance from it at the end. ``rising`` counts the problems of appendix B in which L1 or L2 rises, and
    those in which the mixture does (never, in theory), at several dimensions.
    """
    angles = 2 * np.pi * np.arange(settings.starts) / settings.starts
    starts = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    hessian, gradient = LOSSES.mixture(HALVES, np.zeros(2))
    curves = _curves(LOSSES, Spectrum.of(hessian), starts, PLANE_TIMES)
    optimum = LOSSES.losses(-np.linalg.solve(hessian, gradient))
    return plain(
        {
            "times": PLANE_TIMES,
            "curves": curves,
            "optimum": optimum,
            "distance": np.max(np.linalg.norm(curves[:, -1] - optimum, axis=-1)),
            "rising_curves": int(np.sum(_rises(curves))),
            "draws": settings.loss_draws,
            "level": settings.level,
            "rising": [_rising(settings, n) for n in settings.loss_dimensions],
        }
    )


def _curves(losses: Quadratics, mixture: Spectrum, starts: Array, times: Array) -> Array:
    """L_k at every time along the mixture's flow, shape (starts, times, K)."""
    gradient = losses.mixture(HALVES, starts)[1]
    return np.stack([losses.losses(starts + mixture.displacement(gradient, t)) for t in times], axis=1)


def _rising(settings: Settings, dimension: int) -> dict[str, Any]:
    problem = sample(replace(settings, dimension=dimension), Stream.LOSSES, range(settings.loss_draws))
    curves = _curves(problem.losses, problem.mixed_spectrum(HALVES), problem.start, TIMES)
    count = int(np.sum(_rises(curves)))
    mixture = int(np.sum(_rises((curves @ HALVES)[..., None])))
    share = share_of(count, settings.loss_draws, settings.level)
    return {"dimension": dimension, "count": count, "mixture": mixture} | share


def _rises(curves: Array) -> NDArray[np.bool_]:
    """Whether any loss of a curve (..., times, K) stands above its earlier minimum."""
    above = curves - np.minimum.accumulate(curves, axis=-2)
    rises: NDArray[np.bool_] = np.any(above > RISE * curves[..., :1, :], axis=(-2, -1))
    return rises
