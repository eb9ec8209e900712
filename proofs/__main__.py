"""``python -m proofs [--json] [ID …]``: run the proofs; exit 0 only if every derivation closes."""

from __future__ import annotations

import argparse
import json
import sys

from commute_verify.errors import CommuteError
from proofs.collection import run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m proofs", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="claims to run (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        results = run(options.ids or None)
    except CommuteError as error:
        print(f"proofs: {error}", file=sys.stderr)
        return 2
    ok = not any(result.defects for result in results)
    if options.json:
        rows = [result.as_dict() for result in results]
        print(json.dumps({"ok": ok, "claims": rows}, ensure_ascii=False, indent=2))
    else:
        for result in results:
            print(f"{result.verdict:<13}{result.claim.id:<32}{result.as_dict()['statement']}")
            if result.judgement.correction:
                print(f"{'':<13}→ {result.judgement.correction}")
    for result in results:
        for defect in result.defects:
            print(f"{result.claim.id}: {defect}", file=sys.stderr)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
