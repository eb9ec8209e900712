"""Numbers as a report prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.gpt2.comparison.agreement import Share
from experiments.gpt2.comparison.excess import Excess

NBSP = "\u00a0"
NOT_RESOLVED, NO_ERROR = "°", "†"
"""Marks of a figure within two standard errors of 0, and of one without an error."""

MARKS = (
    f"{NOT_RESOLVED}: within two standard errors of 0. {NO_ERROR}: fewer than three seeds and "
    "no spread over seeds to borrow, so no error is stated."
)


def signed(value: float) -> str:
    """A signed figure with four decimals (two from 1 on), or in powers of ten where they would hide it.

    >>> signed(-0.0191), signed(0.000042), signed(0.0)
    ('−0.0191', '+4.2e−05', '0')
    """
    if value == 0:
        return "0"
    if 5e-4 <= abs(value) < 1e3:
        text = f"{value:+.4f}" if abs(value) < 1 else f"{value:+.2f}"
    else:
        text = f"{value:+.1e}"
    return text.replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """A figure ± its standard error to two digits, marked where it is not resolved or has none.

    >>> with_error(-0.002612, 0.000234).replace(NBSP, " ")
    '−0.00261 ± 0.00023'
    """
    if error is None:
        return signed(value) + NO_ERROR
    mark = "" if abs(value) > 2 * error else NOT_RESOLVED
    if not error:
        return f"{signed(value)}{NBSP}±{NBSP}0{mark}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    style = f".{decimals}f" if decimals <= 5 and max(abs(value), error) < 1e5 else ".1e"
    return f"{value:+{style}}{NBSP}±{NBSP}{error:{style}}{mark}".replace("-", "−")


def excess_text(found: Excess | None) -> str:
    """An excess ± its error, or a dash."""
    return "–" if found is None else with_error(found.value, found.error)


def share_text(found: Share) -> str:
    """Count of total, the share and its interval.

    >>> share_text(Share(7, 8)).replace(NBSP, " ")
    '7/8 = 88% [47%, 100%]'
    """
    if not found.total:
        return "–"
    low, high = found.interval
    text = f"{found.count}/{found.total} = {found.share:.0%} [{low:.0%}, {high:.0%}]"
    return text.replace(" ", NBSP)


def share_cell(found: Share) -> str:
    """The same for a narrow cell.

    >>> share_cell(Share(7, 8)).replace(NBSP, " ")
    '7/8 (47–100%)'
    """
    if not found.total:
        return "–"
    low, high = found.interval
    return f"{found.count}/{found.total}{NBSP}({100 * low:.0f}–{100 * high:.0f}%)"


def counted(count: int, what: str, plural: str | None = None) -> str:
    """A number of things.

    >>> counted(1, "seed"), counted(2, "branch", "branches")
    ('1 seed', '2 branches')
    """
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def rough(value: float) -> str:
    """Two digits, without a power of ten where the figure is short.

    >>> rough(222.0), rough(-0.0077), rough(2.5e7), rough(3.04)
    ('220', '−0.0077', '2.5e+07', '3')
    """
    text = f"{float(f'{value:.1e}'):.0f}" if 100 <= abs(value) < 1e5 else f"{value:.2g}"
    return text.replace("-", "−")


def listed(items: Sequence[object]) -> str:
    """Items with commas and a last "and".

    >>> listed([1, 2, 3]), listed([])
    ('1, 2 and 3', 'none')
    """
    texts = [str(item) for item in items]
    if not texts:
        return "none"
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash.

    >>> number(0.666), number(None)
    ('0.67', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def weights_text(weights: Sequence[float]) -> str:
    """Weights as the paper writes them.

    >>> weights_text([0.5, 0.5])
    '(0.5, 0.5)'
    """
    return f"({', '.join(f'{w:g}' for w in weights)})"
