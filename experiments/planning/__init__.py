"""The planning experiment: planned schedules beside all others, on quadratics, by exact flows.

``PARTS`` maps the name of each part to a pure function of ``Settings``; ``page.blocks`` turns the dict of
their results into report blocks.
"""

from experiments.planning.run import PARTS
from experiments.planning.settings import Settings

__all__ = ["PARTS", "Settings"]
