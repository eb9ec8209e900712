"""What a language model is, and how it is trained: frozen, checked when built, the same as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from commute_verify.errors import CommuteError

OPTIMIZERS = ("adamw", "momentum", "sgd")
DECAYS = ("constant", "cosine")
PARADIGMS = ("sampling", "weighted-loss")
PRECISIONS = ("float32", "bf16")
DEVICES = ("auto", "cpu", "cuda")
ATTENTIONS = ("sdpa", "eager")


@dataclass(frozen=True)
class Architecture:
    """A GPT-2: ``layers`` blocks of ``width`` with ``heads``, over ``context`` tokens of a ``vocabulary``."""

    layers: int
    width: int
    heads: int
    context: int
    vocabulary: int
    attention: str = "sdpa"

    def __post_init__(self) -> None:
        """Refuse sizes below 1, a width that the heads do not divide, an unknown attention."""
        for name in ("layers", "width", "heads", "context", "vocabulary"):
            _whole(name, getattr(self, name), least=1)
        if self.width % self.heads:
            raise CommuteError(f"width {self.width} for {self.heads} heads: give a multiple of the heads")
        _one_of("attention", self.attention, ATTENTIONS)


@dataclass(frozen=True)
class Training:
    """One run; ``batch`` and ``micro_batch`` are in sequences, ``warmup`` and ``steps`` in optimizer steps.

    ``paradigm``: with "sampling" the domain weights are the probabilities of a sequence's domain, with
    "weighted-loss" every step holds all domains equally and the weights multiply their mean losses.
    ``decay`` is what the learning rate does after the warm-up: stay, or fall on half a cosine to ``floor``
    times ``lr`` at ``steps``. ``betas`` are Adam's; "momentum" uses the first. ``clip`` bounds the norm of
    the gradient; None leaves it. ``micro_batch`` bounds what is held in memory at once; None takes the batch.
    Weight decay (decoupled with "adamw") is applied to matrices, and not to biases and norms.
    """

    architecture: Architecture
    optimizer: str = "adamw"
    lr: float = 1e-3
    warmup: int = 0
    decay: str = "constant"
    floor: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float | None = None
    batch: int = 16
    micro_batch: int | None = None
    paradigm: str = "sampling"
    precision: str = "float32"
    compile: bool = False
    device: str = "cpu"
    seed: int = 0
    steps: int = 1000

    def __post_init__(self) -> None:
        """Refuse what no run can have, naming the field."""
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("decay", DECAYS),
            ("paradigm", PARADIGMS),
            ("precision", PRECISIONS),
            ("device", DEVICES),
        ):
            _one_of(name, getattr(self, name), choices)
        for name, least in (("warmup", 0), ("batch", 1), ("seed", 0), ("steps", 1)):
            _whole(name, getattr(self, name), least)
        if self.micro_batch is not None:
            _whole("micro_batch", self.micro_batch, least=1)
        _real("lr", self.lr, above=True)
        _real("eps", self.eps, above=True)
        _real("weight_decay", self.weight_decay)
        _real("floor", self.floor, most=1.0)
        if self.clip is not None:
            _real("clip", self.clip, above=True)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise CommuteError(f"betas are {self.betas}: give two numbers from 0 to below 1")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step; the first step is 0.

        >>> size = Architecture(layers=1, width=8, heads=1, context=8, vocabulary=300)
        >>> [Training(size, lr=1.0, warmup=4).lr_at(step) for step in (0, 1, 3, 4, 99)]
        [0.25, 0.5, 1.0, 1.0, 1.0]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.lr
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return {**dataclasses.asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_plain(cls, held: Mapping[str, Any]) -> Self:
        """The settings that `plain` gave; CommuteError when a field is missing, unknown or impossible."""
        try:
            architecture = Architecture(**held["architecture"])
            rest = {name: value for name, value in held.items() if name != "architecture"}
            return cls(architecture, **{**rest, "betas": tuple(rest["betas"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise CommuteError(f"not the settings of a training run ({error}): use those it saved") from error

    def changed(self, other: Self) -> list[str]:
        """Name what differs, each as "name: this → other".

        >>> size = Architecture(layers=1, width=8, heads=1, context=8, vocabulary=300)
        >>> Training(size, lr=0.1).changed(Training(size, lr=0.2))
        ['lr: 0.1 → 0.2']
        """
        mine, theirs = _flat(self.plain()), _flat(other.plain())
        return [f"{name}: {mine[name]} → {theirs[name]}" for name in mine if mine[name] != theirs[name]]

    @classmethod
    def smoke(cls, vocabulary: int = 384) -> Self:
        """Seconds on two cores: about 50 k parameters, for synthetic languages."""
        size = Architecture(layers=2, width=32, heads=2, context=32, vocabulary=vocabulary)
        return cls(size, lr=1e-3, warmup=20, batch=20, steps=160, weight_decay=0.01)

    @classmethod
    def cpu(cls, vocabulary: int = 2048) -> Self:
        """A model of about a million parameters, for real text on two cores."""
        size = Architecture(layers=4, width=128, heads=4, context=64, vocabulary=vocabulary)
        return cls(size, lr=1e-3, warmup=100, batch=20, steps=1400, weight_decay=0.01)

    @classmethod
    def gpu(cls, vocabulary: int = 16384) -> Self:
        """About 30 M parameters in bf16, for one data-centre GPU."""
        size = Architecture(layers=8, width=512, heads=8, context=512, vocabulary=vocabulary)
        return cls(
            size,
            lr=6e-4,
            warmup=200,
            weight_decay=0.01,
            batch=120,
            steps=2600,
            precision="bf16",
            compile=True,
            device="cuda",
        )

    @classmethod
    def paper(cls, vocabulary: int = 119_552) -> Self:
        """The paper's run (§4.2, appendix C): GPT-2 small, 512 × 1024 tokens, Adam, mBERT's vocabulary.

        124 M parameters with GPT-2's own vocabulary of 50 257, 178 M with mBERT's 119 547 (padded to a
        multiple of 128). Not stated in the paper and chosen here: precision, warm-up, micro-batch.
        """
        size = Architecture(layers=12, width=768, heads=12, context=1024, vocabulary=vocabulary)
        return cls(
            size,
            lr=1.5e-4,
            warmup=500,
            batch=512,
            micro_batch=16,
            steps=28_000,
            precision="bf16",
            compile=True,
            device="cuda",
        )


def _flat(held: Mapping[str, Any]) -> dict[str, Any]:
    return {**held.get("architecture", {}), **{k: v for k, v in held.items() if k != "architecture"}}


def _whole(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise CommuteError(f"{name} is {value!r}: give a whole number ≥ {least}")


def _real(name: str, value: object, *, above: bool = False, most: float = math.inf) -> None:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= most:  # type: ignore[arg-type,operator]
        raise CommuteError(f"{name} is {value!r}: give a finite number ≥ 0" + _up_to(most))
    if above and value == 0:
        raise CommuteError(f"{name} is 0: give a number above 0" + _up_to(most))


def _up_to(most: float) -> str:
    return "" if math.isinf(most) else f" and ≤ {most:g}"


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise CommuteError(f"{name} is {value!r}: choose from {', '.join(choices)}")
