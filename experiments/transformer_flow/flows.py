"""What happens: gradient flows as displacements from θ, and excess losses that keep their digits."""

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows import gradient_flow
from commute_verify.schedules import WeightSchedule
from experiments.transformer_flow.problem import EACH, MIXTURE, Problem

Array = NDArray[np.float64]


def displacement(problem: Problem, schedule: WeightSchedule, rtol: float) -> Array:
    """θ(T) − θ along the schedule, shape (n,).

    The displacement itself is integrated, not θ, so that its digits do not end where those of θ do: x(0) = 0
    and x' = −∇(Σ_k w_k L_k)(θ + x), each stage as the flow of one loss. The local error of a step is held
    below rtol·(|x| + T‖∇L‖/√n) in every coordinate, on the mean. What is left is the rounding of θ + x in the
    gradient; of a gap between two schedules it takes a part that grows as 1/T.
    """
    x = np.zeros_like(problem.theta)
    speed = np.linalg.norm(problem.gradient(MIXTURE, problem.theta)) / np.sqrt(x.size)
    for duration, weights in zip(schedule.durations, schedule.weights, strict=True):

        def gradient(moved: Array, weights: Array = weights) -> Array:
            return problem.gradient(weights, problem.theta + moved)[None]

        stage = WeightSchedule.constant({"mixture": 1.0}, float(duration))
        x = gradient_flow(gradient, stage, x, rtol=rtol, atol=float(rtol * schedule.duration * speed))
    return x


def in_other_steps(schedule: WeightSchedule) -> WeightSchedule:
    """The same weights with the first stage cut at two fifths, so that an integrator takes other steps."""
    first, rest = schedule.durations[0], schedule.durations[1:]
    durations = np.concatenate([[0.4 * first, 0.6 * first], rest])
    return WeightSchedule(schedule.domains, durations, schedule.weights[[0, *range(len(rest) + 1)]])


def excess(problem: Problem, base: Array, gap: Array, nodes: int) -> Array:
    """L_k(θ + base + gap) − L_k(θ + base) for each language, shape (K,).

    ∫₀¹ ⟨∇L_k(θ + base + s·gap), gap⟩ ds by Gauss and Legendre: no difference of losses is taken, so the
    excess has the relative accuracy of the gap.
    """
    points, shares = np.polynomial.legendre.leggauss(nodes)
    total = np.zeros(len(EACH))
    for point, share in zip((points + 1) / 2, shares / 2, strict=True):
        at = problem.theta + base + point * gap
        total += share * np.array([problem.gradient(each, at) @ gap for each in EACH])
    return total
