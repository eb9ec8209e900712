"""A GPT as nanoGPT builds it: names, shapes, order of parameters, the optimizer's groups; written anew."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    def __init__(self, width, heads, bias):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width, bias=bias)
        self.c_proj = nn.Linear(width, width, bias=bias)
        self.heads = heads

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(C, dim=2))
        scores = q @ k.transpose(-2, -1) / math.sqrt(C // self.heads)
        past = torch.ones(T, T, dtype=torch.bool).tril()
        y = scores.masked_fill(~past, float("-inf")).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, width, bias):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width, bias=bias)
        self.c_proj = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width, heads, bias):
        super().__init__()
        self.ln_1 = Norm(width, bias)
        self.attn = Attention(width, heads, bias)
        self.ln_2 = Norm(width, bias)
        self.mlp = MLP(width, bias)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, n_layer, n_head, n_embd, block_size, vocab_size, bias, dropout=0.0):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab_size, n_embd),
                "wpe": nn.Embedding(block_size, n_embd),
                "drop": nn.Dropout(dropout),
                "h": nn.ModuleList([Block(n_embd, n_head, bias) for _ in range(n_layer)]),
                "ln_f": Norm(n_embd, bias),
            }
        )
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight
        for p in self.parameters():  # no two alike, so that a transpose or a swap shows
            nn.init.normal_(p, std=0.2)

    def forward(self, tokens):
        inner = self.transformer
        x = inner["wte"](tokens) + inner["wpe"](torch.arange(tokens.shape[1]))
        for block in inner["h"]:
            x = block(x)
        return self.lm_head(inner["ln_f"](x))

    def optimizer(self, lr=1e-3, decay=0.1):
        every = list(self.parameters())
        matrices, rest = [p for p in every if p.dim() >= 2], [p for p in every if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def trained(bias, vocabulary, steps=2, seed=0):
    """The model, its optimizer after some steps, and the arguments that nanoGPT saves."""
    arguments = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 64, "vocab_size": vocabulary}
    arguments |= {"bias": bias, "dropout": 0.0}
    torch.manual_seed(seed)
    model = GPT(**arguments)
    optimizer = model.optimizer()
    for _ in range(steps):
        tokens = torch.randint(vocabulary, (4, 17))
        loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer, arguments


def save(path, model, optimizer, arguments, prefix=""):
    """What train.py of nanoGPT saves."""
    held = {
        "model": {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "model_args": arguments,
        "iter_num": 2000,
        "best_val_loss": torch.tensor(3.0),
        "config": {"dataset": "shakespeare", "learning_rate": 1e-3, "bias": arguments["bias"]},
    }
    torch.save(held, path)
    return path
