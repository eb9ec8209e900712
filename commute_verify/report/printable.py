"""Pages hold no control characters: browsers and XML readers drop or refuse them."""

from __future__ import annotations

import re

from commute_verify.errors import CommuteError

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(page: str) -> str:
    r"""Return `page` as it is; raises CommuteError naming a control character or half a surrogate pair.

    >>> printable("θ\n")
    'θ\n'
    """
    found = _FORBIDDEN.search(page)
    if found:
        around = page[max(0, found.start() - 20) : found.end() + 20]
        raise CommuteError(f"the report holds the control character {found[0]!r} in {around!r}: remove it")
    return page
