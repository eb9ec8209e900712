r"""One optimizer step on flat vectors, and its adjoint: how the end depends on the gradient that entered.

The adjoint takes cotangents of the state after the step (one row for each target) to those of the state
before it, but for the part that runs through the gradient: that part is H ḡ, and ḡ is returned for it. Where
a second moment is exactly 0, its gradient is 0 too and nothing depends on it: √' is taken as 0 there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from commute_verify.criterion.prediction.optimizer import Optimizer, Scale


class State(NamedTuple):
    """θ, first and second moments, (n,) each, or (T, n) each for cotangents; () where the rule has none."""

    theta: Tensor
    first: Tensor
    second: Tensor


def initial(optimizer: Optimizer, theta: Tensor) -> State:
    """The state that the run's optimizer is in."""
    none = theta.new_zeros(())
    first = torch.zeros_like(theta) if optimizer.remembers else none
    second = torch.zeros_like(theta) if optimizer.adaptive else none
    return State(
        theta,
        first if optimizer.first is None or not optimizer.remembers else optimizer.first,
        second if optimizer.second is None else optimizer.second,
    )


def clipped(optimizer: Optimizer, g: Tensor) -> Tensor:
    """g · min(1, c / (‖g‖ + 1e-6))."""
    if optimizer.clip is None:
        return g
    factor: Tensor = optimizer.clip / (torch.linalg.vector_norm(g) + 1e-6)
    return g * factor.clamp(max=1.0)


def clipped_back(optimizer: Optimizer, g: Tensor, cotangent: Tensor) -> Tensor:
    """The adjoint of clipping: (c/(‖g‖+ε)) (ḡ − g ⟨g, ḡ⟩ / (‖g‖ (‖g‖+ε))) where it clips."""
    if optimizer.clip is None:
        return cotangent
    length = torch.linalg.vector_norm(g)
    factor: Tensor = optimizer.clip / (length + 1e-6)
    if factor >= 1:
        return cotangent
    along = (cotangent @ g) / (length * (length + 1e-6))
    result: Tensor = factor * (cotangent - along[:, None] * g)
    return result


def advance(optimizer: Optimizer, state: State, g: Tensor, lr: float, number: int) -> State:
    """The state after step ``number`` of the window, counted from 0, with the unclipped gradient g."""
    g = clipped(optimizer, g)
    rate, decay = lr * optimizer.relative, optimizer.decay
    if optimizer.kind != "adamw":
        g = g + decay * state.theta
    if not optimizer.adaptive:
        if not optimizer.momentum:
            return state._replace(theta=state.theta - rate * g)
        first = optimizer.momentum * state.first + (1 - _dampening(optimizer, number)) * g
        moved = g + optimizer.momentum * first if optimizer.nesterov else first
        return state._replace(theta=state.theta - rate * moved, first=first)
    b1, b2 = optimizer.betas
    first = b1 * state.first + (1 - b1) * g
    second = b2 * state.second + (1 - b2) * g * g
    kept = 1 - rate * decay if optimizer.kind == "adamw" else 1.0
    return State(
        kept * state.theta - _rate(optimizer, rate, number) * first / _root(optimizer, second, number),
        first,
        second,
    )


def pulled_back(
    optimizer: Optimizer, state: State, g: Tensor, lr: float, number: int, after: State
) -> tuple[State, Tensor]:
    """Cotangents of the state before the step, without the gradient's part, and ḡ (T, n)."""
    raw, g = g, clipped(optimizer, g)
    rate, decay = lr * optimizer.relative, optimizer.decay
    inside = optimizer.kind != "adamw"
    if inside:
        g = g + decay * state.theta
    theta, first, second = after
    if not optimizer.adaptive:
        if not optimizer.momentum:
            cotangent = -rate * theta
        else:
            to_first = first - rate * theta * (optimizer.momentum if optimizer.nesterov else 1.0)
            cotangent = (1 - _dampening(optimizer, number)) * to_first
            if optimizer.nesterov:
                cotangent = cotangent - rate * theta
            first = optimizer.momentum * to_first
    else:
        b1, b2 = optimizer.betas
        m = b1 * state.first + (1 - b1) * g
        v = b2 * state.second + (1 - b2) * g * g
        root = _root(optimizer, v, number)
        pull = _rate(optimizer, rate, number) * theta / root
        slope = torch.where(v > 0, (root - optimizer.eps) / (2 * v.clamp(min=_tiny(v))), torch.zeros_like(v))
        to_first = first - pull
        to_second = second + pull * (m / root) * slope
        cotangent = (1 - b1) * to_first + (2 * (1 - b2)) * g * to_second
        first, second = b1 * to_first, b2 * to_second
        if not inside:
            theta = (1 - rate * decay) * theta
    if inside and (isinstance(decay, Tensor) or decay):
        theta = theta + decay * cotangent
    return State(theta, first, second), clipped_back(optimizer, raw, cotangent)


def _dampening(optimizer: Optimizer, number: int) -> Scale:
    """torch starts an empty buffer with the whole gradient."""
    return optimizer.dampening * optimizer.started if number == 0 else optimizer.dampening


def _rate(optimizer: Optimizer, rate: Scale, number: int) -> Scale:
    return rate / (1 - optimizer.betas[0] ** (optimizer.taken + number + 1))


def _root(optimizer: Optimizer, second: Tensor, number: int) -> Tensor:
    correction = 1 - optimizer.betas[1] ** (optimizer.taken + number + 1)
    return (second / correction).sqrt() + optimizer.eps


def _tiny(v: Tensor) -> float:
    return float(torch.finfo(v.dtype).tiny)
