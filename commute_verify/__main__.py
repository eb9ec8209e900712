"""``python -m commute_verify``: the command line, where its script is not installed."""

import sys

from commute_verify.cli import main

if __name__ == "__main__":
    sys.exit(main())
