"""The paper's intervention (eq. 9 and 10): one domain earlier, the other later, the same tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError
from commute_verify.schedules import WeightSchedule

Counts = NDArray[np.int64]
Order = Literal["12", "21", "base"]
ORDERS: tuple[Order, ...] = ("12", "21", "base")


@dataclass(frozen=True)
class Branch:
    """A short training from the checkpoint at step ``start``, then a ``tail`` at the base weights.

    Order "12" trains for ``window`` steps with (w_1 + δ, w_2 − δ) and for as many with (w_1 − δ, w_2 + δ),
    where 1 and 2 are the first two names of ``weights``; "21" the other way round; "base" keeps the base
    weights for 2 · ``window`` steps, has delta 0 and serves every δ. ``seed`` 0 goes on with the data where
    the checkpoint stopped, a further seed with data after it, the same for all orders.
    Raises CommuteError where the tilt leaves the simplex, and for other numbers that make no branch.

    >>> branch = Branch(100, {"en": 0.5, "ru": 0.5}, 0.25, 10, "21")
    >>> branch.schedule().weights.tolist()
    [[0.25, 0.75], [0.75, 0.25]]
    >>> branch.name
    '0.5-0.5_t100_w10_d0.25_21_s0'
    """

    start: int
    weights: Mapping[str, float]
    delta: float
    window: int
    order: Order
    seed: int = 0
    tail: int = 0

    def __post_init__(self) -> None:
        """Hold the branch to what can be run."""
        if self.order not in ORDERS:
            raise CommuteError(f"order {self.order!r}: give one of {', '.join(ORDERS)}")
        for name, least in (("start", 1), ("window", 1), ("seed", 0), ("tail", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise CommuteError(f"a branch with {name} {value!r}: give a whole number of at least {least}")
        if (self.order == "base") != (self.delta == 0):
            raise CommuteError(
                f"order {self.order!r} with delta {self.delta}: base has delta 0, the others another"
            )
        if self.delta < 0:
            raise CommuteError(f"delta {self.delta}: give one above 0, and the order 21 for the other way")
        if len(self.weights) < 2:
            raise CommuteError(f"weights {dict(self.weights)}: name at least two domains")
        self.schedule()

    @property
    def domains(self) -> tuple[str, ...]:
        """All domains; the first two are 1 and 2."""
        return tuple(self.weights)

    @property
    def steps(self) -> int:
        """Steps in all, the tail included."""
        return 2 * self.window + self.tail

    @property
    def name(self) -> str:
        """A name for files that no other branch of the same study has."""
        return (
            f"{run_name(self.weights)}_t{self.start}_w{self.window}_d{self.delta:g}_{self.order}_s{self.seed}"
        )

    def schedule(self) -> WeightSchedule:
        """The weights of the window, in steps, without the tail."""
        if self.order == "base":
            return WeightSchedule.constant(self.weights, float(2 * self.window))
        first, second = self.domains[:2]
        sign = 1 if self.order == "12" else -1
        return WeightSchedule.tilt(self.weights, first, second, sign * self.delta, float(self.window))

    def whole(self) -> WeightSchedule:
        """The weights of the window and of the tail."""
        window = self.schedule()
        if not self.tail:
            return window
        return window.then(WeightSchedule.constant(self.weights, float(self.tail)))

    def moved(self, cursor: Mapping[str, int], batch: int) -> dict[str, int]:
        """Where each domain's data start: at the checkpoint's cursor, past what earlier seeds could use."""
        return {name: at + self.seed * batch * self.steps for name, at in cursor.items()}

    def as_dict(self) -> dict[str, Any]:
        """The branch as plain data."""
        return asdict(self) | {"weights": dict(self.weights)}


def run_name(weights: Mapping[str, float]) -> str:
    """A name for the run with these base weights.

    >>> run_name({"en": 0.9, "ru": 0.1})
    '0.9-0.1'
    """
    return "-".join(f"{w:g}" for w in weights.values())


def tokens(counts: Counts, domains: Sequence[str], context: int) -> dict[str, int]:
    """Tokens of each domain in the sequences counted as (steps, K)."""
    return dict(zip(domains, (counts.sum(axis=0) * context).tolist(), strict=True))


def flow_time(counts: Counts, rates: Sequence[float], domains: Sequence[str]) -> dict[str, float]:
    """Flow time ∫γ w_k dt of each domain: Σ over steps of the learning rate times the domain's share.

    >>> flow_time(np.array([[1, 3], [2, 2]]), [0.5, 1.0], ("en", "ru"))
    {'en': 0.625, 'ru': 0.875}
    """
    if len(rates) != len(counts):
        raise CommuteError(f"{len(rates)} learning rates for {len(counts)} steps: give one a step")
    shares = counts / counts.sum(axis=1, keepdims=True)
    return {
        name: math.fsum(rate * share for rate, share in zip(rates, column, strict=True))
        for name, column in zip(domains, shares.T.tolist(), strict=True)
    }


def check_equal(branch: Branch, counts: Counts, base: Counts, rates: Sequence[float]) -> None:
    """Hold a branch to the tokens and the flow time of its base branch, domain by domain.

    ``counts`` and ``base`` are sequences of each domain in every step of the window, (steps, K). Raises
    CommuteError naming the domain: unequal tokens are no reordering, and unequal flow time has an effect of
    first order, which comes before any bracket.
    """
    for name, one, other in zip(branch.domains, counts.sum(axis=0), base.sum(axis=0), strict=True):
        if one != other:
            raise CommuteError(
                f"branch {branch.name} trains {one} sequences of {name}, and its base {other}: choose window "
                "and batch so that weight × batch × window is whole in each half"
            )
    found, expected = (flow_time(c, rates, branch.domains) for c in (counts, base))
    for name in branch.domains:
        if not math.isclose(found[name], expected[name], rel_tol=1e-9):
            raise CommuteError(
                f"branch {branch.name} trains {name} for {found[name]:.6g} of flow time, and its base for "
                f"{expected[name]:.6g}: keep the learning rate constant in the window (start after the "
                'warm-up, with decay "constant")'
            )
