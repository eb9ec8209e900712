"""The parts of the experiment, each a pure function of the settings."""

from collections.abc import Callable
from typing import Any

from experiments.beyond_local.quadratics import quadratics
from experiments.beyond_local.settings import Settings
from experiments.beyond_local.transformer import transformer
from experiments.one_core import on_one_core

PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    part.__name__: on_one_core(part) for part in (quadratics, transformer)
}
