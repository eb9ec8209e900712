"""Beyond the local regime: every predictor of a gradient flow, on windows from short to useless.

``PARTS`` maps the name of each part to a pure function of ``Settings``; ``page.blocks`` turns the dict of
their results into report blocks.
"""

from experiments.beyond_local.run import PARTS
from experiments.beyond_local.settings import Settings

__all__ = ["PARTS", "Settings"]
