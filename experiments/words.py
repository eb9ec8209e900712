"""Words that several pages share."""

from __future__ import annotations

from collections.abc import Iterable


def listed(items: Iterable[object]) -> str:
    """Items in a sentence; nothing for none.

    >>> listed([1, 5, 20]), listed(["one"]), listed([])
    ('1, 5 and 20', 'one', '')
    """
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
