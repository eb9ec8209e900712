"""What a training run refuses: settings that do not fit its data or its start, and numbers that diverge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from commute_verify.errors import CommuteError
from experiments.gpt2.checkpoint import Checkpoint
from experiments.gpt2.parallel import Ranks
from experiments.gpt2.plan import Plan
from experiments.gpt2.settings import Training
from experiments.gpt2.shards import Shards


def diverged(what: str) -> CommuteError:
    """The error of numbers that are not finite, with what to do about it."""
    return CommuteError(
        f"{what}: lower the learning rate, or clip the gradient; the last checkpoint is from before"
    )


def check_finite(model: nn.Module, step: int) -> None:
    """Refuse to go on from, or to save, parameters that are not finite."""
    wrong = [name for name, p in model.named_parameters() if not bool(torch.isfinite(p).all())]
    if wrong:
        raise diverged(f"parameters are not finite after step {step} ({wrong[0]}, {len(wrong)} in all)")


def check_numbers(
    plan: Plan,
    save_at: Sequence[int],
    save_every: int | None,
    evaluate_at: Sequence[int],
    evaluate_every: int | None,
    windows: int,
) -> None:
    """Refuse steps outside of the run, and periods and windows below 1."""
    for name, value in (
        ("save_every", save_every), ("evaluate_every", evaluate_every), ("evaluate_windows", windows)
    ):  # fmt: skip
        if value is not None and value < 1:
            raise CommuteError(f"{name} is {value}: give a whole number ≥ 1")
    for name, steps in (("save_at", save_at), ("evaluate_at", evaluate_at)):
        beyond = [step for step in steps if not plan.first <= step <= plan.last]
        if beyond:
            raise CommuteError(
                f"{name} names step {beyond[0]}, and the run goes from {plan.first} to {plan.last}: give "
                "steps of the run"
            )


def check(settings: Training, shards: Shards, plan: Plan, start: Checkpoint | None, ranks: Ranks) -> None:
    """Refuse settings that do not fit the plan, the shards, the ranks or the checkpoint to start from."""
    if settings.decay == "cosine" and plan.last > settings.steps:
        raise CommuteError(
            f"the learning rate falls until step {settings.steps}, and the run ends at step {plan.last}: "
            f"give steps {plan.last}"
        )
    if shards.vocabulary > settings.architecture.vocabulary:
        raise CommuteError(
            f"the shards' tokenizer has {shards.vocabulary} entries and the model "
            f"{settings.architecture.vocabulary}: give the model a vocabulary of {shards.vocabulary} or more"
        )
    if settings.batch % ranks.count:
        raise CommuteError(
            f"a batch of {settings.batch} on {ranks.count} ranks: give a multiple of the ranks"
        )
    if start is None:
        return
    before = start.state.settings
    for name in ("architecture", "optimizer"):
        if getattr(before, name) != getattr(settings, name):
            raise CommuteError(
                f"the checkpoint {start.folder} has {name} {getattr(before, name)}, the settings "
                f"{getattr(settings, name)}: start from a checkpoint of the same {name}"
            )
    if start.state.tokenizer != shards.tokenizer_digest:
        raise CommuteError(
            f"the vocabulary of the shards {shards.folder} is not that of the checkpoint {start.folder}: "
            "build the shards with the checkpoint's tokenizer"
        )
