"""Every order of one block per domain, run exactly: the oracle that a planned order is held against."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.flows.affine import Quadratics
from experiments.quadratic.problems import Problem

Array = NDArray[np.float64]


class Orders(NamedTuple):
    """All orders (K!, K) of K domains; ``parents[r][k]`` are the orders of r domains that k goes on."""

    orders: NDArray[np.int8]
    parents: tuple[tuple[NDArray[np.int64], ...], ...]

    def find(self, order: tuple[int, ...]) -> int:
        """The row of an order."""
        return int((self.orders == np.array(order, np.int8)).all(axis=1).argmax())


@cache
def all_orders(K: int) -> Orders:
    """Every order of K domains, grown from the front.

    >>> all_orders(2).orders.tolist()
    [[1, 0], [0, 1]]
    """
    orders, parents = np.zeros((1, 0), np.int8), []
    for _ in range(K):
        free = [np.flatnonzero(~(orders == k).any(axis=1)) for k in range(K)]
        grown = [np.pad(orders[rows], ((0, 0), (0, 1)), constant_values=k) for k, rows in enumerate(free)]
        orders = np.concatenate(grown)
        parents.append(tuple(free))
    return Orders(orders, tuple(parents))


def every_order(problem: Problem, totals: Array, targets: Array) -> Array:
    """How much higher each target ends (M, K!), in every order, than with constant weights.

    ``targets`` (M, K) weigh the losses. Run prefix by prefix: the flow of a block is affine,
    θ → b + e^(−TA) (θ − b).
    """
    losses, start = problem.losses, problem.start
    constant = losses.flow((totals / totals.sum())[None], totals.sum()[None], start)
    moved = _ends(problem, totals) - constant
    return np.stack([_excess(losses, weights, constant, moved) for weights in targets])


def _ends(problem: Problem, totals: Array) -> Array:
    values, vectors = problem.spectra.values, problem.spectra.vectors
    shrink = (vectors * np.exp(-totals[:, None] * values)[:, None, :]) @ vectors.swapaxes(-1, -2)
    centers, positions = problem.losses.centers, problem.start[None]
    for level in all_orders(len(totals)).parents:
        ends = (centers[k] + (positions[rows] - centers[k]) @ shrink[k].T for k, rows in enumerate(level))
        positions = np.concatenate(list(ends))
    return positions


def _excess(losses: Quadratics, weights: Array, point: Array, moved: Array) -> Array:
    hessian, gradient = losses.mixture(weights, point)
    return np.asarray(moved @ gradient + 0.5 * ((moved @ hessian) * moved).sum(axis=1))
