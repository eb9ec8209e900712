"""What the transformer experiment is run with."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from commute_verify.errors import CommuteError
from experiments.positive import check_positive

LANGUAGES = 2


@dataclass(frozen=True)
class Settings:
    """Sizes, training, and the ladder of windows; windows are flow time.

    The model is a GPT-2 of ``layers`` × ``width`` on ``rows`` sequences of ``context`` tokens of each
    language, trained for ``steps`` of heavy-ball descent. ``windows`` (Δt, or ε of a tilt) ascend.
    ``tilt_even`` and ``tilt_skewed`` are (weight of language 1, δ). ``rtol`` is the integrator's tolerance,
    relative to the displacement, and ``nodes`` the Gauss–Legendre points of the line integral that an excess
    is taken from; everything is run again at ``loose`` times ``rtol`` with two nodes less to state its error.
    """

    seed: int = 4
    vocabulary: int = 32
    context: int = 16
    width: int = 16
    layers: int = 2
    heads: int = 2
    rows: int = 8
    steps: int = 60
    learning_rate: float = 0.1
    momentum: float = 0.9
    windows: tuple[float, ...] = tuple(float(f"{1e-5 * 3**k:.3g}") for k in range(9))
    tilt_even: tuple[float, float] = (0.5, 0.25)
    tilt_skewed: tuple[float, float] = (0.9, 0.05)
    rtol: float = 1e-10
    loose: float = 100.0
    nodes: int = 6

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive, a ladder that does not ascend, tilts off the simplex."""
        check_positive(self)
        if len(self.windows) < 2 or np.any(np.diff(self.windows) <= 0):
            raise CommuteError(f"windows are {self.windows}: expected at least two, ascending")
        for name in ("tilt_even", "tilt_skewed"):
            weight, delta = getattr(self, name)
            if delta > min(weight, 1 - weight):
                raise CommuteError(f"{name} is {weight, delta}: expected δ ≤ min(w, 1 − w)")
        if self.nodes < 3:
            raise CommuteError(f"nodes is {self.nodes}: expected at least 3")
        if self.momentum >= 1 or self.width % self.heads or self.vocabulary < 4 or self.context < 2:
            raise CommuteError(
                f"momentum {self.momentum}, width {self.width}, heads {self.heads}, vocabulary "
                f"{self.vocabulary}, context {self.context}: expected momentum < 1, a width that the heads "
                "divide, at least 4 words and 2 tokens"
            )

    @classmethod
    def default(cls) -> Self:
        """The scale of the report: about a minute."""
        return cls()

    @classmethod
    def smoke(cls) -> Self:
        """Seconds, for a look at the whole path: one layer and a short ladder."""
        return cls(
            vocabulary=16,
            context=8,
            width=8,
            layers=1,
            rows=4,
            steps=40,
            windows=tuple(float(f"{1e-4 * 8**k:.3g}") for k in range(3)),
            nodes=4,
        )
