"""results.json of a study whose truth is known: two quadratic losses trained in exact gradient steps.

L_k(θ) = ½ (θ − c_k)ᵀ A_k (θ − c_k), so that H_k = A_k and g_k = A_k (θ − c_k). Nothing of the package is
used: schedules, brackets and steps are written out here a second time.
"""

import json
from functools import cache

import numpy as np

DOMAINS = ("en", "ru")
LR = 0.01
WINDOWS = (2, 8, 30)
DELTAS = {"0.5": (0.15, 0.3, 0.45), "0.9": (0.03, 0.06, 0.09)}
MIDDLE = {"0.5": 0.3, "0.9": 0.06}
CHECKPOINTS = (20, 60, 120, 200)
SEEDS = 3
TAIL = 10
TARGETS = {"en": (1.0, 0.0), "ru": (0.0, 1.0), "mix": (0.5, 0.5)}


class Quadratics:
    """Both losses, and θ after steps with given weights; D is the preconditioner of every step."""

    def __init__(self, seed=0, dimension=5, D=None, alike=False):
        draw = np.random.default_rng(seed)
        self.A = []
        for _ in DOMAINS:
            basis = np.linalg.qr(draw.normal(size=(dimension, dimension)))[0]
            self.A.append(
                np.eye(dimension) if alike else basis @ np.diag(0.5 ** np.arange(dimension)) @ basis.T
            )
        self.c = draw.normal(size=(2, dimension))
        self.start = 3 * draw.normal(size=dimension)
        self.D = np.ones(dimension) if D is None else D

    def losses(self, theta):
        return [0.5 * (theta - c) @ A @ (theta - c) for A, c in zip(self.A, self.c, strict=True)]

    def gradients(self, theta, shift=0.0):
        return [A @ (theta - c - shift) for A, c in zip(self.A, self.c, strict=True)]

    def trained(self, theta, weights, steps, shift=0.0):
        for _ in range(steps):
            g = self.gradients(theta, shift)
            theta = theta - LR * self.D * (weights[0] * g[0] + weights[1] * g[1])
        return theta

    def bracket(self, theta, D):
        """D (H_2 D g_1 − H_1 D g_2): what 1 first does to θ, for each unit of area."""
        g = self.gradients(theta)
        return D * (self.A[1] @ (D * g[0]) - self.A[0] @ (D * g[1]))

    def P(self, theta, D, target):
        g = self.gradients(theta)
        return self.bracket(theta, D) @ (target[0] * g[0] + target[1] * g[1])


def effect(model, theta, D, draw, noise):
    """An order effect as JSON: the exact P of the model in four replicates, plus noise."""
    replicates = 4
    P = np.zeros((replicates, len(TARGETS), 2, 2))
    for t, target in enumerate(TARGETS.values()):
        value = model.P(theta, D, target)
        spread = noise * abs(value) * draw.normal(size=replicates)
        P[:, t, 0, 1] = value + spread - spread.mean()
    P[:, :, 1, 0] = -P[:, :, 0, 1]
    g = model.gradients(theta)
    slopes = [[(D * gk) @ (w[0] * g[0] + w[1] * g[1]) for gk in g] for w in TARGETS.values()]
    return {
        "format": "commute_verify.order_effect",
        "version": 1,
        "domains": list(DOMAINS),
        "mixing": {name: dict(zip(DOMAINS, w, strict=True)) for name, w in TARGETS.items()},
        "cost": {
            "gradient_passes": 1,
            "hvp_passes": 1,
            "hvps_per_estimate": 2,
            "evaluations": 1,
            "seconds": 0.0,
            "peak_bytes": 0,
        },
        "looks": 0,
        "notes": [],
        "P_replicates": P.tolist(),
        "slope_replicates": [slopes] * replicates,
        "rounding": np.zeros((len(TARGETS), 2, 2)).tolist(),
        "method": "double-backward",
        "stopped": "all batches are used",
    }


