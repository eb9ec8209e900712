"""A small GPT-2 in float64 with a fixed batch of each language: a smooth loss of a flat vector."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from experiments.transformer_flow.gpt2 import gpt2, written_out
from experiments.transformer_flow.languages import sentences
from experiments.transformer_flow.settings import LANGUAGES, Settings

Array = NDArray[np.float64]

EACH = tuple(np.eye(LANGUAGES))
"""Weights of each language alone."""
MIXTURE = np.full(LANGUAGES, 1 / LANGUAGES)


@dataclass(frozen=True, eq=False)
class Problem:
    """Losses L_k(θ): mean cross-entropy in nats a token of a GPT-2 on the fixed batch of language k.

    ``model`` gives the shapes; ``tokens`` (K, rows, context); ``theta`` (n,) float64 is the point looked at.
    """

    model: nn.Module
    tokens: Tensor
    theta: Array

    def loss(self, weights: Array, point: Tensor) -> Tensor:
        """Σ_k w_k L_k at a flat float64 tensor (n,); languages of weight 0 are not run."""
        shapes = self._shapes
        parts = torch.split(point, [shape.numel() for shape in shapes.values()])
        parameters = {
            name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        used = [k for k, w in enumerate(weights) if w]
        tokens = self.tokens[used].flatten(0, 1)
        logits = functional_call(self.model, parameters, (tokens,)).logits[:, :-1]
        nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        means = nats.view(len(used), -1).mean(dim=1)
        return means @ torch.from_numpy(weights[used])

    @cached_property
    def _shapes(self) -> dict[str, torch.Size]:
        return {name: p.shape for name, p in self.model.named_parameters()}

    def gradient(self, weights: Array, theta: Array) -> Array:
        """∇(Σ_k w_k L_k)(θ), shape (n,)."""
        point = torch.tensor(theta, requires_grad=True)
        return np.asarray(torch.autograd.grad(self.loss(weights, point), point)[0].numpy())

    def written_out(self) -> "Problem":
        """The same losses by elementary operations, whose third derivatives autograd gets right."""
        return replace(self, model=written_out(self.model))

    def losses(self, theta: Array) -> Array:
        """L_k(θ), shape (K,)."""
        with torch.no_grad():
            return np.array([float(self.loss(each, torch.from_numpy(theta))) for each in EACH])

    def hessian_product(self, weights: Array) -> Callable[[Tensor], Tensor]:
        """v ↦ H v at ``theta`` for the Hessian of Σ_k w_k L_k, on flat float64 tensors."""
        point = torch.tensor(self.theta, requires_grad=True)
        (g,) = torch.autograd.grad(self.loss(weights, point), point, create_graph=True)

        def product(v: Tensor) -> Tensor:
            return torch.autograd.grad(g, point, v, retain_graph=True)[0]

        return product


def untrained(settings: Settings) -> Problem:
    """The problem where the model is initialised."""
    model = gpt2(settings)
    start = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    return Problem(model, torch.from_numpy(sentences(settings)), start)


@lru_cache(maxsize=1)
def trained(settings: Settings) -> Problem:
    """The problem where heavy-ball descent of the mixture ends: v ← μv − ηg, θ ← θ + v."""
    problem = untrained(settings)
    theta, velocity = problem.theta, np.zeros_like(problem.theta)
    for _ in range(settings.steps):
        velocity = settings.momentum * velocity - settings.learning_rate * problem.gradient(MIXTURE, theta)
        theta = theta + velocity
    return replace(problem, theta=theta)
