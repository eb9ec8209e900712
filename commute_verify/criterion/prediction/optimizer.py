r"""What an optimizer does to flat parameters, read from ``torch.optim`` once and never written to.

    SGD     g ← g + λθ;  m ← μm + (1 − d)g;  θ ← θ − η m      (Nesterov: θ ← θ − η(g + μm))
    Adam    g ← g + λθ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − η m̂ / (√v̂ + ε)
    AdamW   the same with θ ← (1 − ηλ)θ first, in place of g ← g + λθ

with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ). The gradient may be clipped to a norm before all this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commute_verify.criterion import checked
from commute_verify.errors import CommuteError

Kind = Literal["sgd", "adam", "adamw"]
Scale = float | Tensor
"""One number for all parameters, or one for each entry of the flat vector."""

_KINDS: dict[type, Kind] = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adamw",
}


@dataclass(frozen=True, eq=False)
class Optimizer:
    """The rule, its constants and where its memory stands.

    ``lr`` is the first group's; a parameter's own is ``lr · relative``. ``first`` and ``second`` are the
    moments (n,), None where the rule has none; ``taken`` counts the steps behind them. ``clip`` is the norm
    that gradients are clipped to, as ``torch.nn.utils.clip_grad_norm_`` does. ``started`` is 0 where torch
    has no momentum yet and starts it with the whole gradient, without dampening, and 1 elsewhere.
    """

    kind: Kind
    lr: float
    relative: Scale = 1.0
    decay: Scale = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    first: Tensor | None = None
    second: Tensor | None = None
    taken: Scale = 0.0
    clip: float | None = None
    started: Scale = 1.0

    @property
    def adaptive(self) -> bool:
        """Whether it divides by second moments."""
        return self.kind != "sgd"

    @property
    def remembers(self) -> bool:
        """Whether a step depends on the gradients of earlier ones."""
        return self.adaptive or self.momentum != 0

    @property
    def fading(self) -> float:
        """How much of its first moment a step keeps: μ, or β₁."""
        return self.betas[0] if self.adaptive else self.momentum

    @property
    def lag(self) -> float:
        """By how many steps a gradient moves the parameters late in the mean.

        μ / (1 − μ), and μ² / (1 − μ) for Nesterov.
        """
        kept = self.fading**2 if self.nesterov else self.fading
        return kept / (1 - self.fading)

    @property
    def bend(self) -> float:
        """c in −ηλ − c(ηλ)²: the log of what a settled step leaves along curvature λ, to second order.

        c = ½ + ``lag``; η is the rate that momentum settles to.
        """
        return 0.5 + self.lag

    @property
    def bears(self) -> float:
        """The ηλ up to which steps contract by √μ or more, η being the rate that momentum settles to.

        (1 + √μ) / (1 − √μ), and 1 / (1 − μ) for Nesterov; 1 for plain SGD. Beyond, each step overshoots.
        """
        if self.nesterov:
            return 1 / (1 - self.fading)
        root = math.sqrt(self.fading)
        return (1 + root) / (1 - root)

    @property
    def drifts(self) -> bool:
        """Whether a step moves a parameter whose gradient is 0: by memory, or by weight decay."""
        return self.remembers or isinstance(self.decay, Tensor) or self.decay != 0

    def moment(self, g: Tensor) -> Tensor:
        """The gradient (n,) that the first moment stands for where the run goes on with gradients g.

        Of an optimizer with momentum. With it, a start that is ``lag`` steps late does what the buffers do,
        bias correction and torch's first step without dampening included.
        """
        first = torch.zeros_like(g) if self.first is None else self.first
        if self.adaptive:
            known = torch.as_tensor(1 - _power(self.fading, self.taken)).to(g)
            settled = torch.where(known > 0, first / known, g)
            return g + self._outlasting(known) * (settled - g)
        if self.dampening == 1:
            return first
        fresh = (1 - self.started) * self.dampening / self.momentum * g
        found: Tensor = (first + fresh) * (1 - self.momentum) / (1 - self.dampening)
        return found

    def _outlasting(self, known: Tensor) -> Tensor:
        """Σ_n β^n k / (1 − β^n (1 − k)) over Σ_n β^n, n ≥ 1: how long m̂ keeps what it held, k = 1 − β^t."""
        values, places = torch.unique(known, return_inverse=True)
        steps = math.ceil(math.log(torch.finfo(known.dtype).eps) / math.log(self.fading))
        weights = self.fading ** torch.arange(1, steps + 1).to(values)
        held = values[:, None] / (1 - weights * (1 - values[:, None]))
        found: Tensor = ((held @ weights) / weights.sum())[places]
        return found

    def preconditioner(self, n: Tensor) -> Tensor | None:
        """D (n,), frozen second moments and relative learning rates; None where D = 1.

        ``n`` is a flat vector that gives shape, dtype and device. Flow time is that of the first group.
        """
        if not self.adaptive:
            gain = 1.0 if not self.momentum else (1 - self.dampening) / (1 - self.momentum)
            if isinstance(self.relative, float) and self.relative * gain == 1:
                return None
            return torch.ones_like(n) * self.relative * gain
        if self.second is None:
            raise CommuteError(
                "an optimizer that has taken no step: its second moments are not known yet; take a "
                "step, or load its state"
            )
        correction = 1 - _power(self.betas[1], self.taken)
        if not torch.as_tensor(correction).all():
            raise CommuteError(
                "an optimizer that has taken no step for some of the parameters: their second moments are "
                "not known yet; leave them out with params=, or take a step that reaches them"
            )
        return self.relative / ((self.second / correction).sqrt() + self.eps)

    def after(self, g: Tensor) -> Optimizer:
        """The same with the second moments that a step with the gradient g leaves, a first step too."""
        if not self.adaptive:
            return self
        before = torch.zeros_like(g) if self.second is None else self.second
        kept = self.betas[1]
        return replace(self, second=kept * before + (1 - kept) * g * g, taken=self.taken + 1.0)

    def shrinkage(self, D: Tensor | None) -> Scale:
        """λ in θ' = −D ∇L − λθ: what weight decay does per flow time of the first group.

        In AdamW the decay times relative learning rates; inside the gradient D times the decay, D being that
        of ``preconditioner``.
        """
        if not isinstance(self.decay, Tensor) and not self.decay:
            return 0.0
        if self.kind == "adamw":
            return self.relative * self.decay
        return self.decay if D is None else D * self.decay


def read_optimizer(
    given: torch.optim.Optimizer | float,
    model: nn.Module,
    names: Sequence[str],
    like: Tensor,
    clip_norm: float | None = None,
) -> Optimizer:
    """The rule of a ``torch.optim.SGD``, ``Adam`` or ``AdamW``, or plain SGD with a learning rate.

    ``names`` are the parameters in the order of the flat vector. Raises CommuteError for another optimizer,
    for amsgrad and maximize, and for a parameter that the optimizer does not train.
    """
    clip = None if clip_norm is None else checked.real(clip_norm)
    if clip_norm is not None and not (clip is not None and math.isfinite(clip) and clip > 0):
        raise CommuteError(f"{checked.shown('clip_norm', clip_norm)}; give a finite norm above 0, or None")
    plain = checked.real(given)
    if plain is not None:
        if not (math.isfinite(plain) and plain > 0):
            raise CommuteError(f"optimizer={given!r}; a learning rate is finite and above 0")
        return Optimizer("sgd", plain, clip=clip)
    kind = _KINDS.get(type(given))
    if kind is None or not isinstance(given, torch.optim.Optimizer):
        raise CommuteError(
            f"optimizer {type(given).__name__} is not supported; give torch.optim.SGD, Adam or AdamW, or a "
            "learning rate for plain SGD"
        )
    group_of = {id(p): group for group in given.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    entries = [(name, parameters[name]) for name in names]
    missing = [name for name, p in entries if id(p) not in group_of]
    if missing:
        raise CommuteError(
            f"the optimizer does not train {', '.join(missing[:3])}{' …' * (len(missing) > 3)}; choose what "
            "it trains with params="
        )
    groups = [group_of[id(p)] for _, p in entries]
    for switch in ("amsgrad", "maximize"):
        if any(group.get(switch) for group in groups):
            raise CommuteError(f"{type(given).__name__} with {switch} is not supported; switch it off")
    for key in ("lr", "weight_decay", "momentum", "dampening", "betas", "eps"):
        for group in groups:
            value = group.get(key, 0.0)
            if not all(map(math.isfinite, value if isinstance(value, tuple | list) else (value,))):
                raise CommuteError(f"the optimizer's {key} is {value}; give a finite one")
    lr = float(given.param_groups[0]["lr"])
    rates = [float(group["lr"]) for group in groups]
    if not lr and not any(rates):  # before a warmup: groups keep the ratios of what they warm up to
        rates = [float(group.get("initial_lr", 1.0)) for group in groups]
        first = float(given.param_groups[0].get("initial_lr", 1.0))
    else:
        first = lr
    if not first > 0:
        raise CommuteError(
            f"the first group's learning rate is {first}, and others' are not; put a group that learns first"
        )
    sizes = [p.numel() for _, p in entries]
    common: dict[str, Any] = {
        "kind": kind,
        "lr": lr,
        "relative": _scale([rate / first for rate in rates], sizes, like),
        "decay": _scale([float(group["weight_decay"]) for group in groups], sizes, like),
        "clip": clip,
    }
    states = [given.state.get(p, {}) for _, p in entries]
    if kind == "sgd":
        momentum = float(_same(groups, "momentum"))
        if momentum >= 1:
            raise CommuteError(f"SGD with momentum {momentum:g} never forgets; give one below 1")
        return Optimizer(
            **common,
            momentum=momentum,
            dampening=float(_same(groups, "dampening")),
            nesterov=bool(_same(groups, "nesterov")),
            first=_moment(states, "momentum_buffer", entries, like),
            started=_scale(
                [float(state.get("momentum_buffer") is not None) for state in states], sizes, like
            ),
        )
    if any("decoupled_weight_decay" in group for group in groups) and kind == "adam":
        common["kind"] = "adamw" if _same(groups, "decoupled_weight_decay") else "adam"
    taken = [float(state.get("step", 0.0)) for state in states]
    betas = _same(groups, "betas")
    return Optimizer(
        **common,
        betas=(float(betas[0]), float(betas[1])),
        eps=float(_same(groups, "eps")),
        first=_moment(states, "exp_avg", entries, like),
        second=_moment(states, "exp_avg_sq", entries, like),
        taken=_scale(taken, sizes, like),
    )


def with_lr(optimizer: Optimizer, lr: float) -> Optimizer:
    """The same at another learning rate of the first group."""
    return replace(optimizer, lr=lr)


def _same(groups: Sequence[Mapping[str, Any]], key: str) -> Any:
    values = {tuple(group[key]) if isinstance(group[key], list | tuple) else group[key] for group in groups}
    if len(values) > 1:
        raise CommuteError(f"parameter groups that differ in {key}; predictions take one {key} for all")
    return values.pop()


def _scale(values: Sequence[float], sizes: Sequence[int], like: Tensor) -> Scale:
    if len(set(values)) == 1:
        return float(values[0])
    return torch.cat([like.new_full((size,), value) for value, size in zip(values, sizes, strict=True)])


def _moment(
    states: Sequence[Mapping[str, Any]], key: str, entries: Sequence[tuple[str, Tensor]], like: Tensor
) -> Tensor | None:
    found = [state.get(key) for state in states]
    if all(entry is None for entry in found):
        return None
    for entry, (name, _) in zip(found, entries, strict=True):
        if entry is not None and not bool(entry.isfinite().all()):
            raise CommuteError(
                f"the optimizer's {key} of {name} is not finite; load a state from before it broke"
            )
    return torch.cat(
        [
            like.new_zeros(p.numel()) if entry is None else entry.detach().reshape(-1).to(like)
            for entry, (_, p) in zip(found, entries, strict=True)
        ]
    )


def _power(base: float, exponent: Scale) -> Scale:
    return base**exponent
