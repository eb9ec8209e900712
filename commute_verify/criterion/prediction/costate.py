r"""How the loss after training depends on every domain's weight at every step: the exact first variation.

Step s takes the gradient Σ_k w_k(s) ∇L_k(θ_s; batch k, s) through the optimizer's own update U. With the
costate p carried back from ∇L_t(θ_N), memory included, and ḡ_s the part that reaches the gradient of step s,

    ∂L_t(θ_N) / ∂w_k(s) = ⟨ḡ_s, ∇L_k(θ_s)⟩,     p_s = (∂U/∂z)ᵀ p_{s+1} + Σ_k w_k(s) H_k(θ_s) ḡ_s.

For plain SGD ḡ_s = −η p_{s+1}, and what changes from step to step is η² times the bracket with the costate.
One forward sweep serves all targets; a product with H_k is taken for each target, step and domain trained.
States are kept on the CPU, all of them where they are small, else every √N-th, to be run again from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.objective import NotFiniteError, located
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.surface import Derivatives, Surface
from commute_verify.criterion.prediction.update import State, advance, initial, pulled_back
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

STORE = 2**30
"""Bytes of states that are kept before only every √N-th is."""


class Sweep(NamedTuple):
    """∂L_t(θ_N)/∂w_k(s) as (T, N, K), and L_t(θ_N) (T,)."""

    sensitivity: Array
    losses: Array


class _Taken(NamedTuple):
    """A step on the way: the state before it and the gradient that it took, on the CPU."""

    state: State
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class Training:
    """A run to come: what is trained on, by which rule, and how random numbers are drawn.

    Step s takes batch s of every domain of ``fields`` that has weight; the batches of the first ``exchange``
    steps and those of as many next ones change places. ``rates`` (N,) are learning rates.
    """

    fields: Surface
    optimizer: Optimizer
    rates: Array
    seed: int = 0
    store: int = STORE
    exchange: int = 0

    def __post_init__(self) -> None:
        """Check that there is a batch for every step."""
        for name, batches in self.fields.batches.items():
            if len(batches) < len(self.rates):
                raise CommuteError(
                    f"domain {name!r} holds {len(batches)} batches for a window of {len(self.rates)} steps; "
                    "give one for each step, or a shorter schedule"
                )

    def sweep(self, weights: Array, held_out: Surface, mixing: Array) -> Sweep:
        """Forward along ``weights`` (N, K), and back for every target of ``mixing`` (T, K)."""
        steps = len(weights)
        state = initial(self.optimizer, self.fields.theta)
        one = sum(t.numel() * t.element_size() for t in (*state, state.theta))
        length = steps if steps * one <= self.store else math.ceil(math.sqrt(steps))
        starts = list(range(0, steps, length))
        marks: dict[int, State] = {}
        kept: list[_Taken] = []
        for start in starts:
            marks[start] = _to(state, torch.device("cpu"))
            state, kept = self._run(state, weights, start, min(start + length, steps), start == starts[-1])
        losses, cotangent = self._targets(state.theta, held_out, mixing)
        sensitivity = np.zeros((len(mixing), steps, weights.shape[1]))
        for start in reversed(starts):
            if start != starts[-1]:
                here = _to(marks[start], self.fields.theta.device)
                _, kept = self._run(here, weights, start, start + length, True)
            for s in reversed(range(start, start + len(kept))):
                cotangent, slopes = self._back(kept.pop(), weights, s, cotangent)
                sensitivity[:, s] = slopes
            del marks[start]
        if not np.isfinite(sensitivity).all():
            raise DivergenceError(
                "the first variation is not finite: the run amplifies its steps beyond all numbers; shorten "
                "the window or lower the learning rate"
            )
        return Sweep(sensitivity, losses)

    def losses(self, weights: Array, held_out: Surface, mixing: Array) -> Array:
        """L_t(θ_N) (T,) after the steps along ``weights`` (N, K), forward alone."""
        state, _ = self._run(initial(self.optimizer, self.fields.theta), weights, 0, len(weights), False)
        return self._targets(state.theta, held_out, mixing)[0]

    def _run(
        self, state: State, weights: Array, start: int, stop: int, keep: bool
    ) -> tuple[State, list[_Taken]]:
        kept = []
        for s in range(start, stop):
            g = torch.zeros_like(state.theta)
            for k, w in enumerate(weights[s]):
                if w:
                    g.add_(self._derivatives(state.theta, k, s, []).gradient, alpha=float(w))
            if keep:
                kept.append(_Taken(_to(state, torch.device("cpu")), g.cpu()))
            state = advance(self.optimizer, state, g, float(self.rates[s]), s)
            if not bool(state.theta.isfinite().all()):
                raise DivergenceError(
                    f"the parameters are not finite after step {s} of the window; lower the learning rate"
                )
        return state, kept

    def _back(self, taken: _Taken, weights: Array, s: int, after: State) -> tuple[State, Array]:
        device = self.fields.theta.device
        state, g = _to(taken.state, device), taken.gradient.to(device)
        before, reached = pulled_back(self.optimizer, state, g, float(self.rates[s]), s, after)
        slopes = np.zeros((len(reached), weights.shape[1]))
        theta = before.theta.clone()
        for k, w in enumerate(weights[s]):
            found = self._derivatives(state.theta, k, s, list(reached) if w else [])
            slopes[:, k] = (reached.double() @ found.gradient.double()).cpu().numpy()
            for row, product in zip(theta, found.products, strict=False):
                row.add_(product, alpha=float(w))
        return before._replace(theta=theta), slopes

    def _derivatives(self, at: Tensor, k: int, s: int, directions: Sequence[Tensor]) -> Derivatives:
        name = self.fields.names[k]
        torch.manual_seed(self.seed + s * len(self.fields.names) + k)
        taken = self._taken(s)
        with located(f"domain {name!r}, batch {taken + 1}"):
            found = self.fields.derivatives(at, self.fields.batches[name][taken], directions, name)
            if not bool(found.gradient.isfinite().all()):
                kind = CommuteError if at is self.fields.theta else NotFiniteError
                raise kind(f"the gradient is not finite at step {s} of the window")
        return found

    def _taken(self, s: int) -> int:
        if s >= 2 * self.exchange:
            return s
        return s + self.exchange if s < self.exchange else s - self.exchange

    def _targets(self, at: Tensor, held_out: Surface, mixing: Array) -> tuple[Array, State]:
        """L_t(θ_N) and the cotangents that the way back starts from."""
        losses, u = np.zeros(len(mixing)), at.new_zeros((len(mixing), at.numel()))
        for k in np.flatnonzero(mixing.any(axis=0)).tolist():
            loss, g = held_out.loss_and_gradient(k, at)
            losses += mixing[:, k] * loss
            u += at.new_tensor(mixing[:, k].tolist())[:, None] * g
        none = at.new_zeros(())
        return losses, State(
            u,
            torch.zeros_like(u) if self.optimizer.remembers else none,
            torch.zeros_like(u) if self.optimizer.adaptive else none,
        )


def _to(state: State, device: torch.device) -> State:
    return State(*(t.to(device) for t in state))
