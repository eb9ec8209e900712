"""Files that are whole or absent: atomic writes, and finished parts kept until the report is out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from commute_verify.errors import CommuteError
from experiments.experiment import Experiment, Part

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "commute_verify",
    "numpy",
    "scipy",
    "sympy",
    "mpmath",
    "torch",
    "transformers",
    "matplotlib",
    "latex2mathml",
)


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new, never a piece."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unwritable(path, error) from error


def publish(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files under `out`; nothing is replaced until every one of them is on the disk."""
    staged = out / ".work" / "staged"
    try:
        for name, content in files.items():
            write(staged / name, content)
        for name in files:
            try:
                (out / name).parent.mkdir(exist_ok=True)
                os.replace(staged / name, out / name)
            except OSError as error:
                raise _unwritable(out / name, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        with suppress(OSError):
            staged.parent.rmdir()


def _unwritable(path: Path, error: OSError) -> CommuteError:
    return CommuteError(f"cannot write {path} ({reason(error)}): make room for it, or choose another --out")


def reason(error: Exception) -> str:
    """What went wrong, in one line.

    >>> reason(OSError(28, "No space left on device")), reason(OSError("refused\\nagain"))
    ('No space left on device', 'refused')
    """
    told: str | None = getattr(error, "strerror", None)
    return told or str(error).strip().partition("\n")[0] or type(error).__name__


def versions() -> dict[str, str | None]:
    """Return the version of each package that numbers or pages depend on; None where it is missing."""

    def one(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: one(name) for name in PACKAGES}


def code_version(folders: Sequence[str]) -> str:
    """Digest of what results come from: the package without its report, other folders, and versions."""
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    paths = (path for folder in ("commute_verify", *folders) for path in (ROOT / folder).rglob("*"))
    for path in sorted(paths):
        inside = path.relative_to(ROOT).parts
        if path.suffix not in (".py", ".json") or inside[:2] == ("commute_verify", "report"):
            continue
        if not {"results", ".work"}.isdisjoint(inside):  # what came out, and what is on its way
            continue
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class FinishedParts:
    """The results of finished parts in ``OUT/.work/parts``, each with the digest of what it came from."""

    def __init__(self, out: Path, *, writing: bool = True) -> None:
        """Keep parts under `out`; raises CommuteError when nothing can be written there.

        Without ``writing`` they are only to be read, and `out` is left alone.
        """
        self._folder = out / ".work" / "parts"
        self._versions: dict[str, str] = {}
        if writing:
            write(self._folder / "README", b"Finished parts of a run that has not ended; safe to delete.\n")

    def load(self, experiment: Experiment, part: Part) -> dict[str, Any] | None:
        """Return {"result", "seconds"} of a part that finished with the same settings and code, or None."""
        digest = self._digest(experiment, part)
        try:
            saved: dict[str, Any] = json.loads(self._path(experiment, part).read_bytes())
        except (OSError, ValueError):
            return None
        return saved if saved.get("digest") == digest else None

    def is_stale(self, experiment: Experiment, part: Part) -> bool:
        """Whether a part is kept that is of no use: of other code or settings, or torn."""
        return self._path(experiment, part).exists() and self.load(experiment, part) is None

    def save(self, experiment: Experiment, part: Part, result: Any, seconds: float) -> None:
        """Keep a finished part."""
        saved = {"digest": self._digest(experiment, part), "seconds": seconds, "result": result}
        write(self._path(experiment, part), json.dumps(saved).encode())

    def clear(self) -> None:
        """Remove all that is kept: the report is out."""
        shutil.rmtree(self._folder.parent, ignore_errors=True)

    def _path(self, experiment: Experiment, part: Part) -> Path:
        return self._folder / f"{experiment.name}.{part.name}.json"

    def _digest(self, experiment: Experiment, part: Part) -> str:
        if experiment.name not in self._versions:
            self._versions[experiment.name] = code_version(experiment.code)
        key = [self._versions[experiment.name], experiment.name, part.name, dict(part.settings)]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