def branch(model, theta, weights, step, window, delta, order, seed, wobble):
    """The losses after both stages and after the tail; data of another seed have other centres."""
    shift = wobble * np.random.default_rng((seed, step)).normal(size=theta.size)
    lead = {"12": delta, "21": -delta, "base": 0.0}[order]
    stages = [(weights[0] + s * lead, weights[1] - s * lead) for s in (1, -1)]
    for stage in stages:
        theta = model.trained(theta, stage, window, shift)
    after = model.trained(theta, weights, TAIL, shift)

    def named(values):
        return dict(zip(DOMAINS, map(float, values), strict=True))

    return {
        "step": step,
        "window": window,
        "delta": 0.0 if order == "base" else delta,
        "order": order,
        "seed": seed,
        "tokens": named(2 * window * 64 * np.array(weights)),
        "flow_time": named(2 * window * LR * np.array(weights)),
        "loss": named(model.losses(theta)),
        "tail": {"steps": TAIL, "loss": named(model.losses(after))},
    }


def run(model, weights, windows, wobble, noise, other):
    """A base run with its checkpoints and branches."""
    draw = np.random.default_rng(7)
    key = f"{weights[0]:g}"
    theta, at = model.start, 0
    curve, checkpoints, branches = [], [], []
    for step in CHECKPOINTS:
        theta, at = model.trained(theta, weights, step - at), step
        losses = dict(zip(DOMAINS, map(float, model.losses(theta)), strict=True))
        g = model.gradients(theta)
        norms = [float(np.linalg.norm(each)) for each in g]
        curve.append({"step": step, "loss": losses})
        checkpoints.append(
            {
                "step": step,
                "lr": LR,
                "loss": losses,
                "effects": {
                    "plain": effect(model, theta, np.ones_like(theta), draw, noise),
                    "adam": effect(model, theta, other, draw, noise),
                },
                "gradients": {
                    "cosine": float(g[0] @ g[1] / (norms[0] * norms[1])),
                    "norms": dict(zip(DOMAINS, norms, strict=True)),
                },
                "curvature": {"plain": 1.0, "adam": 1.0},
                "cost": {},
            }
        )
        for window in windows:
            longest = window == max(windows)
            for seed in range(SEEDS if longest else 1):
                deltas = DELTAS[key] if longest and seed == 0 else (MIDDLE[key],)
                args = (model, theta, weights, step, window)
                branches.append(branch(*args, 0.0, "base", seed, wobble))
                for delta in deltas:
                    branches += [branch(*args, delta, order, seed, wobble) for order in ("12", "21")]
    return {
        "weights": dict(zip(DOMAINS, weights, strict=True)),
        "curve": curve,
        "checkpoints": checkpoints,
        "branches": branches,
    }


@cache
def _text(seed, windows, wobble, noise, preconditioned, alike):
    scales = np.array([4.0, 0.25, 2.0, 0.5, 3.0])
    model = Quadratics(seed, D=scales if preconditioned else None, alike=alike)
    runs = [run(model, weights, windows, wobble, noise, scales) for weights in ((0.5, 0.5), (0.9, 0.1))]
    return json.dumps(
        {
            "format": "commute_verify gpt2 study",
            "version": 1,
            "settings": {"name": "quadratic"},
            "domains": list(DOMAINS),
            "data": {
                name: {"train_tokens": 1000, "validation_tokens": 100, "bytes_per_token": size}
                for name, size in zip(DOMAINS, (3.0, 4.0), strict=True)
            },
            "parameters": 5,
            "planned": {"branches": sum(len(each["branches"]) for each in runs)},
            "runs": runs,
        }
    )


def study(seed=0, windows=WINDOWS, wobble=0.01, noise=0.01, preconditioned=False, alike=False):
    """results.json as a dict, fresh on every call.

    ``preconditioned``: steps are taken with the scales that the Adam bracket knows. ``alike``: both losses
    have the unit Hessian. ``wobble``: how far the data of a seed are off; ``noise``: the relative error of P.
    """
    return json.loads(_text(seed, windows, wobble, noise, preconditioned, alike))


def with_excess(results, excess):
    """The results with every loss replaced: 3 at the base, and 3 + excess(branch, domain) elsewhere."""
    for run_ in results["runs"]:
        for each in run_["branches"]:
            for losses in (each["loss"], each["tail"]["loss"]):
                for name in losses:
                    losses[name] = 3.0 + (0.0 if each["order"] == "base" else excess(each, name))
    return results
