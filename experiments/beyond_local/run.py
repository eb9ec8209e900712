"""The parts of the experiment, each a pure function of the settings."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch

from experiments.beyond_local.quadratics import quadratics
from experiments.beyond_local.settings import Settings
from experiments.beyond_local.transformer import transformer

Given = ParamSpec("Given")


def on_one_core(part: Callable[Given, dict[str, Any]]) -> Callable[Given, dict[str, Any]]:
    """Small arrays: more threads only wait for each other, and sum in another order."""

    @wraps(part)
    def limited(*given: Given.args, **named: Given.kwargs) -> dict[str, Any]:
        from threadpoolctl import threadpool_limits

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1, user_api="blas"):
                return part(*given, **named)
        finally:
            torch.set_num_threads(threads)

    return limited


PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    part.__name__: on_one_core(part) for part in (quadratics, transformer)
}
