"""Where documents come from: ``NAME=SOURCE`` on the command line.

=====================  ==================================================================================
SOURCE                 documents
=====================  ==================================================================================
``PATH``, ``PATH.gz``  UTF-8 text: separated by form feeds, or by blank lines in a file without form feeds
``PATH.jsonl[.gz]``    one JSON object a line, its field "text"
``hf:NAME[/CONFIG]``   the train split of a Hugging Face dataset, streamed: ``hf:OWNER/NAME/CONFIG`` or
                       ``hf:NAME``; field "text" (C4 in English: ``hf:allenai/c4/en``)
``synthetic``          a generated language; each domain that asks for one gets the next of one family
=====================  ==================================================================================
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from commute_verify.cli.text_lines import json_texts, lines
from commute_verify.errors import CommuteError
from experiments.gpt2.languages import Language
from experiments.storage import reason

ENDS = 1 << 20
"""Bytes at either end of a file that its digest is taken of."""
SYNTHETIC_DOCUMENTS = 1500


class Source(Protocol):
    """Documents, and what identifies them."""

    def documents(self) -> Iterator[str]:
        """The documents, from the first; raises CommuteError when they cannot be read."""

    def identity(self) -> dict[str, Any]:
        """Plain data that changes when the documents do, without a path."""


@dataclass(frozen=True)
class Synthetic:
    """A generated language; see `languages`."""

    language: Language
    count: int = SYNTHETIC_DOCUMENTS

    def documents(self) -> Iterator[str]:
        """The first ``count`` documents of the language."""
        return islice(self.language.documents(), self.count)

    def identity(self) -> dict[str, Any]:
        """The language's settings."""
        one = self.language
        return {
            "kind": "synthetic",
            "index": one.index,
            "seed": one.seed,
            "words": one.words,
            "shared": one.shared,
            "successors": one.successors,
            "length": one.length,
            "documents": self.count,
        }


@dataclass(frozen=True)
class File:
    """Text or JSON lines, gzip or not."""

    path: Path

    def documents(self) -> Iterator[str]:
        """Documents that are not blank, in the file's order."""
        found = False
        for text in json_texts(self.path) if self._is_json() else self._texts():
            if text.strip():
                found = True
                yield text
        if not found:
            raise CommuteError(f"{self.path} holds no document: give a file with text")

    def identity(self) -> dict[str, Any]:
        """Size and digest of the content, whatever it is called, and whether lines are JSON."""
        try:
            with open(self.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except OSError as error:
            raise CommuteError(
                f"cannot read {self.path} ({reason(error)}): give a file that exists"
            ) from error
        return {"kind": "file", "json": self._is_json(), "bytes": size, "sha256": digest}

    def ends(self) -> dict[str, Any]:
        """What `identity` was in shards of before: name, size, and a digest of the first and last MiB."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as file:
            digest = hashlib.sha256(file.read(ENDS))
            file.seek(max(0, size - ENDS))
            digest.update(file.read())
        return {"kind": "file", "name": self.path.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}

    def _is_json(self) -> bool:
        return self.path.name.removesuffix(".gz").endswith((".jsonl", ".json"))

    def _texts(self) -> Iterator[str]:
        separator = "\f" if self._has("\f") else None
        held: list[str] = []
        for line in lines(self.path):
            if separator is None:
                if line.strip():
                    held.append(line)
                elif held:
                    yield "".join(held)
                    held = []
                continue
            *ended, rest = line.split(separator)
            for piece in ended:
                yield "".join([*held, piece]).strip("\n") + "\n"
                held = []
            held.append(rest)
        yield "".join(held)

    def _has(self, mark: str) -> bool:
        return any(mark in line for line in lines(self.path))


@dataclass(frozen=True)
class HuggingFace:
    """The train split of a dataset, streamed: nothing is downloaded ahead of what is read."""

    name: str
    config: str | None

    def documents(self) -> Iterator[str]:
        """The field "text" of the rows; raises CommuteError without the package `datasets`."""
        try:
            from datasets import load_dataset  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise CommuteError(
                "the package datasets is not installed: pip install datasets, or this project with [hub]"
            ) from error
        try:
            rows = load_dataset(self.name, self.config, split="train", streaming=True)
        except (OSError, ValueError) as error:
            raise CommuteError(f"cannot open the dataset {self.name} ({error}): check its name") from error
        for row in rows:
            if not isinstance(row.get("text"), str):
                raise CommuteError(f'dataset {self.name} has fields {sorted(row)}: expected "text"')
            if row["text"].strip():
                yield row["text"]

    def identity(self) -> dict[str, Any]:
        """Name and configuration."""
        return {"kind": "huggingface", "name": self.name, "config": self.config}


def is_of(source: Source, held: Mapping[str, Any]) -> bool:
    """Whether an identity that was written down, in this form or an older one, is the source's."""
    if isinstance(source, File) and "sha256_of_ends" in held:
        return source.ends() == held
    return source.identity() == held


def parse(data: Sequence[str], seed: int = 0) -> dict[str, Source]:
    """``["en=PATH", "ru=synthetic"]`` -> {name: source}, in the order given.

    Raises CommuteError for a name that is repeated or not letters, digits, dot, dash and underscore, for a
    file that does not exist or is empty.
    """
    found: dict[str, Source] = {}
    generated = 0
    for argument in data:
        name, equals, where = argument.partition("=")
        if not equals or not where or not re.fullmatch(r"[\w][\w.-]*", name):
            raise CommuteError(
                f"--data {argument!r}: give NAME=SOURCE, NAME of letters, digits, '.', '-', '_'"
            )
        if name in found:
            raise CommuteError(f"--data names {name!r} twice: give each domain once")
        if where == "synthetic":
            found[name] = Synthetic(Language(generated, seed))
            generated += 1
        elif where.startswith("hf:"):
            found[name] = _dataset(where.removeprefix("hf:"))
        else:
            found[name] = _file(Path(where))
    if len(found) < 2:
        raise CommuteError(
            f"{len(found)} domains: an order needs at least 2, give --data NAME=SOURCE for each"
        )
    return found


def _file(path: Path) -> File:
    if not path.is_file():
        raise CommuteError(f"{path} is not a file: give text, .jsonl, hf:NAME or synthetic")
    if not os.path.getsize(path):
        raise CommuteError(f"{path} is empty: give a file with text")
    return File(path)


def _dataset(name: str) -> HuggingFace:
    pieces = name.split("/")
    if not all(pieces) or len(pieces) > 3:
        raise CommuteError(f"hf:{name}: give hf:NAME, hf:OWNER/NAME or hf:OWNER/NAME/CONFIG")
    return HuggingFace("/".join(pieces[:2]), pieces[2] if len(pieces) == 3 else None)
