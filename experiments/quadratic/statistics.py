"""How a cell of draws is summed up."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

Array = NDArray[np.float64]
DIGITS = 8


class Pair(NamedTuple):
    """Observed and predicted excess of each draw."""

    observed: Array
    predicted: Array


def pooled(pairs: Sequence[Pair]) -> Pair:
    """The draws of several chunks as one."""
    return Pair(np.concatenate([p.observed for p in pairs]), np.concatenate([p.predicted for p in pairs]))


def ratios(pair: Pair) -> dict[str, float]:
    """Median and 90–10 percentile range of observed/predicted."""
    p10, median, p90 = np.percentile(pair.observed / pair.predicted, [10, 50, 90])
    return {"median": median, "p10": p10, "p90": p90, "range": p90 - p10}


def failures(pair: Pair) -> int:
    """Number of draws in which the prediction has the wrong sign."""
    return int(np.sum(np.sign(pair.observed) != np.sign(pair.predicted)))


def share_of(count: int, total: int, level: float) -> dict[str, float]:
    """A share with its exact binomial interval at ``level`` (Clopper and Pearson, 1934).

    >>> 0.0036 < share_of(0, 1000, 0.95)["high"] < 0.0037
    True
    """
    tail = (1 - level) / 2
    return {
        "share": count / total,
        "low": float(beta.ppf(tail, count, total - count + 1)) if count else 0.0,
        "high": float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0,
    }


def summary(pair: Pair, level: float) -> dict[str, Any]:
    """Ratios, and sign failures with their share and its interval, of independent draws."""
    wrong = failures(pair)
    return ratios(pair) | {"sign_failures": wrong} | share_of(wrong, pair.observed.size, level)


def slope(errors: ArrayLike, sizes: ArrayLike) -> float:
    """Slope of log error over log size between the last two sizes.

    >>> round(slope([8.0, 1.0], [2.0, 1.0]), 12)
    3.0
    """
    log_errors, log_sizes = np.log(np.asarray(errors)[-2:]), np.log(np.asarray(sizes)[-2:])
    return float((log_errors[1] - log_errors[0]) / (log_sizes[1] - log_sizes[0]))


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same in Python's dicts, lists, strings, ints and floats, floats to 8 significant digits.

    The rounding keeps the last bits of a linear algebra library out of the results.

    >>> plain({"a": np.array([1 / 3, 2.0]), "n": np.int64(3)})
    {'a': [0.33333333, 2.0], 'n': 3}
    """
    return {key: _plain(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
