"""results.json of a run, checked and typed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError
from experiments.gpt2 import names

Losses = Mapping[str, float]
Order = Literal["12", "21", "base"]
BRACKETS = ("plain", "adam")
"""The bracket of the plain gradient fields, and that of the fields preconditioned by Adam's state."""

MEAN = "mean"
"""The target that weighs all domains alike, whatever the effects call it."""

_AGAIN = "compute the run again"


@dataclass(frozen=True)
class Branch:
    """One run from a checkpoint: order "12" raises the first domain by ``delta`` for ``window`` steps first.

    ``loss`` is taken at the end of both stages and ``tail_loss`` after ``tail_steps`` more at the base
    weights (None where there was no tail); nats per token.
    """

    step: int
    window: int
    delta: float
    order: Order
    seed: int
    tokens: Mapping[str, float]
    flow_time: Mapping[str, float]
    loss: Losses
    tail_steps: int
    tail_loss: Losses | None

    def __post_init__(self) -> None:
        """Check order, window and losses."""
        if self.order not in ("12", "21", "base"):
            raise CommuteError(f"a branch of order {self.order!r}; 12, 21 or base was expected: {_AGAIN}")
        if self.window < 1 or (self.order != "base" and not self.delta > 0):
            raise CommuteError(
                f"a branch {self.order} with window {self.window} and delta {self.delta}; at least one step "
                f"and a tilt above 0 were expected: {_AGAIN}"
            )
        for losses in (self.loss, self.tail_loss or {}):
            if not all(math.isfinite(x) for x in losses.values()):
                raise CommuteError(
                    f"branch {self.order} at step {self.step} has losses {dict(losses)}; finite numbers were "
                    f"expected: {_AGAIN}"
                )

    def losses(self, tail: bool) -> Losses | None:
        """The losses after the window, or after the common tail."""
        return self.tail_loss if tail else self.loss


@dataclass(frozen=True)
class Checkpoint:
    """Where branches start: the learning rate, both brackets, and the gradients' norms and cosine.

    A norm or cosine is None where its estimate is lost in noise. ``curvature`` is the largest eigenvalue of
    the plain and of the preconditioned Hessian, where it was measured, and ``curvature_error`` the bound on
    its error, where there is one.
    """

    step: int
    lr: float
    loss: Losses
    effects: Mapping[str, OrderEffect]
    cosine: float | None
    norms: Mapping[str, float | None]
    curvature: Mapping[str, float]
    curvature_error: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """A base run of constant weights, its checkpoints, and the branches from those that are measured.

    ``unmeasured`` counts the branches of other checkpoints.
    """

    weights: Losses
    curve: tuple[tuple[int, Losses], ...]
    checkpoints: tuple[Checkpoint, ...]
    branches: tuple[Branch, ...]
    unmeasured: int = 0

    def checkpoint(self, step: int) -> Checkpoint:
        """The checkpoint at a step."""
        return next(point for point in self.checkpoints if point.step == step)

    def base_loss(self, step: int, window: int, tail: bool) -> dict[str, float] | None:
        """Mean losses over seeds at the end of the base branches; None where there are none."""
        found = [
            losses
            for b in self.branches
            if (b.step, b.window, b.order) == (step, window, "base")
            and (losses := b.losses(tail)) is not None
        ]
        return {name: fmean(losses[name] for losses in found) for name in self.weights} if found else None

    @property
    def left_out(self) -> int:
        """Branches that nothing is compared with: no base, no opposite order, or no criterion is there."""
        there = {(b.step, b.window, b.seed, b.order, b.delta) for b in self.branches}
        alone = [
            b
            for b in self.branches
            if b.order != "base"
            and not {
                (b.step, b.window, b.seed, "base", 0.0),
                (b.step, b.window, b.seed, "21" if b.order == "12" else "12", b.delta),
            }
            <= there
        ]
        return len(alone) + self.unmeasured

    @property
    def balanced(self) -> bool:
        """Whether all weights are the same."""
        return len(set(self.weights.values())) == 1


