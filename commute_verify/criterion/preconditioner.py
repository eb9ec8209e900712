r"""Adam's second moments as a frozen preconditioner.

With the fields −D g_k, D diagonal and frozen, the bracket is D(H_2 D g_1 − H_1 D g_2), and

    P(L_i, L_j; L) = ⟨D g_i, H_j D u⟩ − ⟨D g_j, H_i D u⟩,      u = ∇L.

Weight decay is a drift common to all domains, no part of D: R(L_i + L_0, L_j + L_0) = R(L_i, L_j) +
R(L_i − L_j, L_0). Source: derived.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from commute_verify.criterion import checked
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.vectors import Vector, wide
from commute_verify.errors import CommuteError

ADAMS = (torch.optim.Adam, torch.optim.AdamW)


@dataclass(frozen=True, eq=False)
class AdamPreconditioner:
    """D = (lr_p / lr) / (√(v_p / (1 − β2^t)) + ε) for each parameter p: v its second moment, t its steps.

    ``lr`` is the learning rate of the first parameter group: flow time is that group's. ``scales`` maps each
    parameter, or its name, to D's diagonal, a copy that later steps do not change; ``weight_decay`` maps it
    to its group's decay (for the record, not part of D).

    >>> import torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    >>> model(torch.ones(1, 1)).sum().backward()
    >>> optimizer.step()
    >>> D = AdamPreconditioner.from_optimizer(optimizer)
    >>> round(float(D.on(model)["weight"]), 6)  # the gradient is 1, and so is √v̂
    1.0
    """

    scales: Mapping[Tensor | str, Tensor]
    weight_decay: Mapping[Tensor | str, float]

    @classmethod
    def from_optimizer(cls, optimizer: torch.optim.Optimizer) -> Self:
        """Read ``torch.optim.Adam`` or ``AdamW``, or a subclass (a warning says that it is read as Adam).

        Fused, foreach, capturable and amsgrad variants included. Parameters that have taken no step are left
        out. Raises CommuteError if none has, for ``maximize=True``, or for another optimizer.
        """
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise CommuteError(
                f"from_optimizer was given {checked.a_type(optimizer)}; give an optimizer, or read a state "
                "with from_state_dict(state, model)"
            )
        if not isinstance(optimizer, ADAMS):
            raise CommuteError(
                f"{type(optimizer).__name__} is no torch.optim.Adam or AdamW, and its step is not D g; give "
                "one of these (of a wrapper the optimizer inside), or no preconditioner"
            )
        if type(optimizer) not in ADAMS:
            warnings.warn(
                f"{type(optimizer).__name__} is a subclass of Adam and is read as Adam; where its step is "
                "another, give no preconditioner",
                stacklevel=2,
            )
        entries = [
            (parameter, group, optimizer.state[parameter])
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.requires_grad and optimizer.state.get(parameter)
        ]
        if not entries:
            raise CommuteError(
                f"{type(optimizer).__name__} holds no second moments; take a step first, or load its state"
            )
        return cls._of(entries, optimizer.param_groups[0]["lr"])

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], model: nn.Module, names: Sequence[str] | None = None
    ) -> Self:
        """Read a saved ``optimizer.state_dict()``.

        ``names`` are the parameters' names in the order in which the optimizer got them, group after group.
        By default they are those that the state holds (optimizers built from ``named_parameters``), or the
        model's own order if there is one group. Raises CommuteError where names or shapes do not fit.
        """
        checked.module(model)
        if isinstance(state, torch.optim.Optimizer):
            raise CommuteError(
                f"from_state_dict was given {checked.a_type(state)}; give what optimizer.state_dict() "
                "returned, or read the optimizer with from_optimizer"
            )
        try:
            groups, moments = list(state["param_groups"]), state["state"]
            numbers = [number for group in groups for number in group["params"]]
        except (KeyError, TypeError) as error:
            raise CommuteError(
                f"no optimizer state ({error!r}); give what optimizer.state_dict() returned"
            ) from error
        name_of = dict(zip(numbers, _names(groups, len(numbers), model, names), strict=True))
        shapes = {name: p.shape for name, p in model.named_parameters(remove_duplicate=False)}
        entries = []
        for group in groups:
            for number in group["params"]:
                name = name_of[number]
                if name not in shapes:
                    raise CommuteError(f"the optimizer's state names {name}, which the model has not")
                if number in moments:
                    entries.append((name, group, moments[number]))
        found = cls._of(entries, groups[0]["lr"]) if entries else None
        if found is None:
            raise CommuteError("the optimizer's state holds no second moments; save it after a step")
        for name, scale in found.scales.items():
            if scale.shape != shapes[str(name)]:
                raise CommuteError(
                    f"second moments of shape {tuple(scale.shape)} for {name} of {tuple(shapes[str(name)])}; "
                    "give names= in the order in which the optimizer got its parameters"
                )
        return found

    def on(self, model: nn.Module) -> Vector:
        """D's diagonal by parameter name, for the model's trainable parameters that have moments."""
        found: Vector = {}
        for name, p in model.named_parameters():
            aliases = (other for other, q in model.named_parameters(remove_duplicate=False) if q is p)
            known: list[Tensor | str] = [p, *aliases]
            keys = [key for key in known if key in self.scales]
            if p.requires_grad and keys:
                found[name] = self.scales[keys[0]].to(p.device)
        return found

    @classmethod
    def _of(
        cls, entries: Sequence[tuple[Any, Mapping[str, Any], Mapping[str, Any]]], lr: float | Tensor
    ) -> Self:
        scales = {key: _scale(group, state, float(lr)) for key, group, state in entries}
        return cls(scales, {key: float(group.get("weight_decay", 0.0)) for key, group, _ in entries})


def diagonal(preconditioner: AdamPreconditioner, model: nn.Module, objective: Objective) -> Vector:
    """D for the chosen parameters; CommuteError for another type, or where it lacks some of them."""
    if not isinstance(preconditioner, AdamPreconditioner):
        state = isinstance(preconditioner, Mapping)
        reader = "from_state_dict(state, model)" if state else "from_optimizer(optimizer)"
        raise CommuteError(
            f"preconditioner is {checked.a_type(preconditioner)}; give cv.AdamPreconditioner.{reader}"
        )
    found = preconditioner.on(model)
    missing = [name for name in objective.parameters if name not in found]
    if missing:
        raise CommuteError(
            f"the preconditioner has no second moments of {', '.join(missing[:3])}"
            f"{' …' * (len(missing) > 3)}; read it from the optimizer of this very model, or leave these out "
            "with params="
        )
    return {name: found[name] for name in objective.parameters}


def _names(
    groups: Sequence[Mapping[str, Any]], count: int, model: nn.Module, names: Sequence[str] | None
) -> list[str]:
    if names is None and all("param_names" in group for group in groups):
        names = [name for group in groups for name in group["param_names"]]
    if names is None and len(groups) > 1:
        raise CommuteError(
            f"an optimizer state of {len(groups)} groups without names; give names= in the order in which "
            "the optimizer got its parameters, or load the state and use from_optimizer"
        )
    if names is None:
        every = list(model.named_parameters())
        trained = [name for name, p in every if p.requires_grad]
        names = trained if count == len(trained) else [name for name, _ in every]
    if len(names) != count:
        raise CommuteError(
            f"the optimizer's state holds {count} parameters and {len(names)} names were found; give the "
            "state that was saved with this model, or names="
        )
    return list(names)


def _scale(group: Mapping[str, Any], state: Mapping[str, Any], reference: float) -> Tensor:
    if not {"exp_avg_sq", "step"} <= set(state) or not {"betas", "eps"} <= set(group):
        raise CommuteError(
            f"an optimizer state with {', '.join(sorted(map(str, state)))}; Adam's preconditioner needs "
            "exp_avg_sq, step, betas and eps"
        )
    if "mu_product" in state or "momentum_decay" in group or "amsgrad" not in group:
        raise CommuteError(
            "an optimizer state as NAdam or RAdam have it, whose step is not D g; give the state of Adam or "
            "AdamW, or no preconditioner"
        )
    if group.get("maximize"):
        raise CommuteError(
            "an optimizer with maximize=True, which runs along +D g; give one that minimizes the loss"
        )
    moments = state.get("max_exp_avg_sq", state["exp_avg_sq"]).detach()
    moments = moments.to(wide(moments.dtype))
    correction = 1.0 - group["betas"][1] ** float(state["step"])
    rate = float(group["lr"])
    if reference == 0 != rate:
        raise CommuteError("the first group's learning rate is 0, so that its flow time stands still; set it")
    relative = rate / reference if reference else 1.0
    scale: Tensor = relative / ((moments / correction).sqrt() + group["eps"])
    return scale
