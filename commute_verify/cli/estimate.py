"""From a checkpoint and domains' files to an effect, the curvature beside it, and what was assumed."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commute_verify.cli.asked import domain_paths, numbers, targets
from commute_verify.cli.curvature import Curvature, largest_curvature
from commute_verify.cli.domain_files import Cut, DomainFile
from commute_verify.cli.predicting import halved
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch import Tensor

    from commute_verify.checkpoints import Checkpoint
    from commute_verify.criterion import AdamPreconditioner, OrderEffect

BATCHES, CONTEXT = 100, 256


@dataclass(frozen=True, eq=False)
class Measured:
    """An effect with its checkpoint: ``curvature`` is None, or why it is not known stands in ``uncurved``."""

    checkpoint: Checkpoint
    effect: OrderEffect
    curvature: Curvature | None
    uncurved: str
    preconditioner: AdamPreconditioner | None
    batches: Mapping[str, list[Tensor]]


@dataclass(frozen=True)
class Asked:
    """What is asked of every checkpoint of a command: domains, targets and how much of them."""

    domains: dict[str, DomainFile]
    targets: dict[str, dict[str, float]] | None
    weights: dict[str, float] | None
    batches: int | None
    budget: str | int | None
    options: argparse.Namespace

    @classmethod
    def of(cls, options: argparse.Namespace) -> Asked:
        """From a command's options. Raises CommuteError for what does not fit together."""
        from commute_verify.criterion import checked

        files = {name: DomainFile(name, path) for name, path in domain_paths(options.domain).items()}
        aims = checked.targets(targets(options.target), list(files))
        weights = None
        if options.weights is not None:
            weights = checked.full_mixture(
                numbers(options.weights, f"--weights {options.weights!r}"), list(files)
            )
        until, budget = options.until_resolved, options.budget
        if bool(until) != (budget is not None) or (until and options.batches):
            raise CommuteError(
                "give --until-resolved and --budget together (a time such as 10m, or gradient passes), or "
                "--batches"
            )
        spent = int(budget) if budget is not None and budget.isdecimal() else budget
        return cls(files, aims, weights, options.batches, spent, options)

    def mixture(self) -> dict[str, float]:
        """The run's weights, or all domains alike."""
        return self.weights or dict.fromkeys(self.domains, 1.0 / len(self.domains))


def read(name: str, asked: Asked) -> Checkpoint:
    """The checkpoint on its device."""
    import torch

    from commute_verify.checkpoints import read_checkpoint

    options = asked.options
    require("transformers", "gpt2")
    say(options, f"reading {name}")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CommuteError(f"--device {device}: not here; give cpu, or another") from error
    return read_checkpoint(
        name,
        tokenizer=options.tokenizer,
        config=options.config,
        exact_attention=options.method not in ("auto", "finite-difference"),
        device=device,
    )


class Tokenised:
    """Domains' batches, kept while checkpoints have the same tokenizer."""

    def __init__(self) -> None:
        """Start with none."""
        self._held: dict[tuple[object, ...], dict[str, list[Tensor]]] = {}

    def of(self, checkpoint: Checkpoint, asked: Asked) -> dict[str, list[Tensor]]:
        """Every domain's batches, on the checkpoint's device; enough of them, or a CommuteError."""
        known = checkpoint.tokenizer.fingerprint
        name = (known, context_of(checkpoint, asked), vocabulary_of(checkpoint))
        if known is None or name not in self._held:
            self._held = {name: tokenised(checkpoint, asked)}
        return self._held[name]


def context_of(checkpoint: Checkpoint, asked: Asked) -> int:
    """The windows' length. Raises CommuteError for one that the model does not take."""
    longest = getattr(getattr(checkpoint.model, "config", None), "max_position_embeddings", None)
    context: int = asked.options.context or min(CONTEXT, longest or CONTEXT)
    if context < 2 or (longest and context > longest):
        raise CommuteError(f"--context {context}; the model takes 2 to {longest or 'more'} tokens")
    return context


def vocabulary_of(checkpoint: Checkpoint) -> int:
    """How many tokens the model knows."""
    embedding: Any = checkpoint.model.get_input_embeddings()  # type: ignore[operator]
    return int(embedding.num_embeddings)


def tokenised(checkpoint: Checkpoint, asked: Asked) -> dict[str, list[Tensor]]:
    """Every domain's batches, on the checkpoint's device; enough of them, or a CommuteError."""
    options, context = asked.options, context_of(checkpoint, asked)
    cut = Cut(context, options.batch_size, options.read, options.seed)
    vocabulary = vocabulary_of(checkpoint)
    needed = asked.batches or BATCHES
    found = {}
    for name, file in asked.domains.items():
        say(options, f"tokenising {file.path}")
        batches = cut.batches(file, checkpoint.tokenizer, vocabulary)
        if asked.budget is None and len(batches) < needed:
            raise CommuteError(
                f"domain {name!r}: {file.path} gives {len(batches)} batches of {options.batch_size} windows "
                f"of {context} tokens, and {needed} are needed; give more text, or a smaller --batches, "
                "--batch-size or --context"
            )
        found[name] = [batch.to(checkpoint.device) for batch in batches]
    return found


def measure(checkpoint: Checkpoint, asked: Asked, texts: Tokenised | None = None) -> Measured:
    """The effect at a checkpoint; progress on stderr, unless it is quiet."""
    from commute_verify.criterion import order_effect

    options = asked.options
    data = (texts or Tokenised()).of(checkpoint, asked)
    if getattr(options, "predictor", "local") != "local":
        halved(asked, data)
    D = None if options.plain else checkpoint.preconditioner
    amount: dict[str, Any] = {"batches": asked.batches or BATCHES}
    if asked.budget is not None:
        amount = {"until": "resolved", "budget": asked.budget}
    effect = order_effect(
        checkpoint.model,
        checkpoint.loss_fn,
        data,
        targets=asked.targets,
        method=options.method,
        preconditioner=D,
        seed=options.seed,
        progress=not options.quiet,
        **amount,
    )
    at = "" if checkpoint.step is None else f", step {checkpoint.step}"
    notes = (f"checkpoint: {checkpoint.kind}{at}", *checkpoint.notes, field(checkpoint, D), *effect.notes)
    curvature, why = None, ""
    if getattr(options, "window", None) is not None:
        say(options, "measuring the largest curvature")
        first = {name: batches[0] for name, batches in data.items()}
        try:
            curvature = largest_curvature(checkpoint, first, asked.mixture(), D, options.seed)
        except CommuteError as error:
            why = str(error)
    return Measured(checkpoint, dataclasses.replace(effect, notes=notes), curvature, why, D, data)


def field(checkpoint: Checkpoint, preconditioner: AdamPreconditioner | None) -> str:
    """Which field the effect is of, in words."""
    if preconditioner is not None:
        return "preconditioned by Adam's second moments: flow time is steps × lr of Adam"
    if checkpoint.optimizer_state is not None:
        return "plain gradients, though the run trains with Adam (--plain)"
    return "plain gradients: the checkpoint holds no state of Adam"


def require(package: str, extra: str) -> None:
    """Refuse, and say what to install, where a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise CommuteError(f"the package {package} is not installed: pip install 'commute_verify[{extra}]'")


def say(options: argparse.Namespace, text: str) -> None:
    """A line of progress on stderr."""
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)
