"""Leave a training run as it was: random states, data loaders, buffers, modes and gradients."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader


@contextmanager
def undisturbed(
    model: nn.Module, data: Iterable[Iterable[Any]] = (), seed: int | None = None
) -> Iterator[None]:
    """Restore, whatever happens inside: random states, the data loaders' too, buffers, train or eval mode.

    With a ``seed`` Python, NumPy and torch draw from it inside. Parameters and ``.grad`` are left to
    whoever writes them inside. Gradients are on inside, under ``no_grad`` too.
    """
    python, numpy = random.getstate(), np.random.get_state()
    drawn = [(source.restore, source.state()) for source in _sources()]
    own = [(generator, generator.get_state()) for batches in data for generator in _generators(batches)]
    buffers = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    modes = [(module, module.training) for module in model.modules()]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            reseed(seed)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for restore, state in drawn:
            restore(state)
        for generator, state in own:
            generator.set_state(state)
        with torch.no_grad():
            for place, name, buffer, value in buffers:
                place[name] = buffer
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        for module, training in modes:
            module.training = training


class _Source(NamedTuple):
    """Where torch draws from on one kind of device, all devices of a kind together."""

    seed: Callable[[int], Any]
    state: Callable[[], Any]
    restore: Callable[[Any], None]


def reseed(seed: int) -> None:
    """Let torch draw from a seed; ``torch.manual_seed`` would seed a GPU not yet in use, which stays so."""
    for source in _sources():
        source.seed(seed)


def _sources() -> list[_Source]:
    """The CPU's, and those of the GPUs in use."""
    cpu = _Source(torch.default_generator.manual_seed, torch.get_rng_state, torch.set_rng_state)
    gpus = [
        _Source(kind.manual_seed_all, kind.get_rng_state_all, kind.set_rng_state_all)
        for kind in (torch.cuda, torch.xpu)
        if kind.is_initialized()
    ]
    if torch.backends.mps.is_available():
        gpus.append(_Source(torch.mps.manual_seed, torch.mps.get_rng_state, torch.mps.set_rng_state))
    return [cpu, *gpus]


def detached_loaders(domains: Mapping[str, Iterable[Any]]) -> dict[str, Iterable[Any]]:
    """The domains, with loaders that keep their workers copied, as iterating one would restart its epoch."""
    return {name: apart(batches) for name, batches in domains.items()}


def apart(batches: Iterable[Any]) -> Iterable[Any]:
    """The batches; of a loader that keeps its workers, a copy without them."""
    if not (isinstance(batches, DataLoader) and batches.persistent_workers and batches.num_workers):
        return batches
    loader = copy.copy(batches)
    loader._iterator = None
    return loader


def _generators(batches: object) -> Iterator[torch.Generator]:
    """The generators that a DataLoader and its samplers draw from."""
    sampler, batch_sampler = getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None)
    holders = (batches, sampler, batch_sampler, getattr(batch_sampler, "sampler", None))
    for generator in {id(g): g for g in (getattr(holder, "generator", None) for holder in holders)}.values():
        if isinstance(generator, torch.Generator):
            yield generator
