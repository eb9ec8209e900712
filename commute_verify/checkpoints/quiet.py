"""Hold the bars and warnings of transformers back while a checkpoint is read, and say why it was not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers reports errors alone; afterwards it is as it was."""
    from transformers.utils import logging as untyped

    logging: Any = untyped

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """What an error says, in one line.

    >>> first_line(ValueError("cut short.\\nSee above"))
    'cut short'
    """
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
