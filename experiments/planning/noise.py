"""Plans from noisy estimates: does the interval hold for the order that was chosen, and is it advised."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t

from commute_verify.planning import Resampling, plan_blocks
from experiments.planning.effects import antisymmetric, effect_of
from experiments.planning.settings import Settings
from experiments.planning.statistics import mean_of
from experiments.quadratic.problems import Stream, generator
from experiments.quadratic.statistics import plain, share_of


def noise(settings: Settings) -> dict[str, Any]:
    """For each K and size of P in standard errors: coverage and advice, beside those of a plain interval.

    The plain interval is Student's for the gain of the chosen order, as if it had not been chosen.
    """
    cells = []
    for K in settings.noisy_counts:
        for number, signal in enumerate(settings.signals):
            found = [_trial(settings, K, number, signal, trial) for trial in range(settings.trials)]
            advised = [one["truth"] for one in found if one["advised"]]
            shares = {
                key: share_of(sum(one[key] for one in found), len(found), settings.level)
                for key in ("covers", "plain_covers", "advised", "plain_advised")
            }
            optimism = mean_of([one["gain"] - one["truth"] for one in found], settings.level)
            cells.append(
                {"domains": K, "signal": signal, "advised_count": len(advised)}
                | {"good": sum(gain > 0 for gain in advised)}
                | {"optimism": optimism, "truth": mean_of([one["truth"] for one in found], settings.level)}
                | shares
            )
    return plain(
        {
            "trials": settings.trials,
            "replicates": settings.replicates,
            "level": settings.level,
            "cells": cells,
        }
    )


def _trial(settings: Settings, K: int, number: int, signal: float, trial: int) -> dict[str, Any]:
    """One estimate, whose entries have a standard error of 1, and the plan that it leads to."""
    rng = generator(settings.problems(), Stream.FIXED, K, number, trial)
    R = settings.replicates
    P = signal * antisymmetric(rng, K, K)
    effect = effect_of(P, np.sqrt(R) * antisymmetric(rng, R, K, K))
    alpha = 1 - settings.level
    how = Resampling(draws=settings.resamples, alpha=alpha, seed=trial)
    plan = plan_blocks(effect, dict.fromkeys(effect.domains, 1.0), resampling=how)
    at = [effect.domains.index(name) for name in plan.order]
    first, then = np.triu_indices(K, k=1)
    chosen = np.array(at)[first], np.array(at)[then]
    truth = -0.5 * float(P[chosen].sum())
    each = -0.5 * effect.P_replicates[:, 0][:, *chosen].sum(axis=1)
    half = float(t.ppf(1 - alpha / 2, R - 1) * each.std(ddof=1) / np.sqrt(R))
    sure = plan.robustness
    return {
        "truth": truth,
        "gain": plan.gain,
        "covers": sure.low <= truth <= sure.high,
        "plain_covers": abs(plan.gain - truth) <= half,
        "advised": plan.recommended,
        "plain_advised": plan.gain > half,
    }
