"""Write the kernels, or with ``--check`` say whether the committed files are what the engine emits today."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path

from commute_verify.codegen.backends import BACKENDS
from commute_verify.codegen.emit import COMMAND, module_source

KERNELS_FOLDER = Path(__file__).parents[1] / "kernels"


def main(argv: Sequence[str] | None = None, folder: Path = KERNELS_FOLDER) -> int:
    """Exit code 0, or 1 when ``--check`` finds a file missing or different; the difference is printed."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    check = parser.parse_args(argv).check
    if not check:
        for name in BACKENDS:
            _write(folder, name)
        return 0
    stale = [_file(name) for name in BACKENDS if not _is_current(folder, name)]
    if stale:
        print(f"not what the engine emits: {', '.join(stale)}; run `{COMMAND}`", file=sys.stderr)
    return 1 if stale else 0


def _file(name: str) -> str:
    return f"{name}_kernels.py"


def _write(folder: Path, name: str) -> None:
    path = folder / _file(name)
    partial = path.with_suffix(".partial")
    partial.write_text(module_source(BACKENDS[name]), encoding="utf-8")
    partial.replace(path)


def _is_current(folder: Path, name: str) -> bool:
    path = folder / _file(name)
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    emitted = module_source(BACKENDS[name])
    names = f"{path.name} (committed)", f"{path.name} (emitted)"
    sys.stdout.writelines(unified_diff(committed.splitlines(True), emitted.splitlines(True), *names))
    return committed == emitted


if __name__ == "__main__":
    sys.exit(main())
