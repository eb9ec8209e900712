"""The paper's claims as an experiment: one part for each file of proofs."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.experiment import Part


def parts(scale: str) -> list[Part]:
    """One part for each file of proofs; every scale runs them all."""
    import proofs

    names = sorted(path.stem for path in Path(proofs.__path__[0]).glob("[0-9][0-9]_*.py"))
    return [Part(name, partial(_verdicts, name)) for name in names]


def _verdicts(name: str) -> list[dict[str, Any]]:
    import proofs

    results = proofs.run([claim.id for claim in import_module(f"proofs.{name}").CLAIMS])
    for result in results:
        if result.defects:
            raise CommuteError(
                f"the derivation of {result.claim.id} does not close ({'; '.join(result.defects)}): "
                f"see `python -m proofs {result.claim.id}`"
            )
    return [result.as_dict() for result in results]
