"""The noise experiment: exact moments on quadratics, many seeds of SGD on a small network, the estimate.

``PARTS`` maps the name of each part to a pure function of ``Settings``; ``page.blocks`` turns the dict of
their results into report blocks.
"""

from experiments.noise.run import PARTS
from experiments.noise.settings import Settings

__all__ = ["PARTS", "Settings"]
