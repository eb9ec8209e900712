"""A network of one hidden layer: many runs at once in NumPy, its derivatives from autograd, once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import jacrev

from commute_verify.symbolic.trees import TARGET
from experiments.noise.predictions import Jet, Local
from experiments.noise.settings import Settings

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
INPUTS = 3


@dataclass(frozen=True, eq=False)
class Network:
    """½(f(x) − y)² with f(x) = w₂·tanh(W₁x + b₁) + b₂; p = width (inputs + 2) + 1 parameters in this order.

    ``x`` (2, examples, inputs) and ``y`` (2, examples) are the two domains; ``theta`` (p,) is the start.
    """

    x: Array
    y: Array
    theta: Array
    width: int

    def split(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """W₁ (…, width, inputs), b₁, w₂ (…, width) and b₂ (…)."""
        h, cut = self.width, self.width * INPUTS
        matrix = theta[..., :cut].reshape(*theta.shape[:-1], h, INPUTS)
        return matrix, theta[..., cut : cut + h], theta[..., cut + h : -1], theta[..., -1]

    def gradient(self, theta: Array, x: Array, y: Array) -> Array:
        """The mean gradient over the examples of each run: theta (S, p), x (S, B, inputs), y (S, B)."""
        W, b, w, c = self.split(theta)
        a = np.tanh(np.matmul(x, W.swapaxes(-1, -2)) + b[:, None, :])
        r = (np.matmul(a, w[:, :, None])[..., 0] + c[:, None] - y) / x.shape[1]
        back = r[..., None] * w[:, None, :] * (1 - a**2)
        parts = (
            np.matmul(back.swapaxes(1, 2), x).reshape(len(theta), -1),
            back.sum(axis=1),
            np.matmul(r[:, None, :], a)[:, 0],
            r.sum(axis=1)[:, None],
        )
        return np.concatenate(parts, axis=1)

    def loss(self, theta: Array) -> Array:
        """The mean loss of all examples of both domains, (S,) for theta (S, p)."""
        W, b, w, c = self.split(theta)
        x, y = self.x.reshape(-1, INPUTS), self.y.ravel()
        a = np.tanh(np.matmul(W, x.T) + b[:, :, None])
        r = np.matmul(w[:, None, :], a)[:, 0] + c[:, None] - y
        found: Array = 0.5 * np.mean(r**2, axis=1)
        return found

    @cached_property
    def _examples(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.x), torch.from_numpy(self.y)

    def _each(self, theta: Tensor, domain: int) -> Tensor:
        """The loss of every example of a domain, (examples,)."""
        x, y = (part[domain] for part in self._examples)
        h, cut = self.width, self.width * INPUTS
        a = torch.tanh(x @ theta[:cut].reshape(h, INPUTS).T + theta[cut : cut + h])
        found: Tensor = 0.5 * (a @ theta[cut + h : -1] + theta[-1] - y) ** 2
        return found

    def local(self, batch: int) -> Local:
        """Jets of both domains and of their mean at the start, and Σ of a minibatch with its derivative."""
        start = torch.from_numpy(self.theta)
        found: dict[int, Jet] = {}
        for k in range(2):

            def loss(theta: Tensor, k: int = k) -> Tensor:
                return self._each(theta, k).mean()

            parts = (jacrev(loss), jacrev(jacrev(loss)), jacrev(jacrev(jacrev(loss))))
            found[k + 1] = Jet(*(part(start).numpy() for part in parts))
        found[TARGET] = Jet(*(sum(getattr(found[k], name) for k in (1, 2)) / 2 for name in ("g", "H", "T")))

        def covariance(theta: Tensor, k: int) -> Tensor:
            each = jacrev(lambda point: self._each(point, k))(theta)
            away = each - each.mean(dim=0)
            found: Tensor = away.T @ away / len(away) / batch
            return found

        sigma = np.stack([covariance(start, k).numpy() for k in range(2)])
        slope = np.stack([jacrev(lambda point, k=k: covariance(point, k))(start).numpy() for k in range(2)])
        return Local(found, sigma, slope)

    def module(self) -> nn.Sequential:
        """The same network as a module, in float64."""
        model = nn.Sequential(nn.Linear(INPUTS, self.width), nn.Tanh(), nn.Linear(self.width, 1)).double()
        with torch.no_grad():
            for parameter, part in zip(model.parameters(), self.split(self.theta), strict=True):
                parameter.copy_(torch.from_numpy(np.asarray(part)).reshape(parameter.shape))
        return model


def network(settings: Settings, warm_up: int) -> Network:
    """Two domains with inputs and answers of their own, and a start after full steps on both."""
    rng, n = np.random.default_rng([settings.seed, 2]), settings.examples
    x = rng.normal(size=(2, n, INPUTS)) + np.array([[[0.5] * INPUTS], [[-0.5] * INPUTS]])
    slopes = rng.normal(size=(2, INPUTS))
    y = np.sin(np.einsum("kni,ki->kn", x, slopes)) + 0.5 * rng.normal(size=(2, n))
    theta = 0.5 * rng.normal(size=settings.width * (INPUTS + 2) + 1)
    found = Network(x, y, theta, settings.width)
    for _ in range(warm_up):
        g = found.gradient(theta[None], x.reshape(1, -1, INPUTS), y.reshape(1, -1))[0]
        theta = theta - settings.warm_up_rate * g
    return Network(x, y, theta, settings.width)
