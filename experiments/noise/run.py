"""The parts of the noise experiment, each a pure function of the settings."""

from collections.abc import Callable
from typing import Any

from experiments.noise.quadratic import quadratic
from experiments.noise.settings import Settings
from experiments.noise.sgd import estimate, sgd
from experiments.one_core import on_one_core

PartFunction = Callable[[Settings], dict[str, Any]]


PARTS: dict[str, PartFunction] = {part.__name__: on_one_core(part) for part in (quadratic, sgd, estimate)}

__all__ = ["PARTS", "Settings"]
