"""A domain's file as documents, and documents as windows of tokens in batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from commute_verify.cli.text_lines import json_texts, lines
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch import Tensor

    from commute_verify.checkpoints import Tokenizer

MEGABYTE = 1 << 20
OTHERS = (
    ".parquet",
    ".arrow",
    ".csv",
    ".tsv",
    ".bin",
    ".npy",
    ".zip",
    ".zst",
    ".bz2",
    ".xz",
    ".pdf",
    ".html",
)
"""Endings of formats that are not read; every other file is taken for text."""


@dataclass(frozen=True)
class DomainFile:
    """UTF-8 text, or JSON lines with a field "text"; gzip or not.

    Text is cut into documents at form feeds, or at blank lines where there is no form feed.
    """

    name: str
    path: Path

    def documents(self) -> Iterator[str]:
        """Documents that are not blank, in the file's order. Raises CommuteError where none can be read."""
        self._check()
        found = False
        as_json = self._ending() in (".jsonl", ".json")
        for text in json_texts(self.path) if as_json else _texts(lines(self.path)):
            if text.strip():
                found = True
                yield text
        if not found:
            raise CommuteError(f"{self.path} holds no document; give text")

    def _ending(self) -> str:
        name = self.path.name.lower().removesuffix(".gz")
        return Path(name).suffix

    def _check(self) -> None:
        if not self.path.is_file():
            raise CommuteError(f"domain {self.name!r}: {self.path} is not a file; give text or .jsonl")
        if self.path.stat().st_size == 0:
            raise CommuteError(f"domain {self.name!r}: {self.path} is empty; give a file with text")
        if self._ending() in OTHERS:
            raise CommuteError(
                f"domain {self.name!r}: {self.path} is of a format that is not read ({self._ending()}); give "
                "text "
                'or JSON lines with a field "text", or either with .gz'
            )


def _texts(lines: Iterator[str]) -> Iterator[str]:
    """Documents between form feeds; those between blank lines, as long as no form feed has come."""
    held: list[str] = []
    paragraphs: list[str] = []
    feeds = False
    for line in lines:
        if "\f" in line:
            if not feeds:
                held, paragraphs, feeds = ["".join(paragraphs)], [], True
            *ended, line = line.split("\f")
            for piece in ended:
                yield "".join([*held, piece])
                held = []
        (held if feeds else paragraphs).append(line)
    if feeds:
        yield "".join(held)
        return
    for line in [*paragraphs, "\n"]:
        if line.strip():
            held.append(line)
        elif held:
            yield "".join(held)
            held = []


@dataclass(frozen=True)
class Cut:
    """Windows of ``context`` tokens, ``batch_size`` to a batch, from the first ``read`` MB of text."""

    context: int
    batch_size: int
    read: int
    seed: int

    def batches(self, file: DomainFile, tokenizer: Tokenizer, vocabulary: int) -> list[Tensor]:
        """int64 (batch_size, context) each, windows in an order drawn from the seed; a rest is left out.

        Raises CommuteError for text that gives not one batch, and for tokens that the model does not know.
        """
        import torch

        tokens: list[int] = []
        size = 0
        for text in file.documents():
            tokens.extend(tokenizer.encode(text))
            if tokenizer.separator is not None:
                tokens.append(tokenizer.separator)
            size += len(text.encode("utf-8"))
            if size >= self.read * MEGABYTE:
                break
        highest = max(tokens, default=0)
        if highest >= vocabulary:
            raise CommuteError(
                f"the tokenizer gives token {highest} and the model knows {vocabulary}; give the model's own "
                "with --tokenizer"
            )
        windows = len(tokens) // self.context
        count = windows // self.batch_size
        if not count:
            raise CommuteError(
                f"domain {file.name!r}: {file.path} gives {len(tokens)} tokens, {windows} windows of "
                f"{self.context} for batches of {self.batch_size}; give more text, or a smaller --context or "
                "--batch-size"
            )
        cut = torch.tensor(tokens[: windows * self.context]).view(windows, self.context)
        order = list(range(windows))
        random.Random(f"{self.seed} {file.name}").shuffle(order)
        chosen = cut[order[: count * self.batch_size]]
        return list(chosen.view(count, self.batch_size, self.context))
