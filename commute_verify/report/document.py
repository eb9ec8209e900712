"""A report as data: frozen blocks that `html` and `markdown` render to the same words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from commute_verify.errors import CommuteError
from commute_verify.report import vector
from commute_verify.report.inline import pieces

VERDICTS = ("holds", "corrected", "false", "undetermined")


@dataclass(frozen=True)
class Heading:
    """A section title of level 2 to 4; `text` may hold ``$latex$`` and backquoted code."""

    text: str
    level: int = 2

    def __post_init__(self) -> None:
        """Check the level and the text."""
        pieces(self.text)
        if self.level not in (2, 3, 4):
            raise CommuteError(f"Heading level {self.level}: expected 2, 3 or 4 (the title is level 1)")


@dataclass(frozen=True)
class Paragraph:
    """Running text; may hold ``$latex$`` and backquoted code."""

    text: str

    def __post_init__(self) -> None:
        """Check the text."""
        pieces(self.text)


@dataclass(frozen=True)
class Formula:
    r"""A displayed formula in LaTeX, without dollars: ``Formula(r"[g_1, g_2] = H_2 g_1 - H_1 g_2")``."""

    latex: str


@dataclass(frozen=True)
class Table:
    """A table of strings; every cell, the caption and the note may hold ``$latex$``.

    `groups` optionally names runs of columns above the header: ``(("published", 3), ("measured", 3))``;
    the widths must add up to the number of columns, and ``""`` leaves a run unnamed.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Check that rows and groups fit the columns."""
        for text in (*self.columns, *(cell for row in self.rows for cell in row), self.caption, self.note):
            pieces(text)
        width = len(self.columns)
        for number, row in enumerate(self.rows):
            if len(row) != width:
                raise CommuteError(
                    f"Table {self.caption!r}: row {number} has {len(row)} cells, expected {width}"
                )
        if self.groups and sum(span for _, span in self.groups) != width:
            raise CommuteError(
                f"Table {self.caption!r}: groups {self.groups} do not add up to {width} columns"
            )


@dataclass(frozen=True)
class Figure:
    """An SVG element from `figures.svg(figure, name)`; `name` is its file name, unique in a document.

    `alt` says in plain words what the figure shows; `caption` may hold ``$latex$``.
    """

    name: str
    svg: str
    caption: str
    alt: str

    def __post_init__(self) -> None:
        """Check the name, and that there is a picture and a description."""
        pieces(self.caption)
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise CommuteError(f"Figure name {self.name!r}: expected lower-case words joined by '-'")
        vector.check(self.svg, self.name)
        if not self.alt.strip():
            raise CommuteError(f"Figure {self.name!r} has no alt text: say in words what it shows")


@dataclass(frozen=True)
class Claim:
    """One claim with its verdict; all fields but `id`, `verdict` and `latex` may hold ``$latex$``."""

    id: str
    source: str
    statement: str
    verdict: str
    correction: str = ""
    reason: str = ""
    latex: str = ""

    def __post_init__(self) -> None:
        """Check the verdict and the texts."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str):
                raise CommuteError(f"claim {self.id!r}: {field.name} is {value!r}, expected text")
        for text in (self.source, self.statement, self.correction, self.reason):
            pieces(text)
        if self.verdict not in VERDICTS:
            raise CommuteError(
                f"claim {self.id!r}: verdict {self.verdict!r} is none of {', '.join(VERDICTS)}"
            )


@dataclass(frozen=True)
class Claims:
    """The table of claims, with verdict badges and filters."""

    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        """Check that no id comes twice."""
        twice = [key for key, count in Counter(claim.id for claim in self.claims).items() if count > 1]
        if twice:
            raise CommuteError(f"claim ids must be unique, these come twice: {', '.join(twice)}")

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Claims:
        """Build from JSON records with the fields of `Claim`; null counts as empty."""
        return cls(
            tuple(
                Claim(**{key: "" if value is None else value for key, value in record.items()})
                for record in records
            )
        )

    def counts(self) -> dict[str, int]:
        """Count the claims of each verdict, in the order of `VERDICTS`."""
        found = Counter(claim.verdict for claim in self.claims)
        return {verdict: found[verdict] for verdict in VERDICTS}


Block = Heading | Paragraph | Formula | Table | Figure | Claims


@dataclass(frozen=True)
class Document:
    """A title, one lead paragraph and the blocks below it, in reading order."""

    title: str
    lead: Paragraph
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        """Check that figure names are unique."""
        twice = [name for name, count in Counter(f.name for f in self.figures()).items() if count > 1]
        if twice:
            raise CommuteError(f"figure names must be unique, these come twice: {', '.join(twice)}")

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures in reading order."""
        return tuple(block for block in self.blocks if isinstance(block, Figure))
