"""The file ``.metadata`` of a torch DCP folder: a pickle that is let make nothing but DCP's own metadata."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from commute_verify.checkpoints.quiet import first_line
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import Metadata

DCP = "torch.distributed.checkpoint"
ADMITTED = {
    f"{DCP}.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    f"{DCP}.filesystem": {"_StorageInfo"},
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath", "PurePosixPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath"},
}
"""What a pickle may name: classes that hold values, and a table's look-up of a tensor's layout."""


class Refused(pickle.UnpicklingError):
    """The pickle names something that DCP's metadata do not hold."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What is admitted, and PyTorch's dtypes."""
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if name not in ADMITTED.get(module, ()):
            raise Refused(f"{module}.{name}")
        return super().find_class(module, name)


def read_metadata(path: Path) -> Metadata:
    """Read the metadata. Raises CommuteError for a pickle that names anything else, and for a broken one."""
    from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

    try:
        with open(path, "rb") as file:
            found = _Unpickler(file).load()
    except Refused as error:
        raise CommuteError(
            f"{path} is a pickle that names {error}, which is no metadata of torch DCP and may run code: it "
            "was not read; convert the checkpoint to safetensors where you trust it"
        ) from error
    except Exception as error:
        raise CommuteError(
            f"cannot read {path} ({first_line(error)}): cut short, or no metadata of DCP"
        ) from error
    if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
        raise CommuteError(f"{path} holds no metadata of torch DCP; give a folder that dcp.save wrote")
    _inside(path, (str(getattr(info, "relative_path", "")) for info in found.storage_data.values()))
    if found.storage_meta is None:
        found.storage_meta = StorageMeta()
    return found


def _inside(path: Path, files: Iterable[str]) -> None:
    """Refuse files outside the folder."""
    for name in files:
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise CommuteError(
                f"{path} names the file {name!r}, which is not in its folder; give another checkpoint"
            )
