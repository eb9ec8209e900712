"""Gradient flow of any smooth losses by an adaptive Runge–Kutta method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]
Gradients = Callable[[Array], Array]


def gradient_flow(
    gradients: Gradients,
    schedule: WeightSchedule,
    theta0: Array,
    *,
    rtol: float = 1e-12,
    atol: float = 1e-14,
) -> Array:
    """θ(T) of the descent θ' = −Σ_k w_k(t) g_k(θ), θ(0) = theta0, along a schedule.

    gradients: θ (n,) ↦ (K, n), rows in the schedule's order of domains; theta0 (n,); returns θ(T) (n,), all
    float64. Durations are flow time. Each stage is integrated by itself with DOP853 (Hairer, Nørsett and
    Wanner 1993): the local error of a step is held below atol + rtol·|θ|, so the error of θ(T) is that times
    the growth of the flow and a small factor for the number of steps.
    Raises CommuteError, naming the stage, when the integrator fails or a value is not finite, and for shapes
    that do not fit or rtol < 100 eps.

    >>> from commute_verify.schedules import WeightSchedule
    >>> swap = WeightSchedule.blocks({"a": 1.0, "b": 1.0})
    >>> theta = gradient_flow(lambda x: np.array([x, x - 1.0]), swap, np.array([1.0]))
    >>> bool(abs(theta[0] - (1.0 + (np.exp(-1.0) - 1.0) * np.exp(-1.0))) < 1e-11)
    True
    """
    if not rtol >= 100 * np.finfo(np.float64).eps or not atol >= 0:
        raise CommuteError(f"rtol {rtol}, atol {atol}: give rtol ≥ 100 eps = 2.3e-14 and atol ≥ 0")
    theta = check_start(theta0)
    for s, (duration, weights) in enumerate(zip(schedule.durations, schedule.weights, strict=True)):
        check_gradients(gradients(theta), schedule.domains, theta, f"at the start of stage {s}")

        def descent(_: float, point: Array, weights: Array = weights) -> Array:
            return -weights @ gradients(point)

        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(descent, (0.0, duration), theta, method="DOP853", rtol=rtol, atol=atol)
        theta = solution.y[:, -1]
        if not solution.success or not np.isfinite(theta).all():
            raise CommuteError(
                f"the flow of stage {s} stops at {solution.t[-1]:g} of {duration:g} ({solution.message}): "
                "give smooth losses, or end the stage before the flow runs away"
            )
    return theta


def torch_gradients(losses: Sequence[Callable[[torch.Tensor], torch.Tensor]]) -> Gradients:
    """θ (n,) ↦ ∇L_k(θ) (K, n) in float64 by reverse-mode autograd, one loss a domain.

    Each loss takes a flat float64 tensor (n,) and returns a real scalar tensor in float64.
    Raises CommuteError, naming the loss by its index, when it returns anything else or does not depend on θ.

    >>> torch_gradients([lambda x: x @ x])(np.array([1.0, 2.0])).tolist()
    [[2.0, 4.0]]
    """
    import torch

    def gradients(theta: Array) -> Array:
        rows = []
        for k, loss in enumerate(losses):
            point = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
            value = loss(point)
            if not isinstance(value, torch.Tensor) or value.ndim or value.dtype != torch.float64:
                raise CommuteError(f"loss {k} returns {value!r}: expected a real scalar tensor in float64")
            gradient = (
                torch.autograd.grad(value, point, allow_unused=True)[0] if value.requires_grad else None
            )
            if gradient is None:
                raise CommuteError(
                    f"loss {k} does not depend on theta: use differentiable torch operations of it"
                )
            rows.append(gradient.numpy())
        return np.stack(rows)

    return gradients


def check_start(theta0: Array) -> Array:
    """A float64 copy of theta0 (n,); CommuteError unless it is one finite vector of real numbers."""
    theta = np.asarray(theta0)
    if theta.ndim != 1 or not theta.size or theta.dtype.kind not in "iuf" or not np.isfinite(theta).all():
        raise CommuteError(f"theta0 is {theta0!r}: give a vector (n,) of finite real numbers")
    return theta.astype(np.float64)


def check_gradients(values: Array, domains: tuple[str, ...], theta: Array, where: str) -> None:
    """CommuteError unless values are finite and (K, n), naming the domain whose gradient is not finite."""
    expected = (len(domains), theta.size)
    if np.shape(values) != expected:
        raise CommuteError(
            f"gradients {where} have shape {np.shape(values)}: expected {expected}, one row a domain"
        )
    broken = [name for name, row in zip(domains, values, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise CommuteError(
            f"gradients of {broken} {where} are not finite at theta = {theta}: give smooth losses"
        )
