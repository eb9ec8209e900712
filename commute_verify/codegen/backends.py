"""How NumPy and Torch spell what emitted source needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from commute_verify.errors import CommuteError


@dataclass(frozen=True)
class Backend:
    """Names and lines that differ from one array library to the other.

    ``header`` imports the library and names the type ``array``; ``literal`` makes an array of numbers;
    ``split`` is the body of the helper that turns checked points (..., n) into broadcast coordinates, and
    ``stack`` the opposite; ``renamed`` holds functions whose name is not SymPy's.
    """

    title: str
    namespace: str
    header: str
    array: str
    literal: str
    is_floating: str
    split: str
    stack: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def function(self, name: str) -> str:
        """The library's function, such as ``np.arctan`` for ``atan``."""
        return f"{self.namespace}.{self.renamed.get(name, name)}"


BACKENDS = {
    "numpy": Backend(
        title="NumPy",
        namespace="np",
        header=(
            "from typing import Any\n\nimport numpy as np\nfrom numpy.typing import NDArray\n\n"
            "Array = NDArray[np.floating[Any]]\n"
        ),
        array="Array",
        literal="np.array",
        is_floating='isinstance(point, np.ndarray) and point.dtype.kind == "f"',
        split="[x for point in np.broadcast_arrays(*points) for x in np.moveaxis(point, -1, 0)]",
        stack="np.stack(components, axis=-1)",
        renamed={"atan": "arctan"},
    ),
    "torch": Backend(
        title="Torch",
        namespace="torch",
        header="import torch\nfrom torch import Tensor\n",
        array="Tensor",
        literal="torch.tensor",
        is_floating="isinstance(point, Tensor) and point.is_floating_point()",
        split="[x for point in torch.broadcast_tensors(*points) for x in point.unbind(-1)]",
        stack="torch.stack(components, dim=-1)",
    ),
}


def backend_named(name: str) -> Backend:
    """The backend; CommuteError for any other name."""
    if name not in BACKENDS:
        raise CommuteError(f"backend {name!r}: give one of {sorted(BACKENDS)}")
    return BACKENDS[name]
