"""Several targets at once: a tilt that improves every one of them, or the proof that there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.effect import OrderEffect
from commute_verify.errors import CommuteError
from commute_verify.planning import given
from commute_verify.planning.resampling import Resampling, half_width
from commute_verify.planning.tilt_program import TiltBounds
from commute_verify.planning.tilts import TiltWindow, shape
from commute_verify.planning.window import Window
from commute_verify.schedules import WeightSchedule

Array = NDArray[np.float64]

SMALL = 1e-6
"""A share below this is what the solver's tolerance leaves of zero."""


@dataclass(frozen=True, eq=False)
class ParetoTilt:
    """A tilt within bounds that improves every target, or the proof that at second order there is none.

    The tilt gives each target at least ``share`` of the gain of the best tilt for it alone, and no tilt can
    give more than ``bound`` to all: the targets weighted by ``certificate`` (at least 0, sum 1, each target
    first divided by its own best gain) gain at most that. Where ``bound`` is 0 within the solver's
    tolerance, ``improves`` is False: constant weights are Pareto stationary.
    ``gains`` are (value, half width) per target: the intervals hold together, at level 1 − alpha, for all
    targets and whichever tilt is chosen. ``together`` is the share of draws in which all targets gain.
    """

    weights: Mapping[str, float]
    window: TiltWindow
    share: float
    bound: float
    gains: Mapping[str, tuple[float, float]]
    certificate: Mapping[str, float]
    together: float
    alpha: float

    @property
    def improves(self) -> bool:
        """Whether the tilt improves every target, as estimated."""
        return self.share > SMALL

    @property
    def recommended(self) -> bool:
        """Whether it improves every target beyond luck; if not, leave it as it is."""
        return self.improves and all(value > width for value, width in self.gains.values())

    @property
    def schedule(self) -> WeightSchedule:
        """The tilt where it is recommended, else constant weights, in steps."""
        if not self.recommended:
            return WeightSchedule.constant(self.weights, self.window.steps)
        rest = self.window.steps - self.window.switch
        return WeightSchedule.piecewise([(self.window.switch, self.window.early), (rest, self.window.late)])

    def __str__(self) -> str:
        """The tilt with its gains, or the certificate, in words."""
        weighed = ", ".join(f"{w:.3g} of {name}" for name, w in self.certificate.items() if w > SMALL)
        if not self.improves:
            return (
                f"No tilt within the bounds improves {', '.join(self.gains)} all at once: whatever is moved, "
                f"{weighed} (each in units of its own best gain) gains at most {self.bound:.2g} together."
            )
        gains = ", ".join(
            f"{name} {value:.3g} (± {width:.2g})" for name, (value, width) in self.gains.items()
        )
        begin = "Every target gains if," if self.recommended else "Leave the weights as they are. Likeliest:"
        return (
            f"{begin} {self.window}. Gains: {gains}, each at least {self.share:.0%} of what it can gain "
            f"alone; no tilt gives all more than {self.bound:.0%}. All gain in {self.together:.0%} of draws."
        )


def pareto_tilt(
    effect: OrderEffect,
    weights: Mapping[str, float],
    steps: int,
    max_tilt: float,
    targets: Sequence[str] | None = None,
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    lr: float = 1.0,
    resampling: Resampling | None = None,
) -> ParetoTilt:
    """The tilt w ± δ of a window that improves the targets (all, by default) most evenly.

        maximise s   over |δ_k| ≤ bound_k, Σδ = 0,   with   gain_t(δ) ≥ s · max gain_t   for every target t

    A linear program in (δ, s). If its value is 0, its multipliers λ are the proof: Σ_t λ_t gain_t(δ) ≤ 0 for
    every δ, since constant weights satisfy Corollary 3.2(b) for the target Σ λ_t L_t. Both are checked apart
    from the solver: ``share`` from the tilt alone, ``bound`` from λ alone. Raises CommuteError as
    ``plan_tilt`` does, and where no tilt moves any target.
    """
    chosen = [given.target_of(effect, name) for name in (effect.targets if targets is None else targets)]
    if not chosen or len(set(chosen)) < len(chosen):
        raise CommuteError(f"targets {targets}; name at least one target, each once")
    how = (resampling or Resampling()).shared(effect.looks, len(chosen))
    w, rate = given.on_simplex(effect, weights), given.positive(lr, "lr")
    bounds = TiltBounds.around(effect.domains, w, max_tilt, dict(limits or {}))
    (T,) = given.split(steps, 1)
    windows = [Window.of(effect, name, w, T, rate, bounds, "half", how) for name in chosen]
    alone = np.array([float(window.greatest(window.gain)) for window in windows])
    if not alone.any():
        raise CommuteError("no tilt within the bounds moves any target at second order; widen the bounds")
    unit = np.where(alone > 0, alone, 1.0)
    gains = np.stack([window.gain for window in windows]) / unit[:, None]
    D, multipliers = most_even(gains, *bounds.box(T // 2, T))
    shares = gains @ D
    drawn = np.stack([(window.gain + window.errors) @ D for window in windows])
    level = how.alpha / len(chosen)
    widths = [half_width(window.greatest(window.errors), level, effect.looks) for window in windows]
    return ParetoTilt(
        dict(zip(effect.domains, w.tolist(), strict=True)),
        shape(effect.domains, w, T, T // 2, D),
        float(shares.min()),
        float(windows[0].greatest(multipliers @ gains)),
        {name: (float(s * u), x) for name, s, u, x in zip(chosen, shares, unit, widths, strict=True)},
        dict(zip(chosen, multipliers.tolist(), strict=True)),
        float(np.mean((drawn > 0).all(axis=0))),
        how.alpha,
    )


def most_even(gains: Array, below: Array, above: Array) -> tuple[Array, Array]:
    """D (K,) of the greatest smallest gain, and multipliers (targets,) that sum to 1, by scipy's HiGHS.

    ``gains`` is (targets, K); ΣD = 0 and −below ≤ D ≤ above.
    """
    from scipy.optimize import linprog

    targets, K = gains.shape
    size = float(max(below.max(), above.max()))
    found = linprog(
        np.append(np.zeros(K), -1.0),
        A_ub=np.hstack([-size * gains, np.ones((targets, 1))]),
        b_ub=np.zeros(targets),
        A_eq=np.append(np.ones(K), 0.0)[None],
        b_eq=[0.0],
        bounds=[*zip(-below / size, above / size, strict=True), (None, None)],
    )
    if found.status != 0:
        raise CommuteError(f"the solver gave up on the Pareto tilt ({found.message}); scale the bounds")
    multipliers = np.maximum(-found.ineqlin.marginals, 0.0)
    D = np.clip(size * found.x[:K], -below, above)
    return D, multipliers / multipliers.sum()
