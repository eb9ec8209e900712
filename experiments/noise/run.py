"""The parts of the noise experiment, each a pure function of the settings."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from experiments.noise.quadratic import quadratic
from experiments.noise.settings import Settings
from experiments.noise.sgd import estimate, sgd
from experiments.quadratic.run import on_one_thread

PartFunction = Callable[[Settings], dict[str, Any]]


def _torch_on_one_thread(part: PartFunction) -> PartFunction:
    """Small tensors: more threads only wait for each other."""

    @wraps(part)
    def limited(settings: Settings) -> dict[str, Any]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return part(settings)
        finally:
            torch.set_num_threads(threads)

    return limited


PARTS: dict[str, PartFunction] = {
    part.__name__: _torch_on_one_thread(on_one_thread(part)) for part in (quadratic, sgd, estimate)
}

__all__ = ["PARTS", "Settings"]
