"""The tokenizer: byte-level BPE trained on the data, or a pretrained one by name or path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from commute_verify.errors import CommuteError
from experiments.gpt2.order import domain_key
from experiments.gpt2.sources import Source
from experiments.storage import reason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEPARATOR = "<|endoftext|>"
FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class TokenizerSpec:
    """A byte-level BPE of ``vocabulary`` entries trained on the data, or the ``pretrained`` one named.

    It is trained on ``sample_bytes`` of every domain alike: documents drawn with ``seed`` from the first
    ``scan_bytes`` of it.
    """

    vocabulary: int = 2048
    pretrained: str | None = None
    sample_bytes: int = 4_000_000
    scan_bytes: int = 80_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a vocabulary that does not hold all bytes and the separator."""
        if self.pretrained is None and self.vocabulary < 257:
            raise CommuteError(
                f"a vocabulary of {self.vocabulary}: give 257 or more, 256 bytes and a separator"
            )
        if min(self.sample_bytes, self.scan_bytes) < 1:
            raise CommuteError(f"{self}: give sample_bytes and scan_bytes above 0")


class Tokenizer:
    """Encodes documents; ``vocabulary`` entries, of which ``separator`` ends each document."""

    def __init__(self, wrapped: PreTrainedTokenizerBase) -> None:
        """Wrap a fast tokenizer of transformers; raises CommuteError for a slow one."""
        backend = getattr(wrapped, "backend_tokenizer", None)
        if backend is None:
            raise CommuteError(
                f"{type(wrapped).__name__} is a slow tokenizer: give one with a tokenizer.json"
            )
        ends = (wrapped.eos_token_id, wrapped.sep_token_id)
        separator = next((end for end in ends if end is not None), None)
        if separator is None:
            raise CommuteError(f"{wrapped.name_or_path} has neither an end-of-text nor a separator token")
        self._wrapped, self._backend = wrapped, backend
        self.separator: int = int(separator)
        self.vocabulary: int = len(wrapped)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, without special tokens."""
        encoded = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [one.ids for one in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=False)
        return text

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and what transformers needs beside it; raises CommuteError when it cannot."""
        try:
            self._wrapped.save_pretrained(str(folder))
        except Exception as error:  # tokenizers raises no narrower one
            raise CommuteError(f"cannot write {folder} ({reason(error)}): make room for it") from error

    @classmethod
    def load(cls, where: str | Path) -> Tokenizer:
        """The tokenizer of a folder, or of a name on the Hugging Face hub."""
        from transformers import AutoTokenizer

        try:
            return cls(AutoTokenizer.from_pretrained(str(where)))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, CommuteError):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise CommuteError(f"cannot load the tokenizer {where}: {reason}") from error

    @classmethod
    def of(cls, spec: TokenizerSpec, sources: Mapping[str, Source]) -> Tokenizer:
        """The pretrained tokenizer of a spec, or one trained on the sources: same data, same tokenizer."""
        if spec.pretrained is not None:
            return cls.load(spec.pretrained)
        from tokenizers import Tokenizer as Backend
        from tokenizers import decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=spec.vocabulary,
            special_tokens=[SEPARATOR],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(
            (text for name, source in sources.items() for text in _sample(name, source, spec)), trainer
        )
        made: Any = PreTrainedTokenizerFast
        return cls(made(tokenizer_object=backend, eos_token=SEPARATOR))


def digest(folder: Path) -> str:
    """Digest of a saved tokenizer's vocabulary and rules."""
    return hashlib.sha256((folder / FILES[0]).read_bytes()).hexdigest()


def _sample(name: str, source: Source, spec: TokenizerSpec) -> Iterator[str]:
    """Documents in a drawn order until the sample is full; the last is cut."""
    scanned: list[str] = []
    size = 0
    for text in source.documents():
        scanned.append(text)
        size += len(text.encode())
        if size >= spec.scan_bytes:
            break
    left = spec.sample_bytes
    for index in np.random.default_rng([spec.seed, domain_key(name)]).permutation(len(scanned)):
        text = scanned[index]
        yield text[:left]
        left -= len(text.encode())
        if left <= 0:
            return


def plain_spec(spec: TokenizerSpec) -> dict[str, Any]:
    """The spec as JSON holds it."""
    return {
        "vocabulary": spec.vocabulary if spec.pretrained is None else None,
        "pretrained": spec.pretrained,
        "sample_bytes": spec.sample_bytes,
        "scan_bytes": spec.scan_bytes,
        "seed": spec.seed,
    }
