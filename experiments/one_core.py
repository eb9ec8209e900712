"""Parts on one core: with small arrays more threads wait for each other, and sum in another order."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def on_one_core(part: Callable[Given, Result]) -> Callable[Given, Result]:
    """The part with one thread of PyTorch and of BLAS; afterwards they are as they were."""

    @wraps(part)
    def limited(*given: Given.args, **named: Given.kwargs) -> Result:
        import torch
        from threadpoolctl import threadpool_limits

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1, user_api="blas"):
                return part(*given, **named)
        finally:
            torch.set_num_threads(threads)

    return limited
