"""A tiny language model on three domains, trained by plain loops over ``torch.optim`` in float64."""

import copy

import numpy as np
import torch
from torch.func import functional_call

from commute_verify import WeightSchedule
from tests.criterion_models import TinyLM, next_token_loss, ragged_tokens

NAMES = ("a", "b", "c")
STEPS = 7
MIXING = np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
TARGETS = {"a": {"a": 1.0}, "some": {"b": 0.25, "c": 0.75}}
THIRD = dict.fromkeys(NAMES, 1 / 3)
SCHEDULES = {
    "a tilt": WeightSchedule.tilt(THIRD, "a", "b", 0.15, 10),
    "a swap": WeightSchedule.blocks(dict.fromkeys(NAMES, 6)),
}


def language_model():
    torch.manual_seed(1)
    return TinyLM(vocabulary=6, width=4).double().eval()


def tokens(seed, steps=STEPS):
    """Each domain prefers other words, so that they pull apart."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for k, name in enumerate(NAMES):
        found[name] = []
        for _ in range(steps):
            batch = ragged_tokens(draw, 6, length=6, vocabulary=6)
            keep = torch.rand(batch.shape, generator=draw) < 0.4
            found[name].append(torch.where((batch >= 0) & keep, torch.full_like(batch, 2 * k), batch))
    return found


OPTIMIZERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.3), None),
    "SGD with decay": (lambda p: torch.optim.SGD(p, lr=0.3, weight_decay=0.1), None),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8), None),
    "damped momentum": (lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8, dampening=0.3), 0.5),
    "Nesterov": (
        lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8, nesterov=True, weight_decay=0.1),
        None,
    ),
    "Adam with decay": (lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)), None),
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3, betas=(0.8, 0.95)), None),
    "clipped AdamW": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3), 0.2),
    "clipped SGD": (lambda p: torch.optim.SGD(p, lr=0.3), 0.2),
    "two groups": (
        lambda p: torch.optim.AdamW(
            [{"params": p[:2], "weight_decay": 0.5}, {"params": p[2:], "lr": 0.002}], lr=0.01
        ),
        None,
    ),
}

WARM = {"from the start": 0, "in the middle": 3}


def mean_loss(model, parameters, batch):
    class Call(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self):
            total, weight = next_token_loss(self.model, batch)
            return total / weight

    if parameters is None:
        return Call()()
    return functional_call(Call(), {f"model.{name}": p for name, p in parameters.items()}, ())


def train(model, optimizer, data, weights, rates, clip):
    """A plain loop over torch.optim: weighted loss, clipping, learning rates."""
    ratios = [group["lr"] / optimizer.param_groups[0]["lr"] for group in optimizer.param_groups]
    for s, rate in enumerate(rates):
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = float(rate) * ratio
        optimizer.zero_grad()
        sum(
            float(w) * mean_loss(model, None, data[name][s])
            for name, w in zip(NAMES, weights[s], strict=True)
        ).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def losses(model, held_out):
    """Means over valid tokens of all batches, weighed by MIXING."""
    found = []
    for name in NAMES:
        pairs = [next_token_loss(model, batch) for batch in held_out[name]]
        found.append(sum(float(total.detach()) for total, _ in pairs) / sum(float(w) for _, w in pairs))
    return MIXING @ np.array(found)


def start(kind, warm):
    """A model and its optimizer, after some steps of real training."""
    make, clip = OPTIMIZERS[kind]
    model = language_model()
    optimizer = make(list(model.parameters()))
    lr = optimizer.param_groups[0]["lr"]
    third = np.full((WARM[warm], 3), 1 / 3)
    train(model, optimizer, tokens(9), third, [lr] * len(third), clip)
    return model, optimizer, clip


def observed_excess(model, optimizer, clip, schedule, data, held_out, rate):
    ends = []
    for s in (schedule, schedule.averaged()):
        w = np.repeat(s.weights, s.durations.astype(int), axis=0)
        twin, its = copy.deepcopy((model, optimizer))
        train(twin, its, data, w, [rate] * len(w), clip)
        ends.append(losses(twin, held_out))
    return ends[0] - ends[1]
