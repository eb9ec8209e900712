"""What users hand over, held to its type once: what was given, and what to give instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from commute_verify.errors import CommuteError

LONGEST = 80
"""Characters of a value that a message shows."""


def shown(what: str, value: object) -> str:
    """``what=value`` for a value that shows on one line, and "what is a TYPE" for others."""
    if value is None or isinstance(value, str | Real):
        return f"{what}={_short(value)}"
    return f"{what} is {a_type(value)}"


def a_type(value: object) -> str:
    """The type of a value with its article: "a dict", "an Adam"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def real(value: object) -> float | None:
    """The float of a real number of any type, NumPy's and Fractions included, or None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def whole(value: object, what: str, low: int, high: int | None = None, but: str = "") -> int:
    """The int of a whole number of any real type between the bounds; ``but`` is said of what it must be."""
    number = real(value)
    if number is not None and number.is_integer():
        found = int(value)  # type: ignore[call-overload]
        if low <= found and (high is None or found <= high):
            return int(found)
    raise CommuteError(f"{shown(what, value)}; give a whole number {but or f'of at least {low}'}")


def device(value: object, what: str) -> torch.device:
    """A device that is there and holds numbers, from its name or from itself."""
    try:
        found: torch.device = torch.device(value)  # type: ignore[call-overload]
        torch.zeros(1, device=found).item()
    except (RuntimeError, TypeError, ValueError, AssertionError, ImportError):
        named = str(value) if isinstance(value, torch.device) else value
        raise CommuteError(f"{shown(what, named)}: no device here; give one that is, as 'cpu'") from None
    return found


def seed(value: object) -> int:
    """A seed that PyTorch takes."""
    return whole(value, "seed", -(2**63), 2**64 - 1, "from -2**63 to 2**64 - 1")


def level(alpha: object) -> float:
    """A level of significance."""
    number = real(alpha)
    if number is None or not 0 < number < 1:
        raise CommuteError(f"{shown('alpha', alpha)}; give a number between 0 and 1")
    return number


def mixture(weights: object, domains: Sequence[str], what: str) -> dict[str, float]:
    """Weights of some of the domains, of any real type: at least 0, with sum 1 to the rounding of float32."""
    known = ", ".join(domains)
    if not isinstance(weights, Mapping):
        raise CommuteError(
            f"{shown(what, weights)}; give a mapping from {known} to numbers ≥ 0 that sum to 1"
        )
    unknown = listed(name for name in weights if name not in domains)
    if unknown:
        raise CommuteError(f"{what} weighs {unknown}; the domains are {known}")
    numbers = [real(w) for w in weights.values()]
    given = f"{what} {'has weights ' * (what != 'weights')}{_short(dict(weights))}"
    if not all(w is not None and math.isfinite(w) and w >= 0 for w in numbers):
        raise CommuteError(f"{given}; give numbers ≥ 0 that sum to 1")
    found = {name: float(w) for name, w in weights.items()}
    if not math.isclose(total := math.fsum(found.values()), 1.0, abs_tol=1e-6):
        raise CommuteError(f"{given}, which sum to {total:.6g}; give numbers ≥ 0 that sum to 1")
    return found


def full_mixture(weights: object, domains: Sequence[str]) -> dict[str, float]:
    """Weights of all of the domains."""
    if isinstance(weights, Mapping):
        missing = listed(name for name in domains if name not in weights)
        unknown = listed(name for name in weights if name not in domains)
        if missing or unknown:
            odd = " and ".join(
                f"{verb} {names}" for verb, names in (("miss", missing), ("name", unknown)) if names
            )
            raise CommuteError(f"weights {odd}; name {', '.join(domains)}")
    return mixture(weights, domains, "weights")


def targets(given: object, domains: Sequence[str]) -> dict[str, dict[str, float]]:
    """Targets by name, each a mixture; by default every domain, and "mixture", all domains alike."""
    if given is None:
        if "mixture" in domains:
            raise CommuteError('a domain is called "mixture", as the default target is; give targets=')
        alone = {name: {name: 1.0} for name in domains}
        return alone | {"mixture": dict.fromkeys(domains, 1.0 / len(domains))}
    if not isinstance(given, Mapping):
        raise CommuteError(
            f"{shown('targets', given)}; give a mapping from names that are texts to weights over domains"
        )
    if not given:
        raise CommuteError("no targets; give at least one, or None for every domain and their mixture")
    _texts(given, "targets")
    return {name: mixture(weights, domains, f"target {name!r}") for name, weights in given.items()}


def domain_names(domains: object) -> list[str]:
    """The names of at least two domains."""
    wanted = "give a mapping from at least two names to their batches"
    if not isinstance(domains, Mapping):
        raise CommuteError(f"{shown('domains', domains)}; {wanted}")
    if len(domains) < 2:
        raise CommuteError(f"{len(domains)} domain{'s' * (len(domains) != 1)}; {wanted}")
    _texts(domains, "domains")
    return list(domains)


def started(batches: Iterable[Any], whose: str) -> Iterator[Any]:
    """An iterator over batches that can be read again; of a text or a mapping it would give no batches."""
    nothing = CommuteError(
        f"{whose} is {type(batches).__name__}, which holds no batches; give a list or a DataLoader"
    )
    if isinstance(batches, str | bytes | Mapping):
        raise nothing
    try:
        iterator = iter(batches)
    except TypeError:
        raise nothing from None
    if iterator is batches:
        raise CommuteError(
            f"{whose} is an iterator, which can be read only once; give a list or a DataLoader"
        )
    return iterator


def model_and_loss(model: object, loss_fn: object, params: object) -> None:
    """A module, a function of it and a batch, and a filter of names or None."""
    module(model)
    if not callable(loss_fn):
        raise CommuteError(
            f"{shown('loss_fn', loss_fn)}; give a function of (model, batch) that returns (summed loss, "
            "weight)"
        )
    if params is not None and not callable(params):
        raise CommuteError(
            f"params is {a_type(params)}; give a function from a parameter's name to whether it counts, such "
            "as lambda name: 'head' in name"
        )


def module(model: object) -> None:
    """A torch.nn.Module."""
    if not isinstance(model, nn.Module):
        raise CommuteError(
            f"{shown('model', model)}; give a torch.nn.Module, as in order_effect(model, loss_fn, domains)"
        )


def vector(given: object, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A finite vector on the parameters' device and in their dtype, with their names and shapes."""
    if not isinstance(given, Mapping):
        raise CommuteError(f"{shown('vector', given)}; give a mapping from parameters' names to tensors")
    odd = [name for name in given if name not in parameters]
    odd += [name for name in parameters if name not in given]
    for name, v in given.items():
        if name not in parameters:
            continue
        if not isinstance(v, Tensor):
            raise CommuteError(f"the vector at {name} is {a_type(v)}; give tensors of the parameters' shapes")
        if not v.dtype.is_floating_point:
            raise CommuteError(f"the vector at {name} is in {v.dtype}; give a floating dtype")
        odd += [name] * (v.shape != parameters[name].shape)
    if odd:
        raise CommuteError(
            f"a vector that does not fit the parameters at {listed(odd)}; give their names and shapes"
        )
    placed = {name: given[name].detach().to(p.device, p.dtype) for name, p in parameters.items()}
    for name, v in placed.items():
        if not torch.isfinite(v).all():
            raise CommuteError(f"the vector is not finite at {name}; give finite numbers within {v.dtype}")
    return placed


def listed(names: Iterable[object]) -> str:
    """Names in order and between commas, the first few of many."""
    every = sorted(map(str, names))
    return ", ".join(every[:5]) + " …" * (len(every) > 5)


def _texts(names: Iterable[object], what: str) -> None:
    odd = [name for name in names if not isinstance(name, str) or not name]
    if odd:
        raise CommuteError(f"{what} named {_short(odd)}; give names that are texts")


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"
