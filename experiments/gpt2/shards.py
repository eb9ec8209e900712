"""Domains as tokens on disk: tokenised once, split by document, read through memory maps.

A folder of shards holds ``DOMAIN.SPLIT.bin`` (token ids, little-endian), ``tokenizer/`` and ``shards.json``.
It is built beside its place and moved there when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commute_verify.errors import CommuteError
from experiments.gpt2.order import domain_key
from experiments.gpt2.sources import Source, is_of
from experiments.gpt2.tokenizer import Tokenizer, TokenizerSpec, digest, plain_spec
from experiments.storage import reason, write

FORMAT, VERSION = "commute_verify shards", 1
META = "shards.json"
SPLITS = ("train", "validation")
CHUNK = 256
"""Documents that are tokenised together."""

Tokens = NDArray[Any]


class Shards:
    """The token streams of ``domains``, each split into train and validation by document."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Use `Shards.open`."""
        self.folder, self.meta = folder, meta
        self.domains: tuple[str, ...] = tuple(meta["order"])
        self.vocabulary: int = int(meta["vocabulary"])
        self.key: str = str(meta["key"])
        self.separator: int = int(meta["separator"])
        self._maps: dict[tuple[str, str], Tokens] = {}

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """The shards of a folder; CommuteError when it holds none, or pieces of some."""
        again = "delete it and build the shards again"
        try:
            meta = json.loads((folder / META).read_bytes())
        except OSError as error:
            raise CommuteError(f"{folder} holds no shards ({META}: {reason(error)}): build them") from error
        except ValueError as error:
            raise CommuteError(f"{folder / META} is not JSON ({error}): {again}") from error
        if not isinstance(meta, dict) or (meta.get("format"), meta.get("version")) != (FORMAT, VERSION):
            raise CommuteError(f"{folder / META} is of another format or version: {again}")
        shards = cls(folder, meta)
        width = np.dtype(meta["dtype"]).itemsize
        for domain in shards.domains:
            for split in SPLITS:
                path, expected = shards._path(domain, split), shards.tokens(domain, split) * width
                found = path.stat().st_size if path.exists() else 0
                if found != expected:
                    raise CommuteError(f"{path} holds {found} bytes, expected {expected}: {again}")
        return shards

    @cached_property
    def tokenizer_digest(self) -> str:
        """Digest of the tokenizer that the tokens come from."""
        return digest(self.tokenizer_folder)

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer is saved."""
        return self.folder / "tokenizer"

    def tokens(self, domain: str, split: str) -> int:
        """Exact number of tokens, document separators included."""
        return int(self._counted(domain, split)["tokens"])

    def documents(self, domain: str, split: str) -> int:
        """Exact number of documents."""
        return int(self._counted(domain, split)["documents"])

    def bytes_per_token(self, domain: str, split: str) -> float:
        """UTF-8 bytes of the documents over tokens: bits/byte = nats/token / ln 2 / this."""
        counted = self._counted(domain, split)
        return int(counted["bytes"]) / int(counted["tokens"])

    def windows(self, domain: str, split: str, context: int) -> int:
        """Number of windows of context + 1 tokens; neighbours share a token: each is predicted once."""
        return max(0, self.tokens(domain, split) - 1) // context

    def window(self, domain: str, split: str, index: int, context: int) -> Tensor:
        """One window, int64, shape (context + 1,)."""
        return self.batch(domain, split, np.array([index]), context)[0]

    def batch(self, domain: str, split: str, indices: NDArray[np.int64], context: int) -> Tensor:
        """Windows by index, int64, shape (len(indices), context + 1)."""
        places = indices[:, np.newaxis] * context + np.arange(context + 1)
        return torch.from_numpy(self._map(domain, split)[places].astype(np.int64))

    def check_training(self, domains: Mapping[str, float], batch: int, context: int) -> None:
        """CommuteError unless every domain has a batch to train on and a window to validate on."""
        for domain in domains:
            for split, least, what in (("train", batch, "one batch"), ("validation", 1, "one window")):
                found = self.windows(domain, split, context)
                if found < least:
                    raise CommuteError(
                        f"domain {domain!r} has {self.tokens(domain, split)} {split} tokens, fewer than "
                        f"{what} ({least} × {context}): give it more text, or a smaller batch or context"
                    )

    def _counted(self, domain: str, split: str) -> Mapping[str, Any]:
        if domain not in self.domains or split not in SPLITS:
            raise CommuteError(f"no {split!r} of {domain!r}: domains are {self.domains}, splits {SPLITS}")
        counted: Mapping[str, Any] = self.meta["domains"][domain][split]
        return counted

    def _path(self, domain: str, split: str) -> Path:
        return self.folder / f"{domain}.{split}.bin"

    def _map(self, domain: str, split: str) -> Tokens:
        if (domain, split) not in self._maps:
            self._counted(domain, split)
            path = self._path(domain, split)
            self._maps[domain, split] = np.memmap(path, dtype=self.meta["dtype"], mode="r")
        return self._maps[domain, split]


def build(
    folder: Path,
    sources: Mapping[str, Source],
    tokenizer: TokenizerSpec,
    *,
    validation_share: float = 0.05,
    limit_documents: int | None = None,
    limit_bytes: int | None = None,
    seed: int = 0,
) -> Shards:
    """Tokenise the sources into a folder, unless it holds these very shards already; return them.

    Of every 1/validation_share documents in a row, one drawn at random goes to validation. The limits are per
    domain: reading stops after the document that reaches one. Raises CommuteError when the folder holds
    shards of other settings, naming them, and when a source gives no document to either split.
    """
    if not 0 < validation_share <= 0.5:
        raise CommuteError(f"validation_share is {validation_share}: give a share above 0 and at most 0.5")
    for name, limit in (("limit_documents", limit_documents), ("limit_bytes", limit_bytes)):
        if limit is not None and limit < 1:
            raise CommuteError(f"{name} is {limit}: give 1 or more, or leave it away")
    settings = {
        "sources": {name: source.identity() for name, source in sources.items()},
        "tokenizer": plain_spec(tokenizer),
        "validation_share": validation_share,
        "limit_documents": limit_documents,
        "limit_bytes": limit_bytes,
        "seed": seed,
        "order": list(sources),
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if (folder / META).exists():
        return _same(Shards.open(folder), key, settings, sources)
    if folder.exists() and any(folder.iterdir()):
        raise CommuteError(f"{folder} exists and holds no shards: give another folder, or remove it")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    _sweep(folder)
    try:
        partial.mkdir(parents=True)
        trained = Tokenizer.of(tokenizer, sources)
        trained.save(partial / "tokenizer")
        dtype = "<u2" if trained.vocabulary <= 1 << 16 else "<u4"
        counted = {}
        for name, source in sources.items():
            texts = _limited(source.documents(), limit_documents, limit_bytes)
            stride = round(1 / validation_share)
            counted[name] = _tokenised(partial, name, texts, trained, dtype, stride, seed)
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "key": key,
            "settings": settings,
            "order": list(sources),
            "domains": counted,
            "vocabulary": trained.vocabulary,
            "separator": trained.separator,
            "dtype": dtype,
        }
        write(partial / META, (json.dumps(meta, sort_keys=True, indent=1) + "\n").encode())
        Shards.open(partial)
        with suppress(OSError):
            folder.rmdir()
        os.replace(partial, folder)
    except OSError as error:
        if (folder / META).exists():  # another command was faster
            return _same(Shards.open(folder), key, settings, sources)
        raise CommuteError(
            f"cannot write {folder} ({reason(error)}): make room, or choose another"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Shards.open(folder)


def _same(shards: Shards, key: str, settings: Mapping[str, Any], sources: Mapping[str, Source]) -> Shards:
    if shards.key != key:
        held = shards.meta["settings"]
        changed = sorted(name for name in settings if held.get(name) != settings[name])
        before = held.get("sources", {})
        if before.keys() == sources.keys() and all(is_of(sources[name], before[name]) for name in before):
            changed.remove("sources")
        if not changed:
            return shards
        raise CommuteError(
            f"{shards.folder} holds shards of other settings ({', '.join(changed)} changed): "
            "give another folder, or remove it"
        )
    return shards


def _sweep(folder: Path) -> None:
    """Remove what interrupted builds left."""
    for left in folder.parent.glob(f".{folder.name}.partial-*"):
        if not _alive(left.name.rpartition("-")[2]):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def _limited(texts: Iterator[str], documents: int | None, size: int | None) -> Iterator[str]:
    read = 0
    for text in islice(texts, documents):
        yield text
        read += len(text.encode())
        if size is not None and read >= size:
            return


def _tokenised(
    folder: Path, name: str, texts: Iterator[str], tokenizer: Tokenizer, dtype: str, stride: int, seed: int
) -> dict[str, dict[str, int]]:
    """Write both splits of a domain; its exact counts."""
    counted = {split: {"documents": 0, "bytes": 0, "tokens": 0} for split in SPLITS}
    files: dict[str, BinaryIO] = {split: open(folder / f"{name}.{split}.bin", "wb") for split in SPLITS}  # noqa: SIM115
    try:
        number = 0
        while chunk := list(islice(texts, CHUNK)):
            for text, ids in zip(chunk, tokenizer.encode(chunk), strict=True):
                split = "validation" if _held_out(seed, name, number, stride) else "train"
                files[split].write(np.array([*ids, tokenizer.separator], dtype=dtype).tobytes())
                for what, more in (("documents", 1), ("bytes", len(text.encode())), ("tokens", len(ids) + 1)):
                    counted[split][what] += more
                number += 1
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()
    for split in SPLITS:
        if not counted[split]["documents"]:
            raise CommuteError(
                f"domain {name!r} has {number} documents, and none for {split}: give more documents "
                "(separated by form feeds), or a larger validation share"
            )
    return counted


def _held_out(seed: int, name: str, number: int, stride: int) -> bool:
    block, place = divmod(number, stride)
    return bool(np.random.default_rng([seed, domain_key(name), block]).integers(stride) == place)
