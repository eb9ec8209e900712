"""Files of ``torch.save`` without trust: tensors and plain values, no code."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from commute_verify.checkpoints.quiet import first_line
from commute_verify.errors import CommuteError


def load_tensors(path: Path) -> Any:
    """``torch.load(weights_only=True)`` on the CPU.

    Raises CommuteError for a file that is cut short, and for a pickle that asks for more than tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol, before it is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = str(error)
        if "GLOBAL" in why or "Unsupported" in why or "not allowed" in why:
            raise CommuteError(
                f"{path} is a pickle that asks for more than tensors ({asked(why)}) and may run code: it was "
                "not read; save state_dicts alone, or safetensors"
            ) from error
        raise CommuteError(f"{path} is no file of torch.save ({first_line(error)}); give another") from error
    except Exception as error:  # whatever the unpickler makes of bytes that are no pickle
        raise CommuteError(
            f"cannot read {path} ({first_line(error)}): cut short, or no file of torch.save; give it whole"
        ) from error


def asked(why: str) -> str:
    """What the pickle asked for, out of PyTorch's message."""
    import re

    found = re.search(r"GLOBAL (\S+)", why) or re.search(r"(Unsupported [^.\n]*)", why)
    return found[1].rstrip(",.") if found else "code"
