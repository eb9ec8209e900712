"""What the noise of a run adds to an effect: numbers with errors, and whether they matter, in words."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from itertools import combinations
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.criterion.noise_replicate import TERMS
from commute_verify.criterion.rendering import columns, html_table
from commute_verify.criterion.statistics import half_width, mean_and_stderr
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.criterion.answers import Cost
    from commute_verify.criterion.effect import OrderEffect

Array = NDArray[np.float64]
MATTERS = 0.1
"""The share of P from which noise terms matter, unless another is asked for."""
HEAD = ("target", "i", "j", "P", "noise", "stderr", "share of P", "matters")
WIDTH = 100
"""Characters in a line of a sentence."""


class NoiseVerdict(NamedTuple):
    """Whether noise matters for a pair and a target.

    ``matters`` is None where that is not resolved. ``value`` ± ``stderr`` are the noise terms, which add to
    ``P``. ``at_least`` and ``at_most`` are the ends of their 1 − alpha Student interval, in size, over |P|;
    where the sign of P is not resolved, over half the width of its own interval. ``words`` says all this.
    """

    matters: bool | None
    value: float
    stderr: float
    P: float
    at_least: float
    at_most: float
    words: str


@dataclass(frozen=True, eq=False, repr=False)
class NoiseEffect:
    """What steps of size ``lr`` with noisy gradients add to P, for every pair and target.

    ``terms_replicates`` (R, T, K, K, 3) are the terms for lr = 1, independent along R: curvature
    tr(Σ_j H_i H_L), third derivative ½ D³L_i(Σ_j, ∇L) and covariance −½ (D_{g_i}Σ_j):H_L, each less its
    mirror image. They add to P, in its units: loss per (flow time)². Made by ``OrderEffect.noise``.
    """

    effect: OrderEffect
    targets: tuple[str, ...]
    lr: float
    terms_replicates: Array
    cost: Cost
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Hold the terms to their shape and algebra."""
        terms = np.array(self.terms_replicates, dtype=np.float64)
        K, T = len(self.effect.domains), len(self.targets)
        if terms.ndim != 5 or len(terms) < 2 or terms.shape[1:] != (T, K, K, len(TERMS)):
            raise CommuteError(
                f"noise terms of shape {terms.shape} for {T} targets and {K} domains; (R, T, K, K, "
                f"{len(TERMS)}) with R ≥ 2 was expected"
            )
        if not (np.isfinite(terms).all() and np.array_equal(terms, -terms.swapaxes(2, 3))):
            raise CommuteError("noise terms that are not finite and antisymmetric")
        terms.setflags(write=False)
        object.__setattr__(self, "terms_replicates", terms)
        object.__setattr__(self, "lr", learning_rate(self.lr))

    @property
    def value(self) -> dict[str, Array]:
        """The noise terms together, (K, K) for each target, antisymmetric."""
        return dict(zip(self.targets, self._together()[0], strict=True))

    @property
    def stderr(self) -> dict[str, Array]:
        """Their standard errors."""
        return dict(zip(self.targets, self._together()[1], strict=True))

    @property
    def terms(self) -> dict[str, dict[str, Array]]:
        """Each term by itself, (K, K) for each target."""
        mean = self.lr * self.terms_replicates.mean(axis=0)
        return {
            target: {name: mean[t, :, :, n] for n, name in enumerate(TERMS)}
            for t, target in enumerate(self.targets)
        }

    def at(self, lr: float) -> NoiseEffect:
        """The same at another learning rate: the terms are proportional to it."""
        return replace(self, lr=lr)

    def verdict(
        self,
        one: str,
        other: str,
        target: str | None = None,
        *,
        matters: float = MATTERS,
        alpha: float = 0.05,
    ) -> NoiseVerdict:
        """Whether the noise terms are more than the share ``matters`` of P, for two domains and a target."""
        preference = self.effect.prefer_first(one, other, target or self._only(), alpha=alpha)
        name = target or self._only()
        if name not in self.targets:
            raise CommuteError(f"no noise terms for {name!r}; there are some for {', '.join(self.targets)}")
        share = checked.real(matters)
        if share is None or not 0 < share < float("inf"):
            raise CommuteError(f"{checked.shown('matters', matters)}; give a share of P above 0, such as 0.1")
        i, j = self.effect.domains.index(one), self.effect.domains.index(other)
        value, error = float(self.value[name][i, j]), float(self.stderr[name][i, j])
        P = float(self.effect.P[name][i, j])
        half = float(half_width(np.asarray(error), len(self.terms_replicates), alpha))
        P_half = float(half_width(self.effect.stderr[name][i, j], len(self.effect.P_replicates), alpha))
        beside = abs(P) if preference.resolved else P_half
        low, high = max(0.0, abs(value) - half), abs(value) + half
        at_least, at_most = (_over(size, beside) for size in (low, high))
        answer = False if at_most <= share else True if at_least > share else None
        size = f"{value:.3g} ({100 * (1 - alpha):.4g}%: {value - half:.3g} to {value + half:.3g})"
        of = f"P({one}, {other}) = {P:.3g}{'' if preference.resolved else ', whose sign is not resolved'}"
        share_of = _shares(answer, at_least, at_most, preference.resolved)
        words = f"{_head(answer, self.lr, one, other, name)}: it adds {size} to {of}, {share_of}."
        return NoiseVerdict(answer, value, error, P, at_least, at_most, words)

    def __repr__(self) -> str:
        """A sentence for each pair and target, and the table."""
        asked = self._asked()
        table = columns([HEAD, *self._rows(asked)])
        said = (fill(found.words, WIDTH, subsequent_indent="  ") for *_, found in asked)
        return "\n".join([*said, "", *table])

    def _repr_html_(self) -> str:
        asked = self._asked()
        said = "".join(f"<p>{html.escape(found.words)}</p>" for *_, found in asked)
        return f"{said}{html_table(HEAD, self._rows(asked))}"

    def _asked(self) -> list[tuple[str, str, str, NoiseVerdict]]:
        return [
            (target, one, other, self.verdict(one, other, target))
            for target in self.targets
            for one, other in combinations(self.effect.domains, 2)
        ]

    def _rows(self, asked: list[tuple[str, str, str, NoiseVerdict]]) -> list[tuple[str, ...]]:
        told = {True: "yes", False: "no", None: "not resolved"}
        return [
            (
                target,
                one,
                other,
                f"{v.P:.3g}",
                f"{v.value:.3g}",
                f"{v.stderr:.2g}",
                _percent(_over(abs(v.value), abs(v.P))),
                told[v.matters],
            )
            for target, one, other, v in asked
        ]

    def _together(self) -> tuple[Array, Array]:
        return mean_and_stderr(self.lr * self.terms_replicates.sum(axis=-1))

    def _only(self) -> str:
        if len(self.targets) == 1:
            return self.targets[0]
        if "mixture" in self.targets:
            return "mixture"
        raise CommuteError(
            f"{len(self.targets)} targets, none called mixture; name one with target=: "
            f"{', '.join(self.targets)}"
        )


def _head(answer: bool | None, lr: float, one: str, other: str, target: str) -> str:
    """What is found, before the numbers."""
    noise, order = f"at lr {lr:.3g} the noise of the minibatches", f"the order of {one} and {other}"
    if answer is None:
        return f"It is not resolved whether {noise} matters for {order} and {target} loss (give more batches)"
    return f"A{noise[1:]} {'matters' if answer else 'does not matter'} for {order} and {target} loss"


def _shares(answer: bool | None, at_least: float, at_most: float, resolved: bool) -> str:
    of = "P" if resolved else "the half-width of its interval"
    if answer is None:
        return f"between {_percent(at_least)} and {_percent(at_most)} of {of}"
    return f"at least {_percent(at_least)} of {of}" if answer else f"at most {_percent(at_most)} of {of}"


def _over(size: float, beside: float) -> float:
    return size / beside if beside else float("inf") if size else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 1 else f"{100 * share:.0f}%"


def learning_rate(lr: object) -> float:
    """A constant learning rate above 0."""
    number = checked.real(lr)
    if number is None or not 0 < number < float("inf"):
        raise CommuteError(f"{checked.shown('lr', lr)}; give the run's learning rate, a number above 0")
    return number
