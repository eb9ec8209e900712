"""Small models with what real ones have, and dense float64 derivatives of them that know no criterion."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

EPS = float(np.finfo(np.float64).eps)


class TinyLM(nn.Module):
    """Embedding, LayerNorm, dropout, a GELU layer and a head that is tied to the embedding."""

    def __init__(self, vocabulary=5, width=3):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.5)
        self.layer = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.norm(self.embedding(tokens))
        return self.head(x + F.gelu(self.layer(self.dropout(x))))


class TwoHeads(nn.Module):
    """A trunk and two heads; a batch touches one of the heads only."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(2, 3)
        self.heads = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})

    def forward(self, x, head):
        return self.heads[head](torch.tanh(self.trunk(x)))


def next_token_loss(model, tokens):
    """Summed cross-entropy of the next token and the count of valid ones; −100 is padding."""
    logits = model(tokens[:, :-1].clamp(min=0))
    targets = tokens[:, 1:]
    total = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
    )
    return total, (targets != -100).sum()


def squares(model, batch):
    """Half the summed squares of the residuals, and their count."""
    x, y = batch
    return 0.5 * (model(x).squeeze(-1) - y).square().sum(), len(x)


def two_heads_loss(model, batch):
    x, y, head = batch
    return 0.5 * (model(x, head).squeeze(-1) - y).square().sum(), len(x)


def linear_loss(model, batch):
    """Linear in the weights: its Hessian is 0."""
    x, _ = batch
    return model(x).sum(), len(x)


def ragged_tokens(draw, rows, length=5, vocabulary=5):
    """Token rows that end in padding, each after another number of tokens."""
    tokens = torch.randint(vocabulary, (rows, length), generator=draw)
    for row in range(rows):
        tokens[row, length - row % (length - 2) :] = -100
    return tokens


def regression(draw, rows, features=2):
    x = torch.randn(rows, features, generator=draw, dtype=torch.float64)
    return x, torch.randn(rows, generator=draw, dtype=torch.float64)


@dataclass
class Case:
    """A model, its loss, and a batch for each of three domains."""

    model: nn.Module
    loss_fn: object
    batches: dict


def tiny_lm(rows=(3, 2, 4), frozen=()):
    draw = torch.Generator().manual_seed(3)
    torch.manual_seed(1)
    model = TinyLM().double().eval()
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
    batches = {k: ragged_tokens(draw, n) for k, n in zip("abc", rows, strict=True)}
    return Case(model, next_token_loss, batches)


def batch_norm():
    draw = torch.Generator().manual_seed(4)
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1)).double()
    model(regression(draw, 8)[0])
    return Case(
        model.eval(), squares, {k: regression(draw, n) for k, n in zip("abc", (3, 5, 2), strict=True)}
    )


def two_heads():
    draw = torch.Generator().manual_seed(5)
    torch.manual_seed(3)
    data = zip("abc", (3, 4, 2), "aba", strict=True)
    return Case(TwoHeads().double(), two_heads_loss, {k: (*regression(draw, n), h) for k, n, h in data})


def linear():
    draw = torch.Generator().manual_seed(6)
    torch.manual_seed(4)
    batches = {k: regression(draw, n) for k, n in zip("abc", (3, 1, 2), strict=True)}
    return Case(nn.Linear(2, 1, bias=False).double(), linear_loss, batches)


CASES = {
    "LayerNorm, tied embeddings, dropout in eval mode, ragged weights": tiny_lm,
    "frozen parameters": lambda: tiny_lm(frozen=("norm.weight", "layer.bias")),
    "a batch of one": lambda: tiny_lm(rows=(1, 1, 1)),
    "a parameter that a domain does not touch": two_heads,
    "BatchNorm in eval mode": batch_norm,
    "a linear loss": linear,
}


class Dense:
    """Gradients and Hessians of mean losses as float64 arrays, reverse over reverse, by coordinates."""

    def __init__(self, model, loss_fn):
        named = [(name, p.detach()) for name, p in model.named_parameters() if p.requires_grad]
        self.shapes = {name: p.shape for name, p in named}
        self.theta = torch.cat([p.reshape(-1) for _, p in named])
        self.model, self.loss_fn = model, loss_fn

    def split(self, flat):
        """A flat vector as {name: tensor}."""
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def flat(self, vector):
        return torch.cat([vector[name].reshape(-1) for name in self.shapes]).numpy()

    def _mean(self, flat, batches):
        wrapper = _Call(self.model, self.loss_fn)
        swapped = {f"model.{name}": p for name, p in self.split(flat).items()}
        sums, weights = zip(*(functional_call(wrapper, swapped, (b,)) for b in batches), strict=True)
        return sum(sums) / float(sum(weights))

    def loss(self, batches, theta=None):
        return float(self._mean(self.theta if theta is None else theta, batches))

    def gradient(self, batches):
        flat = self.theta.clone().requires_grad_()
        (g,) = torch.autograd.grad(self._mean(flat, batches), flat)
        return g.numpy()

    def hessian(self, batches):
        flat = self.theta.clone().requires_grad_()
        (g,) = torch.autograd.grad(self._mean(flat, batches), flat, create_graph=True)
        if not g.requires_grad:
            return np.zeros((len(flat), len(flat)))
        rows = [torch.autograd.grad(entry, flat, retain_graph=True, materialize_grads=True)[0] for entry in g]
        return torch.stack(rows).numpy()


class _Call(nn.Module):
    def __init__(self, model, loss_fn):
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch):
        return self.loss_fn(self.model, batch)


def dense_P(g, H, u, D=None):
    """P_ij = ⟨D(H_j D g_i − H_i D g_j), u⟩ by brackets of dense matrices; D a diagonal."""
    K, d = len(g), np.ones(len(u)) if D is None else D
    P = np.zeros((K, K))
    for i in range(K):
        for j in range(K):
            P[i, j] = (d * (H[j] @ (d * g[i]) - H[i] @ (d * g[j]))) @ u
    return P
