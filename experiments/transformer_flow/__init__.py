"""Table 1 for a transformer: predictions beside gradient flows of a small GPT-2 in float64.

``PARTS`` maps the name of each part to a pure function of ``Settings``; ``page.blocks`` turns the dict of
their results into report blocks.
"""

from experiments.transformer_flow.run import PARTS, run
from experiments.transformer_flow.settings import Settings

__all__ = ["PARTS", "Settings", "run"]
