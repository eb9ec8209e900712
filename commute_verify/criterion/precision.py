"""The precision that a loss is computed in: its parameters' own, or half of it where autocast lowers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

HALF = (torch.bfloat16, torch.float16)


class HalfPrecision(TorchFunctionMode):
    """Inside, note any tensor in half precision on the way from the parameters to the loss.

    Autocast may be entered and left within the loss, so that its effect is looked for and not its switch.
    """

    def __init__(self) -> None:
        """Nothing is seen yet."""
        super().__init__()
        self.dtype: torch.dtype | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and look at what goes in and comes out."""
        result = func(*args, **(kwargs or {}))
        for tensor in (*args, result):
            if isinstance(tensor, Tensor) and tensor.dtype in HALF and tensor.requires_grad:
                self.dtype = tensor.dtype
        return result