@dataclass(frozen=True)
class Results:
    """A preset's runs. "12" raises the first of ``domains`` first, and the second last.

    A study that goes on has fewer branches than ``planned``.
    """

    domains: tuple[str, str]
    bytes_per_token: Losses
    parameters: int
    data: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    planned: int | None
    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        """Check names, that there are two domains to compare, and that every branch stands there once."""
        names.check(self.domains)
        if len(self.domains) != 2 or not self.runs:
            raise CommuteError(
                f"results of {len(self.runs)} runs of domains {', '.join(self.domains)}; at least one run "
                "of two domains was expected: the comparison takes two, give a study of two"
            )
        for run in self.runs:
            _check_equal(run)
            twice = [
                key
                for key, count in Counter(
                    (b.step, b.window, b.delta, b.order, b.seed) for b in run.branches
                ).items()
                if count > 1
            ]
            if twice:
                raise CommuteError(f"branch {twice[0]} comes twice; once was expected: {_AGAIN}")

    @property
    def targets(self) -> tuple[str, ...]:
        """The losses compared: the two domains', and their mean."""
        return *self.domains, MEAN

    def mixing(self, target: str) -> dict[str, float]:
        """The target's weights over the domains."""
        if target == MEAN:
            return dict.fromkeys(self.domains, 0.5)
        return {name: float(name == target) for name in self.domains}

    def target_loss(self, losses: Losses, target: str) -> float:
        """The target's share of the domains' losses."""
        return sum(weight * losses[name] for name, weight in self.mixing(target).items())

    def name_in(self, effect: OrderEffect, target: str) -> str:
        """What an effect calls a target; raises CommuteError when it has none with its weights."""
        wanted = self.mixing(target)
        for name, weights in effect.mixing.items():
            if all(math.isclose(weights.get(d, 0.0), w, abs_tol=1e-6) for d, w in wanted.items()):
                return name
        raise CommuteError(
            f"no target with weights {wanted} in an effect of {', '.join(effect.mixing)}: measure it with one"
        )


def read(results: Mapping[str, Any]) -> Results:
    """Read results.json as a dict; raises CommuteError for anything that the comparison cannot use."""
    try:
        domains = tuple(results["domains"])
        return Results(
            domains,
            {name: float(results["data"][name]["bytes_per_token"]) for name in domains},
            int(results["parameters"]),
            results["data"],
            results["settings"],
            results.get("planned", {}).get("branches"),
            tuple(_run(run) for run in results["runs"]),
        )
    except CommuteError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CommuteError(
            f"results that do not have the expected form ({type(error).__name__}: {error}): {_AGAIN}"
        ) from error


def _check_equal(run: Run) -> None:
    """Hold every branch to its checkpoint's learning rate and to its base's tokens and flow time."""
    bases = {(b.step, b.window, b.seed): b for b in run.branches if b.order == "base"}
    for branch in run.branches:
        whole, lr = sum(branch.flow_time.values()), run.checkpoint(branch.step).lr
        if not math.isclose(whole, 2 * branch.window * lr, rel_tol=1e-4):
            raise CommuteError(
                f"a branch from step {branch.step} has flow time {whole:.6g} in {2 * branch.window} steps, "
                f"and its checkpoint the learning rate {lr:g}; a constant rate was expected: {_AGAIN}"
            )
        base = bases.get((branch.step, branch.window, branch.seed))
        at = f"step {branch.step}, window {branch.window}, seed {branch.seed}"
        if base is None:
            continue
        for what in ("tokens", "flow_time"):
            found, expected = getattr(branch, what), getattr(base, what)
            if any(not math.isclose(found[k], expected[k], rel_tol=1e-6) for k in expected):
                raise CommuteError(
                    f"branch {branch.order} at {at} has {what} {dict(found)}, its base {dict(expected)}; "
                    f"equal ones were expected: {_AGAIN}"
                )


def _run(run: Mapping[str, Any]) -> Run:
    checkpoints = tuple(_checkpoint(point) for point in run["checkpoints"])
    steps = {point.step for point in checkpoints}
    branches = tuple(_branch(branch) for branch in run["branches"] if branch["step"] in steps)
    return Run(
        run["weights"],
        tuple((int(point["step"]), point["loss"]) for point in run["curve"]),
        checkpoints,
        branches,
        len(run["branches"]) - len(branches),
    )


def _checkpoint(point: Mapping[str, Any]) -> Checkpoint:
    effects = {name: OrderEffect.from_json(json.dumps(point["effects"][name])) for name in BRACKETS}
    return Checkpoint(
        int(point["step"]),
        float(point["lr"]),
        point["loss"],
        effects,
        point["gradients"]["cosine"],
        point["gradients"]["norms"],
        point.get("curvature", {}),
        point.get("curvature_error", {}),
    )


def _branch(branch: Mapping[str, Any]) -> Branch:
    tail = branch.get("tail") or {"steps": 0}
    return Branch(
        int(branch["step"]),
        int(branch["window"]),
        float(branch["delta"]),
        branch["order"],
        int(branch["seed"]),
        branch["tokens"],
        branch["flow_time"],
        branch["loss"],
        int(tail["steps"]),
        tail["loss"] if tail["steps"] else None,
    )
