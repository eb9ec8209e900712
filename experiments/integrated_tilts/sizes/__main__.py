"""``python -m experiments.integrated_tilts.sizes --out DIR``: smaller and larger tilts, piece by piece."""

import sys

from experiments.committed import study
from experiments.integrated_tilts.run import CODE
from experiments.integrated_tilts.sizes import parts, together

if __name__ == "__main__":
    sys.exit(study("experiments.integrated_tilts.sizes", parts(), together, sys.argv[1:], code=CODE))
