r"""How the loss after training depends on every domain's weight at every step: the exact first variation.

Step s takes the gradient Σ_k w_k(s) ∇L_k(θ_s; batch k, s) through the optimizer's own update U. With the
costate p carried back from ∇L_t(θ_N), memory included, and ḡ_s the part that reaches the gradient of step s,

    ∂L_t(θ_N) / ∂w_k(s) = ⟨ḡ_s, ∇L_k(θ_s)⟩,     p_s = (∂U/∂z)ᵀ p_{s+1} + Σ_k w_k(s) H_k(θ_s) ḡ_s.

For plain SGD ḡ_s = −η p_{s+1}, and what changes from step to step is η² times the bracket with the costate.
One forward sweep serves all targets; a product with H_k is taken for each target, step and domain trained.
States are kept on the CPU or in files, all of them where they are small, else every √N-th, to be run again
from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.criterion.objective import NotFiniteError, located
from commute_verify.criterion.prediction.answer import DivergenceError
from commute_verify.criterion.prediction.optimizer import Optimizer
from commute_verify.criterion.prediction.states import Shelf, shelf
from commute_verify.criterion.prediction.surface import Derivatives, Surface
from commute_verify.criterion.prediction.update import State, advance, initial, pulled_back
from commute_verify.criterion.undisturbed import reseed
from commute_verify.errors import CommuteError

Array = NDArray[np.float64]

STORE = 2**30
"""Bytes of states that are kept before only every √N-th is."""


class Sweep(NamedTuple):
    """∂L_t(θ_N)/∂w_k(s) as (T, N, K), and L_t(θ_N) (T,)."""

    sensitivity: Array
    losses: Array


@dataclass(frozen=True, eq=False)
class Training:
    """A run to come: what is trained on, by which rule, and how random numbers are drawn.

    Step s takes batch s of every domain of ``fields`` that has weight; the batches of the first ``exchange``
    steps and those of as many next ones change places. ``rates`` (N,) are learning rates. States are kept in
    files under ``folder``, or in memory.
    """

    fields: Surface
    optimizer: Optimizer
    rates: Array
    seed: int = 0
    store: int = STORE
    exchange: int = 0
    folder: Path | None = None

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
        device = self.fields.theta.device
        sensitivity = np.zeros((len(mixing), steps, weights.shape[1]))
        with shelf(self.folder) as marks, shelf(self.folder) as taken:
            for start in starts[:-1]:
                marks.put(start, state)
                state = self._run(state, weights, start, start + length)
            state = self._run(state, weights, starts[-1], steps, taken)
            losses, cotangent = self._targets(state.theta, held_out, mixing)
            for start in reversed(starts):
                stop = min(start + length, steps)
                if stop < steps:
                    self._run(State(*marks.take(start, device)), weights, start, stop, taken)
                for s in reversed(range(start, stop)):
                    *before, g = taken.take(s, device)
                    cotangent, slopes = self._back(State(*before), g, weights, s, cotangent)
                    sensitivity[:, s] = slopes
        if not np.isfinite(sensitivity).all():
            raise DivergenceError(
                "the first variation is not finite: the run amplifies its steps beyond all numbers; shorten "
                "the window or lower the learning rate"
            )
        return Sweep(sensitivity, losses)

    def losses(self, weights: Array, held_out: Surface, mixing: Array) -> Array:
        """L_t(θ_N) (T,) after the steps along ``weights`` (N, K), forward alone."""
        state = self._run(initial(self.optimizer, self.fields.theta), weights, 0, len(weights))
        return self._targets(state.theta, held_out, mixing)[0]

    def _run(self, state: State, weights: Array, start: int, stop: int, taken: Shelf | None = None) -> State:
        """The state at ``stop``; a shelf keeps the state before each step, and the gradient that it took."""
        for s in range(start, stop):
            g = torch.zeros_like(state.theta)
            for k, w in enumerate(weights[s]):
                if w:
                    g.add_(self._derivatives(state.theta, k, s, []).gradient, alpha=float(w))
            if taken is not None:
                taken.put(s, (*state, g))
            state = advance(self.optimizer, state, g, float(self.rates[s]), s)
            if not bool(state.theta.isfinite().all()):
                raise DivergenceError(
                    f"the parameters are not finite after step {s} of the window; lower the learning rate"
                )
        return state

    def _back(self, state: State, g: Tensor, weights: Array, s: int, after: State) -> tuple[State, Array]:
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
        reseed(self.seed + s * len(self.fields.names) + k)
        taken = self._taken(s)
        batch = self.fields.batches[name][taken]
        with located(f"domain {name!r}, batch {taken + 1}"):
            try:
                found = self.fields.derivatives(at, batch, directions, name)
                if not bool(found.gradient.isfinite().all()):
                    kind = CommuteError if at is self.fields.theta else NotFiniteError
                    raise kind(f"the gradient is not finite at step {s} of the window")
            except NotFiniteError as error:
                if at is not self.fields.theta:
                    self.fields.derivatives(self.fields.theta, batch, (), name)
                    raise _diverged(s) from error
                raise
        return found

    def _taken(self, s: int) -> int:
        if s >= 2 * self.exchange:
            return s
        return s + self.exchange if s < self.exchange else s - self.exchange

    def _targets(self, at: Tensor, held_out: Surface, mixing: Array) -> tuple[Array, State]:
        """L_t(θ_N) and the cotangents that the way back starts from."""
        reseed(self.seed + len(self.rates) * len(self.fields.names))
        losses, u = np.zeros(len(mixing)), at.new_zeros((len(mixing), at.numel()))
        for k in np.flatnonzero(mixing.any(axis=0)).tolist():
            try:
                loss, g = held_out.loss_and_gradient(k, at)
            except NotFiniteError as error:
                held_out.loss_and_gradient(k, held_out.theta)
                raise _diverged(len(self.rates)) from error
            losses += mixing[:, k] * loss
            u += at.new_tensor(mixing[:, k].tolist())[:, None] * g
        none = at.new_zeros(())
        return losses, State(
            u,
            torch.zeros_like(u) if self.optimizer.remembers else none,
            torch.zeros_like(u) if self.optimizer.adaptive else none,
        )


def _diverged(steps: int) -> DivergenceError:
    """For a loss that is a number where the window starts, and none after some steps."""
    return DivergenceError(
        f"the run diverges: the loss or its gradient is not finite after {steps} steps of the window; lower "
        "the learning rate, or shorten the window"
    )
