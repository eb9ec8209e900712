"""Two synthetic languages: Markov chains with shared and private words and shared and private grammar."""

import numpy as np
from numpy.typing import NDArray

from experiments.transformer_flow.settings import LANGUAGES, Settings

Array = NDArray[np.float64]
Tokens = NDArray[np.int64]

SHARED_WORDS = 0.5
"""The part of the vocabulary that both languages use; the rest is split between them."""
SHARPNESS = 1.5
"""Standard deviation of the logits of a transition, half of their variance shared."""


def sentences(settings: Settings) -> Tokens:
    """The fixed batch of each language, shape (2, rows, context); the same settings give the same tokens."""
    grammar = _grammar(settings)
    words = alphabets(settings.vocabulary)
    batches = []
    for k, alphabet in enumerate(words):
        draw = np.random.default_rng([settings.seed, 1, k])
        steps = np.cumsum(_transitions(grammar, k, alphabet), axis=1)
        columns = [draw.choice(alphabet, size=settings.rows)]
        for _ in range(settings.context - 1):
            uniform = draw.random(settings.rows)
            chosen = np.sum(steps[columns[-1]] < uniform[:, None], axis=1)
            columns.append(alphabet[np.minimum(chosen, alphabet.size - 1)])
        batches.append(np.stack(columns, axis=1))
    return np.stack(batches)


def alphabets(vocabulary: int) -> tuple[Tokens, Tokens]:
    """The words of each language: those that both use, then its own."""
    shared = round(SHARED_WORDS * vocabulary)
    own = shared + (vocabulary - shared) // 2
    common = np.arange(shared)
    first = np.concatenate([common, np.arange(shared, own)])
    return first, np.concatenate([common, np.arange(own, vocabulary)])


def _grammar(settings: Settings) -> Array:
    """Logits of transitions: what both languages share, then what each has for itself."""
    draw = np.random.default_rng([settings.seed, 0])
    return draw.normal(size=(1 + LANGUAGES, settings.vocabulary, settings.vocabulary))


def _transitions(grammar: Array, language: int, alphabet: Tokens) -> Array:
    """Probabilities of the next word of the alphabet, after every word of the vocabulary."""
    logits = SHARPNESS * (grammar[0] + grammar[1 + language])[:, alphabet] / np.sqrt(2)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Array = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
