"""The quadratic experiment (paper, §4.1 and appendix B): predictions beside exact flows.

``PARTS`` maps the name of each part to a pure function of ``Settings``; ``page.blocks`` turns the dict of
their results into report blocks.
"""

from experiments.quadratic.run import PARTS, run
from experiments.quadratic.settings import Settings

__all__ = ["PARTS", "Settings", "run"]
