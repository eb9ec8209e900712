"""What an error of PyTorch means here, and what to do about it."""

from __future__ import annotations

import torch

from commute_verify.errors import CommuteError

FAILURES = (RuntimeError, MemoryError, IndexError)
"""What a pass over a batch may raise; IndexError is what a token beyond the vocabulary gives."""


def explained(error: Exception, task: str, others: str) -> CommuteError:
    """The error of ``task`` (a method, or "gradient") in one line; ``others`` says what to try if unknown."""
    text = str(error).strip()
    first = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in text:
        return CommuteError(
            f"out of memory in {task}: {_with_bytes(text, first)}. Give smaller batches (they are summed), "
            'method="finite-difference", or gradient checkpointing with use_reentrant=False'
        )
    if "heckpointing is not compatible" in text or "use_reentrant" in text:
        return CommuteError(
            f"{task} does not go through reentrant checkpointing: checkpoint with use_reentrant=False"
        )
    if "attention" in text and task != "gradient":
        return CommuteError(
            f"{task} needs the second derivative of attention, which the fused kernel lacks. Load the model "
            'with attn_implementation="eager", run it under '
            'torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or give method="finite-difference"'
        )
    if "nference tensor" in text or "InferenceMode" in text:
        return CommuteError(
            f"{task} meets a tensor made in inference mode; make batches and models outside "
            "torch.inference_mode(), or clone them there"
        )
    if "sparse" in text.lower():
        return CommuteError(f"{task} meets a sparse gradient: {first}; build the embedding with sparse=False")
    if "same device" in text or "on device" in text or "device meta" in text:
        return CommuteError(f"{first}; move the batches to the model's device, in loss_fn or before it")
    return CommuteError(f"{task} failed on this model: {first}. {others}")


def _with_bytes(text: str, first: str) -> str:
    """The line that says how much memory was asked for."""
    return next((line for line in text.splitlines() if "allocate" in line and "memory" in line), first)
