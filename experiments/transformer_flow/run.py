"""The parts of the transformer experiment, each a pure function of the settings."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.one_core import on_one_core
from experiments.quadratic.statistics import plain
from experiments.transformer_flow.ladder import SWAP, Window, curvature, ladder
from experiments.transformer_flow.predictions import derivatives
from experiments.transformer_flow.problem import EACH, MIXTURE, Problem, trained, untrained
from experiments.transformer_flow.settings import Settings

PartFunction = Callable[[Settings], dict[str, Any]]


def model(settings: Settings) -> dict[str, Any]:
    """The model at the point looked at: losses in nats a token, gradients, curvature of the mixture."""
    start, problem = untrained(settings), trained(settings)
    g = np.stack([problem.gradient(each, problem.theta) for each in EACH])
    norms = np.linalg.norm(g, axis=1)
    ritz = curvature(problem, MIXTURE, settings.seed)
    return plain(
        {
            "parameters": problem.theta.size,
            "layers": settings.layers,
            "width": settings.width,
            "vocabulary": settings.vocabulary,
            "context": settings.context,
            "rows": settings.rows,
            "steps": settings.steps,
            "rtol": settings.rtol,
            "loose": settings.loose,
            "nodes": settings.nodes,
            "losses_before": start.losses(start.theta),
            "losses": problem.losses(problem.theta),
            "gradient_norms": norms,
            "cosine": g[0] @ g[1] / np.prod(norms),
            "lambda_max": ritz.value,
            "products": ritz.steps,
            "third_derivative_gap": _third_derivative_gap(problem),
        }
    )


def _third_derivative_gap(problem: Problem) -> float:
    """How far autograd's third derivatives of PyTorch's own layer_norm are from those of it written out."""
    right = derivatives(problem.written_out()).Tgg
    return float(np.linalg.norm(derivatives(problem).Tgg - right) / np.linalg.norm(right))


def swap(settings: Settings) -> dict[str, Any]:
    """One language for Δt and then the other, against the equal mixture for 2Δt."""
    return ladder(settings, SWAP)


def tilt_even(settings: Settings) -> dict[str, Any]:
    """Equal weights, tilted."""
    return ladder(settings, Window(*settings.tilt_even))


def tilt_skewed(settings: Settings) -> dict[str, Any]:
    """Skewed weights, tilted."""
    return ladder(settings, Window(*settings.tilt_skewed))


PARTS: dict[str, PartFunction] = {
    part.__name__: on_one_core(part) for part in (model, swap, tilt_even, tilt_skewed)
}


def run(settings: Settings) -> dict[str, Any]:
    """Results of every part under its name, ready for JSON; the same settings give the same numbers."""
    return {name: part(settings) for name, part in PARTS.items()}
