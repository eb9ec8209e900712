"""What an experiment is: named parts that compute plain data, and a page that shows them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from commute_verify.report import Block

SCALES = ("default", "smoke")


@dataclass(frozen=True)
class Part:
    """One piece of work that is saved when it is done: a function of no arguments that returns JSON data.

    `settings` (plain data, with its seed) are what the result depends on beside the code. A part too heavy
    for the default command names its `committed` result instead, a file with "command" and "result".
    """

    name: str
    run: Callable[[], Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    committed: Path | None = None

    @property
    def origin(self) -> str:
        """Say whether this command computes the part: "recomputed" or "committed"."""
        return "committed" if self.committed else "recomputed"


Results = dict[str, Any]
"""The results of one experiment: part name to data."""


@dataclass(frozen=True)
class Experiment:
    """A name, the parts at a scale, the blocks that show them, and what of them opens the page.

    `sentence` goes into the first paragraph; the blocks of `glance` stand before `blocks` of any experiment.
    `code` are the folders, beside the package, whose change asks for the parts to be computed again.
    """

    name: str
    parts: Callable[[str], Sequence[Part]]
    blocks: Callable[[Results], Sequence[Block]]
    sentence: Callable[[Results], str] | None = None
    glance: Callable[[Results], Sequence[Block]] | None = None
    code: tuple[str, ...] = ()


def each(functions: Mapping[str, Callable[[Any], Any]], settings: Any) -> Callable[[str], list[Part]]:
    """Make a part of every function of the settings: ``each(PARTS, Settings)("smoke")``.

    `settings` is a frozen dataclass with a constructor for each scale.
    """

    def parts(scale: str) -> list[Part]:
        chosen = getattr(settings, scale)()
        held = dataclasses.asdict(chosen)
        return [Part(name, partial(function, chosen), held) for name, function in functions.items()]

    return parts


def with_committed(parts: Callable[[str], list[Part]], full: Part) -> Callable[[str], list[Part]]:
    """Those parts, and the full one as it was committed where its file is there."""

    def both(scale: str) -> list[Part]:
        there = full.committed is not None and full.committed.exists()
        return [*parts(scale), *([full] if there else [])]

    return both


def plain(data: Any, part: str) -> Any:
    """Return `data` as JSON gives it back; raises CommuteError naming the part when it is not plain data."""
    try:
        return json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CommuteError(
            f"{part} gave a result that is not plain JSON data ({error}): use finite numbers, strings, "
            "lists and dicts, and null where there is no number"
        ) from error
