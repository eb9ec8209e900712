"""The generated functions as an experiment: emitted today, and held against the committed files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import commute_verify.kernels
from commute_verify.errors import CommuteError
from commute_verify.report import Block, Heading, Paragraph, Table
from experiments.experiment import Part, Results


def parts(scale: str) -> list[Part]:
    """One part for each library; every scale emits both."""
    return [Part(library, partial(_emitted, library)) for library in ("numpy", "torch")]


def _emitted(library: str) -> dict[str, Any]:
    from commute_verify.codegen.backends import BACKENDS
    from commute_verify.codegen.catalogue import KERNELS
    from commute_verify.codegen.emit import module_source

    source = module_source(BACKENDS[library])
    path = Path(commute_verify.kernels.__file__).with_name(f"{library}_kernels.py")
    if path.read_text(encoding="utf-8") != source:
        raise CommuteError(
            f"{path.name} is not what the engine emits: run `python -m commute_verify.codegen`"
        )
    return {"file": path.name, "functions": [kernel.name for kernel in KERNELS], "lines": source.count("\n")}


def blocks(results: Results) -> Sequence[Block]:
    """List the emitted functions."""
    rows = tuple(
        (f"`{one['file']}`", ", ".join(f"`{name}`" for name in one["functions"]), f"{one['lines']}")
        for _, one in sorted(results.items())
    )
    return [
        Heading("Generated functions"),
        Paragraph(
            "Printed from the derived series as functions of gradients, Hessian-vector products and dot "
            "products; this run emitted them again and found the committed files current "
            "(`python -m commute_verify.codegen --check`)."
        ),
        Table(("File", "Functions", "Lines"), rows, "Kernels emitted from the engine."),
    ]
