"""A family of synthetic languages small enough to train on in a test, and its settings."""

import dataclasses

from commute_verify import WeightSchedule
from experiments.gpt2 import shards
from experiments.gpt2.languages import Language
from experiments.gpt2.settings import Architecture, Training
from experiments.gpt2.sources import Synthetic
from experiments.gpt2.tokenizer import TokenizerSpec

VOCABULARY, CONTEXT = 300, 16
SIZE = Architecture(layers=1, width=16, heads=2, context=CONTEXT, vocabulary=VOCABULARY)
SETTINGS = Training(SIZE, lr=1e-2, warmup=3, batch=6, steps=12)


def sources(names=("en", "ru"), documents=60):
    """So many short documents in each language."""
    languages = {name: Language(index, words=40, length=40) for index, name in enumerate(names)}
    return {name: Synthetic(language, documents) for name, language in languages.items()}


def build(folder, names=("en", "ru"), documents=60, **changed):
    given = {"validation_share": 0.2} | changed
    return shards.build(folder, sources(names, documents), TokenizerSpec(VOCABULARY), **given)


def constant(steps, **weights):
    return WeightSchedule.constant(weights or {"en": 0.5, "ru": 0.5}, steps)


def changed(**fields):
    return dataclasses.replace(SETTINGS, **fields)
