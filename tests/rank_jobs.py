"""What ``torchrun`` runs in tests of several ranks: ``rank_jobs.py OUT JOB…``; the first rank writes OUT."""

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import commute_verify as cv
from commute_verify.criterion import dealt
from tests.criterion_models import regression, squares

BATCHES = 26
"""Four replicates, of 7, 7, 6 and 6 batches."""


def model_of(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double().eval()


def batches_of(rank, name, kind, count=20):
    draw = torch.Generator().manual_seed(10 * rank + (name == "b"))
    rows = {"even": lambda n: 3, "ragged": lambda n: 1 + (n + rank) % 4, "late": lambda n: 3 + (n > 6)}[kind]
    return [regression(draw, rows(n)) for n in range(count)]


def domains_of(rank, kind):
    return {name: batches_of(rank, name, kind) for name in "ab"}


def in_one_process(ranks, kind):
    """All ranks' batches, replicate by replicate."""
    sizes, found = (7, 7, 6, 6), {name: [] for name in "ab"}
    for name, taken in found.items():
        supplies = [iter(batches_of(rank, name, kind)) for rank in range(ranks)]
        for replicate, size in enumerate(sizes):
            taken += [next(supplies[replicate % ranks]) for _ in range(size)]
    return found


def options_of(method):
    return {"batches": BATCHES, "method": method, "progress": False, "seed": 5}


def equal(rank, ranks):
    """Each kind of weights and each method, on all ranks at once."""
    found = {}
    for kind in ("even", "ragged", "late"):
        for method in ("double-backward", "finite-difference"):
            group = distributed.group.WORLD
            effect = cv.order_effect(
                model_of(), squares, domains_of(rank, kind), process_group=group, **options_of(method)
            )
            found[f"{kind} {method}"] = effect.to_json()
    return found


def planted(rank, ranks):
    """The same where no rank is told the weights of the others in its round."""
    sound, dealt._weigh = dealt._weigh, lambda run, roles, ranks, first: []
    try:
        return equal(rank, ranks)
    finally:
        dealt._weigh = sound


def refused(rank, **options):
    try:
        cv.order_effect(
            options.pop("model", model_of()),
            squares,
            options.pop("domains", None) or domains_of(rank, "even"),
            process_group=distributed.group.WORLD,
            **options_of("double-backward") | options,
        )
    except cv.CommuteError as error:
        return str(error)
    return "nothing was refused"


def several(rank, ranks):
    """What two ranks refuse together, and what the probe does on them."""
    broken = domains_of(rank, "even")
    if rank:
        broken["b"][3] = tuple(torch.full_like(part, float("nan")) for part in broken["b"][3])
    told = {
        "one rank fails": refused(rank, domains=broken),
        "one rank has few": refused(rank, domains={n: b[: 20 - 15 * rank] for n, b in broken.items()}),
        "same batches": refused(rank, domains=domains_of(0, "ragged")),
        "other model": refused(rank, model=model_of(rank)),
        "other seed": refused(rank, seed=rank),
        "until": refused(rank, until="resolved", budget=100),
    }
    model = nn.parallel.DistributedDataParallel(model_of().train())
    logged = []
    probe = cv.OrderProbe(
        model,
        squares,
        domains_of(rank, "even"),
        every=2,
        batches=16,
        method="auto",
        log=lambda values, step: logged.append(step),
        process_group=distributed.group.WORLD,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 5):
        optimizer.zero_grad()
        squares(model, domains_of(rank, "even")["a"][step])[0].backward()
        optimizer.step()
        probe(step)
    mine = {"logged": logged, "P": [effect.P_replicates.tolist() for effect in probe.effects.values()]}
    every = [None] * ranks
    distributed.all_gather_object(every, mine | {"told": told})
    return every


def dies(rank, ranks):
    """The second rank ends amid the estimate, without a word."""
    if rank:

        def loss(model, batch):
            if torch.equal(batch[0], domains_of(rank, "even")["a"][3][0]):
                os._exit(0)
            return squares(model, batch)
    else:
        loss = squares
    try:
        cv.order_effect(
            model_of(),
            loss,
            domains_of(rank, "even"),
            process_group=distributed.group.WORLD,
            **options_of("double-backward"),
        )
    except cv.CommuteError as error:
        return {"told": str(error)}
    return {"told": "nothing"}


def main():
    out, *jobs = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=20 if jobs == ["dies"] else 300))
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    from tests import sharded_jobs

    known = globals() | vars(sharded_jobs)
    found = {job: known[job](rank, ranks) for job in jobs}
    if rank == 0:
        Path(out).write_text(json.dumps(found))
    if not jobs[-1].startswith("dies"):
        distributed.barrier()
        distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
