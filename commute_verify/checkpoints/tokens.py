"""Text to tokens: the checkpoint's own tokenizer, one that the user names, or plain bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from commute_verify.checkpoints.quiet import first_line, quiet
from commute_verify.errors import CommuteError

PROBE = "the quick brown fox"


class Tokenizer(Protocol):
    """What is asked of a tokenizer."""

    @property
    def separator(self) -> int | None:
        """The token between two documents, if there is one."""

    @property
    def fingerprint(self) -> str | None:
        """The same for tokenizers that give the same tokens; None where that is not known."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without any added to its ends."""


class Bytes:
    """The bytes of the text in UTF-8 as tokens 0 to 255.

    >>> Bytes().encode("né")
    [110, 195, 169]
    """

    separator: int | None = None
    fingerprint: str | None = "bytes"

    def encode(self, text: str) -> list[int]:
        """One token for each byte."""
        return list(text.encode("utf-8"))


class HuggingFaceTokenizer:
    """A tokenizer of transformers."""

    def __init__(self, held: object) -> None:
        """Take over a ``PreTrainedTokenizerBase``."""
        self._held = held
        ending = getattr(held, "eos_token_id", None)
        self.separator: int | None = ending if isinstance(ending, int) else None
        backend = getattr(held, "backend_tokenizer", None)
        whole = None if backend is None else f"{self.separator} {backend.to_str()}"
        self.fingerprint: str | None = whole and hashlib.sha256(whole.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Its tokens of the text alone."""
        found = self._held(text, add_special_tokens=False, verbose=False)  # type: ignore[operator]
        return [int(token) for token in found["input_ids"]]


def read_tokenizer(given: str) -> Tokenizer:
    """``bytes``, or the tokenizer of a folder or of a name on the Hugging Face hub; no code of it is run.

    Raises CommuteError where there is none.
    """
    if given == "bytes":
        return Bytes()
    if Path(given).suffix == ".pkl":
        raise CommuteError(
            f"{given} is a pickle, which may run code when it is read; give a tokenizer's folder, a name on "
            "the Hugging Face hub, or bytes"
        )
    from transformers import AutoTokenizer

    try:
        with quiet():
            held = AutoTokenizer.from_pretrained(given, trust_remote_code=False)
    except Exception as error:
        raise CommuteError(
            f"no tokenizer in {given} ({first_line(error)}); give --tokenizer FOLDER, a name on the Hugging "
            "Face hub, or bytes"
        ) from error
    found = HuggingFaceTokenizer(held)
    if (
        len(set(found.encode(PROBE))) < 2
    ):  # where files are missing, transformers makes one that knows nothing
        raise CommuteError(
            f"the tokenizer in {given} knows no words; give --tokenizer FOLDER, a name on the Hugging Face "
            "hub, or bytes"
        )
    return found
