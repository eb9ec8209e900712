"""What an estimate says: P with errors, which domain to put first, and what a schedule would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.criterion.answers import (
    Cost,
    ExcessLoss,
    Preference,
    Tilt,
    Violation,
    preference,
    violation,
)
from commute_verify.criterion.effect_json import dump, load
from commute_verify.criterion.noise import noise_effect
from commute_verify.criterion.rendering import as_html, as_text
from commute_verify.criterion.schedule_area import areas
from commute_verify.criterion.statistics import half_width, holm, look_factor, mean_and_stderr, p_values
from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class OrderEffect:
    """The order criterion of every pair of domains for every target, from independent replicates.

    P(L_i, L_j; L) = ⟨H_j g_i − H_i g_j, ∇L⟩. ``P[target][i, j] > 0`` says that i before j ends with a higher
    loss, so put j first. Units: loss per (flow time)²; with a preconditioner, per (its flow time)².

    ``P_replicates`` (R, T, K, K) and ``slope_replicates`` (R, T, K), ⟨g_k, ∇L⟩, are independent along R and
    unbiased where all batches of a domain have one weight. Else each uses the weights of the batches before
    it as well: its bias is of order 1/(batches so far), and their dependence of the same order. Every
    standard error here is theirs, with R − 1 degrees of freedom. A P below ``rounding`` (T, K, K) may be
    arithmetic and not data, and is never resolved. Made by ``order_effect``.
    Raises CommuteError when built from shapes that do not fit, targets that are no mixtures of
    the domains, or a P that is not finite and antisymmetric.
    """

    domains: tuple[str, ...]
    mixing: Mapping[str, Mapping[str, float]]
    P_replicates: Array
    slope_replicates: Array
    cost: Cost
    method: str
    looks: int = 0
    stopped: str = "all batches are used"
    notes: tuple[str, ...] = ()
    rounding: Array = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self) -> None:
        """Hold the effect to its algebra."""
        T, K = len(self.mixing), len(self.domains)
        for name in ("P_replicates", "slope_replicates", "rounding"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        P, slopes = self.P_replicates, self.slope_replicates
        R = len(P) if P.ndim else 0
        if len(set(self.domains)) < K or self.looks < 0:
            raise CommuteError(
                f"domains {self.domains}, looks {self.looks}; each domain once and at least 0 looks were "
                "expected"
            )
        mixing = {
            name: checked.mixture(weights, self.domains, f"target {name!r}")
            for name, weights in self.mixing.items()
        }
        object.__setattr__(self, "mixing", mixing)
        if K < 2 or T < 1 or R < 2 or (P.shape, slopes.shape) != ((R, T, K, K), (R, T, K)):
            raise CommuteError(
                f"replicates of shapes {P.shape} and {slopes.shape} for {T} targets and {K} domains; "
                "(R, T, K, K) and (R, T, K) with R ≥ 2 were expected"
            )
        if not (np.isfinite(P).all() and np.isfinite(slopes).all() and np.array_equal(P, -P.swapaxes(2, 3))):
            raise CommuteError("a P that is not finite and antisymmetric")
        if self.rounding.shape not in ((), (T, K, K)) or not (self.rounding >= 0).all():
            raise CommuteError(
                f"rounding of shape {self.rounding.shape}; (T, K, K), at least 0, was expected"
            )
        object.__setattr__(self, "rounding", _frozen(np.broadcast_to(self.rounding, (T, K, K))))

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets."""
        return tuple(self.mixing)

    @property
    def P(self) -> dict[str, Array]:
        """(K, K) for each target, antisymmetric."""
        return dict(zip(self.targets, mean_and_stderr(self.P_replicates)[0], strict=True))

    @property
    def stderr(self) -> dict[str, Array]:
        """The standard error of P, (K, K) for each target."""
        return dict(zip(self.targets, mean_and_stderr(self.P_replicates)[1], strict=True))

    def prefer_first(
        self, one: str, other: str, target: str | None = None, *, alpha: float = 0.05
    ) -> Preference:
        """Which of two domains to train first for the target (the only one, or "mixture", by default).

        ``resolved`` is False where the sign is not: then ``first`` is only the likelier of the two.
        """
        i, j, t = self._domain(one), self._domain(other), self._target(target)
        if i == j:
            raise CommuteError(f"prefer_first({one!r}, {other!r}); give two different domains")
        alpha = checked.level(alpha)
        name = self.targets[t]
        value, error = float(self.P[name][i, j]), self.stderr[name][i, j]
        first, later = (other, one) if value > 0 else (one, other)
        p = float(self._adjusted()[t, i, j])
        size = abs(value), float(half_width(error, len(self.P_replicates), alpha))
        return preference(first, later, name, p, size, alpha, bool(self._resolved(alpha)[t, i, j]))

    @property
    def alike(self) -> bool:
        """Whether the replicates differ by no more than roundoff, as where batches are repeated."""
        mean, stderr = mean_and_stderr(self.P_replicates)
        return bool(np.any(mean) and np.all(stderr <= 1e-10 * np.abs(mean).max()))

    def unresolved(self, alpha: float = 0.05) -> int:
        """How many pairs and targets have no resolved sign."""
        return int((~self._resolved(checked.level(alpha))[:, *np.triu_indices(len(self.domains), k=1)]).sum())

    def tilt(self, weights: Mapping[str, float]) -> Tilt:
        """P(L_i − L_j, Σ_k w_k L_k; L) = Σ_k w_k (P_ik − P_jk) for a run with these weights.

        A positive entry (i, j): a little more of i now and less later, at j's cost, ends with a higher loss.
        """
        mean, stderr = mean_and_stderr(_tilted(self.P_replicates, self._weights(weights), -1))
        return Tilt(dict(zip(self.targets, mean, strict=True)), dict(zip(self.targets, stderr, strict=True)))

    def optimality(self, weights: Mapping[str, float], *, alpha: float = 0.05) -> list[Violation]:
        """The pairs, both with weight above 0, that violate Corollary 3.2(b), and which way to move.

        The condition is the corrected one, for a loss at the end of the window: P(L_i − L_j, Σ w_k L_k; L) is
        0 wherever both weights are active. Only resolved violations are listed (Holm over pairs and targets).
        """
        w, alpha = self._weights(weights), checked.level(alpha)
        replicates, floor = _tilted(self.P_replicates, w, -1), _tilted(self.rounding, w, 1)
        mean, stderr = mean_and_stderr(replicates)
        half = half_width(stderr, len(replicates), alpha)
        raw = p_values(replicates) * look_factor(self.looks)
        pairs = [
            (t, i, j)
            for t in range(len(self.targets))
            for i, j in combinations(np.flatnonzero(w > 0).tolist(), 2)
        ]
        found = []
        for at, p in zip(pairs, holm([float(raw[at]) for at in pairs]), strict=True):
            if p < alpha and abs(mean[at]) > floor[at]:
                t, i, j = at
                earlier, later = (j, i) if mean[at] > 0 else (i, j)
                found.append(
                    violation(
                        self.targets[t],
                        self.domains[earlier],
                        self.domains[later],
                        (abs(float(mean[at])), float(half[at])),
                        float(stderr[at]),
                        p,
                        alpha,
                    )
                )
        return found

    def excess_loss(self, schedule: WeightSchedule, lr: float | Sequence[float]) -> dict[str, ExcessLoss]:
        """The loss after the schedule less that after constant weights with the same tokens.

            L(θ_w) − L(θ_const) ≈ −Σ_k ΔW_k ⟨g_k, ∇L⟩ + Σ_{i<j} A_ij P(L_i, L_j; L)

        Durations are steps; ``lr`` is a number or one per step, and W = Σ lr · w is flow time. With a
        constant lr the totals agree and the first term is 0; it is kept apart in the result. Left out,
        beside O(T³): the symmetric second-order terms, which vanish when ΔW does, and those of discrete
        steps, smaller than the area's by the number of steps in a stage.
        """
        gap, area = areas(schedule, self.domains, lr)
        first = 0.0 - np.einsum("k,rtk->rt", gap, self.slope_replicates)
        second = 0.5 * np.einsum("ij,rtij->rt", area, self.P_replicates)
        parts = [np.stack(mean_and_stderr(x)).T.tolist() for x in (first + second, first, second)]
        return {
            name: ExcessLoss(total[0], total[1], (one[0], one[1]), (two[0], two[1]))
            for name, total, one, two in zip(self.targets, *parts, strict=True)
        }

    noise = noise_effect

    def to_json(self) -> str:
        """The whole effect as JSON, which ``from_json`` reads back bitwise."""
        return dump(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; anything else is a CommuteError."""
        return cls(**load(text))

    def __repr__(self) -> str:
        """A sentence for each target's clearest pair, and the table of pairs."""
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def _adjusted(self) -> Array:
        raw = p_values(self.P_replicates) * look_factor(self.looks)
        pairs = combinations(range(len(self.domains)), 2)
        family = [(t, i, j) for i, j in pairs for t in range(len(self.targets))]
        adjusted = np.ones_like(raw)
        for (t, i, j), p in zip(family, holm([float(raw[at]) for at in family]), strict=True):
            adjusted[t, i, j] = adjusted[t, j, i] = p
        return adjusted

    def _resolved(self, alpha: float) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self._adjusted() < alpha) & (
            np.abs(mean_and_stderr(self.P_replicates)[0]) > self.rounding
        )
        return found

    def _weights(self, weights: Mapping[str, float]) -> Array:
        named = checked.full_mixture(weights, self.domains)
        return np.array([named[name] for name in self.domains])

    def _domain(self, name: str) -> int:
        if name not in self.domains:
            raise CommuteError(f"no domain {name!r}; the domains are {', '.join(self.domains)}")
        return self.domains.index(name)

    def _target(self, name: str | None) -> int:
        if name is None:
            name = self.targets[0] if len(self.targets) == 1 else "mixture"
            if name not in self.targets:
                raise CommuteError(
                    f"{len(self.targets)} targets, none called mixture; name one with target=: "
                    f"{', '.join(self.targets)}"
                )
        if name not in self.targets:
            raise CommuteError(f"no target {name!r}; the targets are {', '.join(self.targets)}")
        return self.targets.index(name)


def _frozen(array: Array) -> Array:
    """A read-only float64 copy."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def _tilted(P: Array, weights: Array, sign: int) -> Array:
    """Σ_k w_k (P_ik + sign · P_jk) over the last two axes."""
    against = P @ weights
    found: Array = against[..., :, None] + sign * against[..., None, :]
    return found
