"""What predictors say of a whole study, put together from its pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.gpt2.predictors.asked import Piece, Settings, as_dict, longest, pieces
from experiments.gpt2.predictors.predict import answers
from experiments.gpt2.shards import Shards
from experiments.gpt2.study import Study
from experiments.one_core import on_one_core

FORMAT, VERSION = "commute_verify gpt2 predictors", 1


def together(
    study: Study, settings: Settings, found: Sequence[tuple[Piece, dict[str, Any]]]
) -> dict[str, Any]:
    """The answers of the pieces that are there, and how many there would be."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": {**as_dict(study, settings), **longest(settings)},
        "planned": len(pieces(study, settings)),
        "pieces": [{"weights": dict(piece.weights), **said} for piece, said in found],
    }


@on_one_core
def said(study: Study, piece: Piece, settings: Settings) -> dict[str, Any]:
    """The answers of one piece."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return answers(study, Shards.open(study.shards), piece, settings)


def predicted(study: Study, settings: Settings) -> dict[str, Any]:
    """Every piece of a study in one go, for a small one."""
    found = [(piece, said(study, piece, settings)) for piece in pieces(study, settings)]
    return together(study, settings, found)
