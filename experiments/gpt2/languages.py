"""Synthetic languages: seeded, any number of them, alike in part and different in part.

A language is a lexicon and a grammar. Of its words a part is common to all languages (names, loan words), the
rest is made of syllables of its own. The grammar is a Markov chain over words: half of a word's successors
are common to all languages, word for word, and half are its own. So training on one language helps with
another, and also hinders it, which is what the order of domains acts on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from commute_verify.errors import CommuteError

Words = NDArray[np.str_]
CONSONANTS, VOWELS = "bdfghklmnprstvz", "aeiou"
BLOCK = 64
"""Documents that are drawn together."""


@dataclass(frozen=True)
class Language:
    """Language number ``index`` of the family ``seed``: ``words``, of which the share ``shared`` is common.

    Every word has ``successors``, half of them common; documents hold ``length`` words. Number n of the
    documents is a pure function of these.
    """

    index: int
    seed: int = 0
    words: int = 240
    shared: float = 0.3
    successors: int = 8
    length: int = 160
    _lexicon: Words = field(init=False, repr=False, compare=False)
    _next: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Draw the lexicon and the grammar."""
        if self.index < 0 or not 0 <= self.shared <= 1 or self.successors < 2 or self.length < 1:
            raise CommuteError(
                f"{self}: give an index ≥ 0, a share in [0, 1], 2 or more successors, a length"
            )
        if not 16 <= self.words <= 4096:
            raise CommuteError(f"a language of {self.words} words: give 16 to 4096")
        common = round(self.words * self.shared)
        family, own = np.random.default_rng([self.seed, 0]), np.random.default_rng([self.seed, 1, self.index])
        syllables = [c + v for c in CONSONANTS for v in VOWELS]
        names = _new_words(family, syllables, common, ending="")
        mine = own.choice(syllables, size=24, replace=False).tolist()
        private = _new_words(own, mine, self.words - common, ending="aeiou"[self.index % 5])
        half = self.successors // 2
        together = family.integers(self.words, size=(self.words, half))
        apart = own.integers(self.words, size=(self.words, self.successors - half))
        object.__setattr__(self, "_lexicon", np.array(names + private))
        object.__setattr__(self, "_next", np.concatenate([together, apart], axis=1))

    def documents(self) -> Iterator[str]:
        """Documents without end, in sentences."""
        block = 0
        while True:
            yield from self._block(block)
            block += 1

    def _block(self, block: int) -> list[str]:
        draw = np.random.default_rng([self.seed, 2, self.index, block])
        likely = 1.0 / np.arange(1, self.successors + 1)
        ranks = draw.choice(self.successors, size=(self.length, BLOCK), p=likely / likely.sum())
        order = np.argsort(_mixed(self.successors))
        stops = draw.random((self.length, BLOCK)) < 0.12
        now = draw.integers(self.words, size=BLOCK)
        chain = np.empty((self.length, BLOCK), dtype=np.int64)
        for place in range(self.length):
            chain[place] = now
            now = self._next[now, order[ranks[place]]]
        text = np.where(stops, np.char.add(self._lexicon[chain], "."), self._lexicon[chain])
        return [" ".join(column) + "\n" for column in text.T.tolist()]


def _mixed(successors: int) -> NDArray[np.float64]:
    """Ranks that alternate between the common and the own successors."""
    half = successors // 2
    return np.concatenate([np.arange(half) * 2.0, np.arange(successors - half) * 2.0 + 1])


def _new_words(draw: np.random.Generator, syllables: list[str], count: int, ending: str) -> list[str]:
    """So many different words of one to three syllables."""
    found: dict[str, None] = {}
    while len(found) < count:
        parts = draw.choice(syllables, size=int(draw.integers(1, 4)))
        found["".join(parts.tolist()) + ending] = None
    return list(found)
