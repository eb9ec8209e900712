"""``read_checkpoint``: which format a checkpoint has, and its reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.checkpoints.checkpoint import Checkpoint

HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


def read_checkpoint(
    given: str | Path,
    *,
    tokenizer: str | None = None,
    config: str | None = None,
    exact_attention: bool = False,
    device: str = "cpu",
) -> Checkpoint:
    """Read a checkpoint: a Hugging Face folder or hub name, nanoGPT's ``ckpt.pt``, or a torch DCP folder.

    ``tokenizer`` (a folder, a hub name, or "bytes") stands for the checkpoint's own; ``config`` names the
    architecture of a DCP folder, a folder with a ``config.json``. ``exact_attention`` takes the attention
    that has second derivatives. Weights are read as float32. Nothing in a checkpoint is run: weights are
    safetensors or read with ``weights_only=True``, and the pickle in a DCP folder may hold nothing but DCP's
    own metadata. Raises CommuteError for what is no checkpoint, is cut short, or would run code.
    """
    path = Path(given)
    if path.is_file():
        from commute_verify.checkpoints.nanogpt import read_nanogpt

        return read_nanogpt(path, tokenizer=tokenizer, device=device, exact_attention=exact_attention)
    if (path / ".metadata").is_file():
        from commute_verify.checkpoints.distributed import read_distributed

        return read_distributed(
            path, tokenizer=tokenizer, config=config, device=device, exact_attention=exact_attention
        )
    if path.is_dir():
        check_folder(path)
    elif _looks_local(path) or not HUB.fullmatch(str(given)):
        raise CommuteError(
            f"{given} does not exist; give a Hugging Face folder or hub name, nanoGPT's ckpt.pt or a torch "
            "DCP folder"
        )
    from commute_verify.checkpoints.hugging_face import read_hugging_face

    return read_hugging_face(str(given), tokenizer=tokenizer, device=device, exact_attention=exact_attention)


def _looks_local(path: Path) -> bool:
    """Whether a path that does not exist can be no name on the hub."""
    return (
        path.is_absolute()
        or str(path).startswith((".", "~"))
        or (len(path.parts) > 1 and path.parent.is_dir())
    )


def check_folder(path: Path) -> None:
    """Refuse a folder that holds no whole model of transformers, and say what it holds."""
    held = sorted(entry.name for entry in path.iterdir())
    if "adapter_config.json" in held and "config.json" not in held:
        raise CommuteError(f"{path} is an adapter; merge it into its model (merge_and_unload) and save that")
    if "config.json" not in held:
        inside = [name for name in held if name.startswith(("checkpoint-", "step-", "ckpt"))]
        hint = f"; did you mean {path / inside[-1]}?" if inside else ""
        raise CommuteError(
            f"{path} is no checkpoint: it holds neither config.json (Hugging Face) nor .metadata (torch "
            f"DCP), but {', '.join(held[:5]) or 'nothing'}{' …' * (len(held) > 5)}{hint}"
        )
