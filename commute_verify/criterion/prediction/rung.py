"""What one replicate of one predictor finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion.prediction.answer import Verdict

Array = NDArray[np.float64]


class Found(NamedTuple):
    """Excess losses (T,), a verdict for each target, and what else is worth saying."""

    excess: Array
    verdicts: list[Verdict]
    notes: tuple[str, ...] = ()
