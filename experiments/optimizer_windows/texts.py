"""Four synthetic languages as batches of tokens: pure functions of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from experiments.gpt2.languages import Language
from experiments.optimizer_windows.settings import DOMAINS, Settings

STOP = "."
LOOK = 640
"""Documents of each language that the words are read from; all of its words are in them."""


class Texts:
    """Rows of tokens (context + 1) of every domain, each row the start of a document of its own.

    Rows are dealt in one order: held out, for local estimates, trained on, then those of window after window.
    """

    def __init__(self, settings: Settings) -> None:
        """Start the streams of documents."""
        self._settings = settings
        languages = [
            Language(
                k,
                seed=settings.seed,
                words=settings.language_words,
                shared=settings.shared,
                length=settings.context + 1,
            )
            for k in range(len(DOMAINS))
        ]
        self._documents = [language.documents() for language in languages]
        self._rows: list[list[list[int]]] = [[] for _ in DOMAINS]
        self._known = {STOP: 0}
        for document in (d for stream in languages for d in _first(stream.documents(), LOOK)):
            for word in document.replace(STOP, "").split():
                self._known.setdefault(word, len(self._known))

    @property
    def vocabulary(self) -> int:
        """How many words all languages have together, and the full stop."""
        return len(self._known)

    def held_out(self) -> dict[str, list[Tensor]]:
        """One batch of every domain, never trained on."""
        return self._batches(0, 1, self._settings.held_out_rows)

    def local(self) -> dict[str, list[Tensor]]:
        """Single rows of every domain, for estimates at the start of a window."""
        return self._batches(self._settings.held_out_rows, self._settings.local_rows, 1)

    def trained(self) -> dict[str, list[Tensor]]:
        """The batches up to the last checkpoint."""
        return self._batches(self._trained_from, self._settings.steps, self._settings.rows)

    def window(self, seed: int) -> dict[str, list[Tensor]]:
        """The batches of a window, one for each of its steps; every seed has its own."""
        s = self._settings
        steps = 2 * s.lengths[-1] + s.tail
        start = self._trained_from + s.steps * s.rows + seed * steps * s.rows
        return self._batches(start, steps, s.rows)

    @property
    def _trained_from(self) -> int:
        return self._settings.held_out_rows + self._settings.local_rows

    def _batches(self, start: int, count: int, rows: int) -> dict[str, list[Tensor]]:
        stop = start + count * rows
        found = {}
        for k, name in enumerate(DOMAINS):
            while len(self._rows[k]) < stop:
                self._rows[k].append(self._tokens(next(self._documents[k])))
            found[name] = list(torch.split(torch.from_numpy(np.array(self._rows[k][start:stop])), rows))
        return found

    def _tokens(self, document: str) -> list[int]:
        spaced = document.replace(STOP, f" {STOP}").split()[: self._settings.context + 1]
        return [self._known[word] for word in spaced]


@lru_cache(maxsize=2)
def texts(settings: Settings) -> Texts:
    """The texts of these settings, whose documents are made once."""
    return Texts(settings)


def _first(documents: Iterator[str], count: int) -> list[str]:
    return [next(documents) for _ in range(count)]
