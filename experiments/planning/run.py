"""The parts of the planning experiment, each a pure function of the settings."""

from experiments.one_core import on_one_core
from experiments.planning.descents import descents
from experiments.planning.noise import noise
from experiments.planning.orders import orders
from experiments.planning.settings import Settings
from experiments.planning.tilts import tilts

PARTS = {part.__name__: on_one_core(part) for part in (orders, tilts, noise, descents)}

__all__ = ["PARTS", "Settings"]
