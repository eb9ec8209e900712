"""What ``rank_jobs`` asks of models that FSDP2 has sharded."""

import os
import tempfile
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import commute_verify as cv
from commute_verify.criterion.sharded import ShardedObjective
from commute_verify.integrations.attached import Attached
from tests.criterion_models import next_token_loss, ragged_tokens, tiny_lm

OPTIONS = {"batches": 10, "progress": False, "seed": 3}
EACH = 12
"""Batches of a domain on every rank."""


def tokens_of(seed, ranks):
    draw = torch.Generator().manual_seed(seed)
    return {name: [ragged_tokens(draw, 2 + n % 3) for n in range(EACH * ranks)] for name in "ab"}


def own(rank, ranks):
    return {name: batches[rank::ranks] for name, batches in tokens_of(7, ranks).items()}


def spread(*parts, mesh=None):
    """The tiny language model, of which these parts are sharded; by default a layer, and the rest."""
    torch.manual_seed(0)
    model = tiny_lm().model
    for part in parts or ("layer", ""):
        fully_shard(model.get_submodule(part), mesh=mesh)
    return model


def train(model, optimizer, rank, ranks, steps, after=lambda step: None):
    batches = tokens_of(9, ranks)["a"]
    for step in range(steps):
        loss, weight = next_token_loss(model, batches[ranks * step + rank])
        (loss / weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        after(step)


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def state(model, optimizer):
    """The shards here of parameters, gradients and second moments."""
    return [
        None if part is None else part.to_local().clone()
        for p in model.parameters()
        for part in (p.detach(), p.grad, optimizer.state[p]["exp_avg_sq"])
    ]


def same(one, other):
    return all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def flat(tensors):
    return torch.cat([tensor.detach().full_tensor().reshape(-1) for tensor in tensors]).tolist()


def on_all(mine, ranks):
    found = [None] * ranks
    distributed.all_gather_object(found, mine)
    return found


def sharded(rank, ranks):
    """The estimate with and without a preconditioner, where it was made, and what is left of the model."""
    model = spread()
    optimizer = adam(model)
    train(model, optimizer, rank, ranks, 2)
    next_token_loss(model, tokens_of(9, ranks)["a"][rank])[0].backward()  # gradients that must stay
    before, found = state(model, optimizer), {}
    for name, D in (("plain", None), ("adam", cv.AdamPreconditioner.from_optimizer(optimizer))):
        effect = cv.order_effect(model, next_token_loss, own(rank, ranks), preconditioner=D, **OPTIONS)
        found[name] = effect.to_json()
    found["bitwise"] = on_all(same(before, state(model, optimizer)), ranks)
    found["theta"] = flat(model.parameters())
    found["D"] = flat(D.on(model)[name] for name, _ in model.named_parameters())
    sound = ShardedObjective._write
    ShardedObjective._write = lambda self, values: None if values is self.parameters else sound(self, values)
    cv.order_effect(model, next_token_loss, own(rank, ranks), **OPTIONS)
    ShardedObjective._write = sound
    found["never put back"] = on_all(same(before, state(model, optimizer)), ranks)
    return found


class Stream:
    """Batches that do not know how many they are, and may break."""

    def __init__(self, batches, breaks):
        self.batches, self.breaks = batches, breaks

    def __iter__(self):
        yield from self.batches
        if self.breaks:
            raise OSError("no such shard")


def refused_sharded(rank, ranks):
    """Each error as every rank tells it."""
    model, data = spread(), own(rank, ranks)
    effect = cv.order_effect(model, next_token_loss, data, **OPTIONS)
    few = {name: batches[: EACH - 8 * rank] for name, batches in data.items()}
    broken = data | {"a": [torch.full_like(data["a"][0], -100) if rank else data["a"][0], *data["a"][1:]]}
    mesh = init_device_mesh("cpu", (1, ranks), mesh_dim_names=("replicate", "shard"))
    unsummed, unsynced = spread(), spread()
    unsynced.set_requires_gradient_sync(False)
    for module in (unsummed, unsummed.layer):
        module.set_gradient_divide_factor(1.0)
    schedule = cv.WeightSchedule.blocks({"a": 2.0, "b": 2.0})

    def ask(model=model, domains=data, **options):
        return cv.order_effect(model, next_token_loss, domains, **OPTIONS | options)

    told = {}
    for case, asked in {
        "method": lambda: ask(method="double-backward"),
        "group": lambda: ask(process_group=distributed.group.WORLD),
        "time": lambda: ask(until="resolved", budget="10s"),
        "seed": lambda: ask(seed=rank),
        "few": lambda: ask(domains=few),
        "stream": lambda: ask(domains={name: Stream(batches, False) for name, batches in few.items()}),
        "reader": lambda: ask(domains={name: Stream(batches, rank) for name, batches in few.items()}),
        "loss": lambda: ask(domains=broken),
        "factor": lambda: ask(unsummed),
        "unsynced": lambda: ask(unsynced),
        "partly": lambda: ask(spread("layer")),
        "axes": lambda: ask(spread(mesh=mesh)),
        "noise": lambda: effect.noise(model, next_token_loss, data, lr=1e-3, batches=16, progress=False),
        "predict": lambda: cv.predict_excess_loss(model, next_token_loss, data, schedule, optimizer=1e-3),
        "bracket": lambda: cv.lie_bracket(model, next_token_loss, data["a"][0], data["b"][0]),
    }.items():
        try:
            asked()
            told[case] = "nothing"
        except (cv.CommuteError, OSError) as error:
            told[case] = f"{type(error).__name__}: {error}"
    chosen = ask(spread("layer"), params=lambda name: name.startswith("layer"))
    return {"told": on_all(told, ranks), "parts": chosen.P["a"].tolist()}


def probed_sharded(rank, ranks):
    """A run with a probe in it, and the same run without one."""
    logged, ends = [], []
    for probing in (True, False):
        model = spread().train()
        optimizer = adam(model)
        probe = cv.OrderProbe(
            model,
            next_token_loss,
            own(rank, ranks),
            every=2,
            batches=8,
            budget=500,
            optimizer=optimizer,
            log=lambda values, step: logged.append(step),
        )
        torch.manual_seed(rank)
        train(model, optimizer, rank, ranks, 4, probe if probing else lambda step: None)
        ends.append(state(model, optimizer))
        if probing:
            P = {step: effect.P_replicates.tolist() for step, effect in probe.effects.items()}
    attached = Attached(next_token_loss, own(rank, ranks), 2, {"batches": 8})
    with tempfile.TemporaryDirectory() as folder:
        attached.begin(model, optimizer, Path(folder), lambda values, step: None)
        trained = attached.measure(4, leads=rank == 0).P["a"].tolist()
    return on_all({"logged": logged, "P": P, "harmless": same(*ends), "by a trainer": trained}, ranks)


def dies_sharded(rank, ranks):
    """The second rank ends amid the estimate, without a word, while the first waits for it in FSDP."""
    data, model = own(rank, ranks), spread()

    def loss(model, batch):
        if rank and batch is data["a"][3]:
            os._exit(0)
        return next_token_loss(model, batch)

    before = [p.to_local().clone() for p in model.parameters()]
    try:
        cv.order_effect(model, loss, data, **OPTIONS)
    except cv.CommuteError as error:
        after = [p.to_local() for p in model.parameters()]
        return {"told": str(error), "bitwise": same(before, after)}
    return {"told": "nothing"}
